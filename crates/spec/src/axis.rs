use crate::ModelConfig;

/// One named dimension that tensors share. A secret acts on an axis, never on a tensor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Axis {
    /// Token ids.
    Vocab,
    /// The residual stream.
    Hidden,
    /// Neurons of one MLP.
    Ffn,
    /// Key/value heads of one attention block.
    KvHeads,
    /// Query heads that share one key/value head.
    Group,
    /// Coordinates of queries and keys inside a head.
    QkDim,
    /// Coordinates of values and of the attention output inside a head.
    VDim,
}

/// An axis of a given layer, or of the whole model: what a secret is derived for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AxisId {
    /// The axis.
    pub axis: Axis,
    /// The layer, for an axis that exists once in each.
    pub layer: Option<usize>,
}

/// How a tensor's side sees the map M of an axis.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum View {
    /// M: the side's vectors are x' = M x.
    Direct,
    /// M^-T: the side's vectors are only ever multiplied with `Direct` ones, as keys are with queries.
    Dual,
    /// The permutation inside M, without signs and scales: a gate's input, a norm's gain.
    PermutationOnly,
}

/// One factor of a side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Factor {
    /// The axis.
    pub axis: Axis,
    /// How it is seen.
    pub view: View,
}

/// One side of a tensor: a product of axes, outermost first, laid out in row-major order. The secret of an inner factor
/// may depend on the index of the axis it [varies with](Axis::varies_with), which must stand before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Side(pub &'static [Factor]);

impl Axis {
    /// Every axis.
    pub const ALL: [Self; 7] = [
        Self::Vocab,
        Self::Hidden,
        Self::Ffn,
        Self::KvHeads,
        Self::Group,
        Self::QkDim,
        Self::VDim,
    ];

    /// The axis' size in coordinates.
    #[must_use]
    pub fn size(self, config: &ModelConfig) -> usize {
        match self {
            Self::Vocab => config.vocab_size,
            Self::Hidden => config.hidden_size,
            Self::Ffn => config.ffn_size,
            Self::KvHeads => config.kv_heads,
            Self::Group => config.heads / config.kv_heads,
            Self::QkDim | Self::VDim => config.head_dim,
        }
    }

    /// The axis on whose index this axis' secret may depend: each key/value head has its own.
    #[must_use]
    pub fn varies_with(self) -> Option<Self> {
        match self {
            Self::Group | Self::QkDim | Self::VDim => Some(Self::KvHeads),
            Self::Vocab | Self::Hidden | Self::Ffn | Self::KvHeads => None,
        }
    }

    /// Whether each layer has one of its own.
    #[must_use]
    pub fn is_per_layer(self) -> bool {
        !matches!(self, Self::Vocab | Self::Hidden)
    }

    /// The name in labels, manifests and messages.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Vocab => "vocab",
            Self::Hidden => "hidden",
            Self::Ffn => "ffn",
            Self::KvHeads => "kv-heads",
            Self::Group => "group",
            Self::QkDim => "qk",
            Self::VDim => "v",
        }
    }

    /// This axis in `layer`, or in the whole model where there is only one.
    #[must_use]
    pub fn at(self, layer: Option<usize>) -> AxisId {
        AxisId {
            axis: self,
            layer: if self.is_per_layer() { layer } else { None },
        }
    }

    /// The factor x' = M x.
    #[must_use]
    pub const fn direct(self) -> Factor {
        Factor {
            axis: self,
            view: View::Direct,
        }
    }

    /// The factor x' = M^-T x.
    #[must_use]
    pub const fn dual(self) -> Factor {
        Factor {
            axis: self,
            view: View::Dual,
        }
    }

    /// The factor x' = P x, P the permutation inside M.
    #[must_use]
    pub const fn permutation_only(self) -> Factor {
        Factor {
            axis: self,
            view: View::PermutationOnly,
        }
    }
}

impl AxisId {
    /// The label of the axis in the key schedule: `hidden`, `layer/12/ffn`.
    #[must_use]
    pub fn label(self) -> String {
        match self.layer {
            Some(layer) => format!("layer/{layer}/{}", self.axis.name()),
            None => self.axis.name().to_owned(),
        }
    }
}

impl Side {
    /// The product of the factors' sizes.
    #[must_use]
    pub fn size(self, config: &ModelConfig) -> usize {
        self.0
            .iter()
            .map(|factor| factor.axis.size(config))
            .product()
    }
}
