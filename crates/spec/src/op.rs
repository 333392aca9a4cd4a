use crate::{Axis, Group};

/// An operation between the linear layers, and the axes it acts on. What an operation commutes with is the whole reason
/// why an axis allows one secret and not another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Op {
    /// softmax or argmax over the axis: commutes with permutations.
    Softmax(Axis),
    /// x / sqrt(mean(x^2) + eps) * g: without the gain it commutes with every isometry, with it only with signed
    /// permutations that carry the gain along.
    RmsNorm {
        /// The axis that is normalised.
        axis: Axis,
        /// Where the norm stands.
        place: NormPlace,
    },
    /// (x - mean(x)) / sqrt(var(x) + eps) * g + b: without gain and bias it commutes with the isometries that keep the
    /// vector of ones, with them only with permutations.
    LayerNorm {
        /// The axis that is normalised.
        axis: Axis,
        /// Where the norm stands.
        place: NormPlace,
    },
    /// Rotary position embedding: turns each plane by an angle that depends on the position, so it commutes with turns
    /// and scalings of the same planes only.
    Rope {
        /// The coordinates inside a head.
        axis: Axis,
        /// Which coordinates form a plane.
        layout: RopeLayout,
    },
    /// q . k: any invertible map on q with its dual on k; restricted to well-conditioned ones.
    DotProduct(Axis),
    /// A weighted sum of vectors along positions: linear, so any isometry passes.
    Average(Axis),
    /// act(gate) * up, coordinate by coordinate: permutations of both, signs and scales of `up` alone.
    Gate(Axis),
    /// act(x), coordinate by coordinate: permutations.
    Pointwise(Axis),
    /// act(x), coordinate by coordinate, with act(-x) = -act(x), as of tanh: signed permutations.
    Odd(Axis),
    /// act(x), coordinate by coordinate, with act(c x) = c act(x) for c > 0, as of max(x, 0): permutations and scales.
    Homogeneous(Axis),
    /// The same computation for each index of the axis: permutations.
    Parallel(Axis),
    /// Something that depends on the index itself, as a learned position does: nothing.
    Fixed(Axis),
}

/// Where a norm stands; its gain can only be folded into what reads its output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NormPlace {
    /// Read by linear layers only, into which the gain can be folded.
    BeforeBlock,
    /// Before the residual sum, or before something else that is not linear: the gain cannot be folded.
    AfterBlock,
}

/// Which coordinates of a head form a RoPE plane.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RopeLayout {
    /// (i, i + dim / 2).
    Halves,
    /// (2 i, 2 i + 1).
    Neighbours,
}

/// A non-linearity.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Activation {
    /// x / (1 + exp(-x)).
    Silu,
    /// x Phi(x), with the Gaussian distribution function Phi.
    Gelu,
    /// x / 2 (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))).
    GeluTanh,
    /// max(x, 0).
    Relu,
    /// tanh(x).
    Tanh,
}

impl Op {
    /// The axis that the operation acts on.
    #[must_use]
    pub fn axis(self) -> Axis {
        match self {
            Self::Softmax(axis)
            | Self::RmsNorm { axis, .. }
            | Self::LayerNorm { axis, .. }
            | Self::Rope { axis, .. }
            | Self::DotProduct(axis)
            | Self::Average(axis)
            | Self::Gate(axis)
            | Self::Pointwise(axis)
            | Self::Odd(axis)
            | Self::Homogeneous(axis)
            | Self::Parallel(axis)
            | Self::Fixed(axis) => axis,
        }
    }

    /// The group of maps on its axis that commute with the operation; `folded` says that gains which can be folded are.
    #[must_use]
    pub fn permits(self, folded: bool) -> Group {
        match self {
            Self::Softmax(_) | Self::Parallel(_) | Self::Pointwise(_) => Group::PERMUTATION,
            Self::RmsNorm {
                place: NormPlace::BeforeBlock,
                ..
            } if folded => Group::ORTHOGONAL,
            Self::RmsNorm { .. } => Group::SIGNED_PERMUTATION,
            Self::LayerNorm {
                place: NormPlace::BeforeBlock,
                ..
            } if folded => Group::MEAN_KEEPING,
            Self::LayerNorm { .. } => Group::PERMUTATION,
            Self::Rope { .. } => Group::PAIR_ROTATION,
            Self::DotProduct(_) => Group::UNRESTRICTED,
            Self::Average(_) => Group::ORTHOGONAL,
            Self::Gate(_) => Group::MONOMIAL,
            Self::Odd(_) => Group::SIGNED_PERMUTATION,
            Self::Homogeneous(_) => Group::SCALED_PERMUTATION,
            Self::Fixed(_) => Group::TRIVIAL,
        }
    }
}

impl Activation {
    /// The activation behind a name in `config.json`.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        NAMES
            .iter()
            .find(|(known, _)| *known == name)
            .map(|(_, activation)| *activation)
    }

    /// A name of the activation in `config.json`.
    #[must_use]
    pub fn name(self) -> &'static str {
        NAMES
            .iter()
            .find(|(_, activation)| *activation == self)
            .map_or("", |(name, _)| *name)
    }
}

/// Hugging Face's names (transformers, `activations.py`).
const NAMES: &[(&str, Activation)] = &[
    ("silu", Activation::Silu),
    ("swish", Activation::Silu),
    ("gelu", Activation::Gelu),
    ("gelu_pytorch_tanh", Activation::GeluTanh),
    ("gelu_new", Activation::GeluTanh),
    ("gelu_fast", Activation::GeluTanh),
    ("relu", Activation::Relu),
    ("tanh", Activation::Tanh),
];

impl RopeLayout {
    /// The two coordinates of plane `pair` in a head of `dim` coordinates.
    #[must_use]
    pub fn plane(self, pair: usize, dim: usize) -> (usize, usize) {
        match self {
            Self::Halves => (pair, pair + dim / 2),
            Self::Neighbours => (2 * pair, 2 * pair + 1),
        }
    }
}
