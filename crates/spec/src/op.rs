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
    Gate {
        /// The neurons.
        axis: Axis,
        /// The non-linearity on the gate.
        activation: Activation,
    },
    /// The same computation for each index of the axis: permutations.
    Parallel(Axis),
}

/// Where a norm stands; its gain can only be folded into what reads its output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NormPlace {
    /// Before a block, read by linear layers only: the gain can be folded into them.
    BeforeBlock,
    /// After a block or before the residual sum: the gain cannot be folded.
    AfterBlock,
}

/// Which coordinates of a head form a RoPE plane.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RopeLayout {
    /// (i, i + dim / 2).
    Halves,
}

/// A non-linearity.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Activation {
    /// x / (1 + exp(-x)).
    Silu,
}

impl Op {
    /// The axis that the operation acts on.
    #[must_use]
    pub fn axis(self) -> Axis {
        match self {
            Self::Softmax(axis)
            | Self::RmsNorm { axis, .. }
            | Self::Rope { axis, .. }
            | Self::DotProduct(axis)
            | Self::Average(axis)
            | Self::Gate { axis, .. }
            | Self::Parallel(axis) => axis,
        }
    }

    /// The group of maps on its axis that commute with the operation; `folded` says that gains which can be folded are.
    #[must_use]
    pub fn permits(self, folded: bool) -> Group {
        match self {
            Self::Softmax(_) | Self::Parallel(_) => Group::PERMUTATION,
            Self::RmsNorm {
                place: NormPlace::BeforeBlock,
                ..
            } if folded => Group::ORTHOGONAL,
            Self::RmsNorm { .. } => Group::SIGNED_PERMUTATION,
            Self::Rope { .. } => Group::PAIR_ROTATION,
            Self::DotProduct(_) => Group::UNRESTRICTED,
            Self::Average(_) => Group::ORTHOGONAL,
            Self::Gate { .. } => Group::MONOMIAL,
        }
    }
}

impl Activation {
    /// The name in `config.json`'s `hidden_act`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Silu => "silu",
        }
    }
}

impl RopeLayout {
    /// The two coordinates of plane `pair` in a head of `dim` coordinates.
    #[must_use]
    pub fn plane(self, pair: usize, dim: usize) -> (usize, usize) {
        match self {
            Self::Halves => (pair, pair + dim / 2),
        }
    }
}
