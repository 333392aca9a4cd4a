use crate::ModelConfig;

/// One named dimension that tensors share. A secret acts on an axis, never on a tensor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Axis {
    /// Token ids.
    Vocab,
    /// Learned positions.
    Positions,
    /// The residual stream.
    Hidden,
    /// Neurons of one MLP.
    Ffn,
    /// Key/value heads of one attention block.
    KvHeads,
    /// Query heads that share one key/value head.
    Group,
    /// Coordinates of queries and keys inside a head that RoPE turns.
    QkDim,
    /// Coordinates of queries and keys inside a head that RoPE leaves alone.
    QkPlain,
    /// Coordinates of a rotary key that all heads share, and of the queries that meet it.
    QkShared,
    /// Coordinates of values and of the attention output inside a head.
    VDim,
    /// The latent vector that queries come out of (multi-head latent attention).
    QueryLatent,
    /// The latent vector that keys and values come out of.
    KvLatent,
    /// Groups of experts, among which a router chooses first; one where it does not.
    ExpertGroups,
    /// Experts of one group.
    Experts,
    /// Neurons of one expert.
    ExpertFfn,
    /// Neurons of the expert that every token visits.
    SharedFfn,
    /// Which of two texts a token belongs to.
    TokenTypes,
    /// Classes of distances between two tokens.
    Distances,
    /// What the linear layer that pools a text gives.
    Pooled,
    /// Labels of a text, or of a token.
    Labels,
    /// What the linear layer behind the pooling of a sentence embedding gives.
    Sentence,
}

/// An axis of a given layer, or of the whole model: what a secret is derived for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AxisId {
    /// The axis.
    pub axis: Axis,
    /// The layer, for an axis that exists once in each.
    pub layer: Option<usize>,
}

/// On what the secret of an axis may depend, inside its layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// On nothing: there is one.
    One,
    /// On the index of this axis, which encloses it in every [`Side`].
    Each(Axis),
    /// On the expert that the tensor belongs to.
    EachExpert,
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

/// One axis of a side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Factor {
    /// The axis.
    pub axis: Axis,
    /// How it is seen.
    pub view: View,
}

/// One side of a tensor: which axes its coordinates run along, in the order in which they lie in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// One axis.
    Of(Factor),
    /// x_{a,b,...}, the last index fastest. All but the last are single axes. The secret of an axis whose [`Family`]
    /// says so depends on the index of one that stands before it.
    Product(&'static [Side]),
    /// (x_a, x_b, ...): one after the other.
    Sum(&'static [Side]),
}

impl Axis {
    /// Every axis.
    pub const ALL: [Self; 21] = [
        Self::Vocab,
        Self::Positions,
        Self::Hidden,
        Self::Ffn,
        Self::KvHeads,
        Self::Group,
        Self::QkDim,
        Self::QkPlain,
        Self::QkShared,
        Self::VDim,
        Self::QueryLatent,
        Self::KvLatent,
        Self::ExpertGroups,
        Self::Experts,
        Self::ExpertFfn,
        Self::SharedFfn,
        Self::TokenTypes,
        Self::Distances,
        Self::Pooled,
        Self::Labels,
        Self::Sentence,
    ];

    /// The axis' size in coordinates; 0 where a model of this configuration does not have it.
    #[must_use]
    pub fn size(self, config: &ModelConfig) -> usize {
        let latent = config.latent.as_ref();
        let experts = config.experts.as_ref();
        match self {
            Self::Vocab => config.vocab_size,
            Self::Positions => config.learned_positions,
            Self::Hidden => config.hidden_size,
            Self::Ffn => config.ffn_size,
            Self::KvHeads => config.kv_heads,
            Self::Group => config.heads / config.kv_heads,
            Self::QkDim | Self::QkShared => config.rotary_dim,
            Self::QkPlain => config.head_dim - config.rotary_dim,
            Self::VDim => config.value_dim,
            Self::QueryLatent => latent.and_then(|latent| latent.query).unwrap_or(0),
            Self::KvLatent => latent.map_or(0, |latent| latent.key_value),
            Self::ExpertGroups => experts.map_or(0, |experts| experts.groups),
            Self::Experts => experts.map_or(0, |experts| experts.count / experts.groups),
            Self::ExpertFfn => experts.map_or(0, |experts| experts.ffn_size),
            Self::SharedFfn => experts.map_or(0, |experts| experts.shared_ffn_size),
            Self::TokenTypes => config.token_types,
            Self::Distances => config.distance_classes,
            // No published head of this kind has another width.
            Self::Pooled => config.hidden_size,
            Self::Labels => config.labels,
            Self::Sentence => config.sentence.as_ref().map_or(0, |head| head.width),
        }
    }

    /// On what the axis' secret may depend: each key/value head has its own, and each expert.
    #[must_use]
    pub fn family(self) -> Family {
        match self {
            Self::Group | Self::QkDim | Self::QkPlain | Self::VDim => Family::Each(Self::KvHeads),
            Self::Experts => Family::Each(Self::ExpertGroups),
            Self::ExpertFfn => Family::EachExpert,
            _ => Family::One,
        }
    }

    /// The name in labels, manifests and messages.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Vocab => "vocab",
            Self::Positions => "positions",
            Self::Hidden => "hidden",
            Self::Ffn => "ffn",
            Self::KvHeads => "kv-heads",
            Self::Group => "group",
            Self::QkDim => "qk",
            Self::QkPlain => "qk-plain",
            Self::QkShared => "qk-shared",
            Self::VDim => "v",
            Self::QueryLatent => "query-latent",
            Self::KvLatent => "kv-latent",
            Self::ExpertGroups => "expert-groups",
            Self::Experts => "experts",
            Self::ExpertFfn => "expert-ffn",
            Self::SharedFfn => "shared-ffn",
            Self::TokenTypes => "token-types",
            Self::Distances => "distances",
            Self::Pooled => "pooled",
            Self::Labels => "labels",
            Self::Sentence => "sentence",
        }
    }

    /// This axis in `layer`.
    #[must_use]
    pub fn at(self, layer: Option<usize>) -> AxisId {
        AxisId { axis: self, layer }
    }

    /// The side x' = M x.
    #[must_use]
    pub const fn direct(self) -> Side {
        self.seen(View::Direct)
    }

    /// The side x' = M^-T x.
    #[must_use]
    pub const fn dual(self) -> Side {
        self.seen(View::Dual)
    }

    /// The side x' = P x, P the permutation inside M.
    #[must_use]
    pub const fn permutation_only(self) -> Side {
        self.seen(View::PermutationOnly)
    }

    const fn seen(self, view: View) -> Side {
        Side::Of(Factor { axis: self, view })
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

impl Family {
    /// How many members it has in a model of this configuration.
    #[must_use]
    pub fn size(self, config: &ModelConfig) -> usize {
        match self {
            Self::One => 1,
            Self::Each(axis) => axis.size(config),
            Self::EachExpert => config.experts.as_ref().map_or(0, |experts| experts.count),
        }
    }
}

impl Side {
    /// How many coordinates it has.
    #[must_use]
    pub fn size(self, config: &ModelConfig) -> usize {
        match self {
            Self::Of(factor) => factor.axis.size(config),
            Self::Product(sides) => sides.iter().map(|side| side.size(config)).product(),
            Self::Sum(sides) => sides.iter().map(|side| side.size(config)).sum(),
        }
    }

    /// Its axes, in order; one that stands in several places is named in each.
    #[must_use]
    pub fn factors(self) -> Vec<Factor> {
        match self {
            Self::Of(factor) => vec![factor],
            Self::Product(sides) | Self::Sum(sides) => {
                sides.iter().flat_map(|side| side.factors()).collect()
            }
        }
    }

    /// The coordinates of each part of the first sum that is met going inwards: queries, keys and values of a tensor that
    /// holds all three, whether they follow each other as wholes or head by head. One part where there is no sum.
    #[must_use]
    pub fn parts(self, config: &ModelConfig) -> Vec<Vec<usize>> {
        match self {
            Self::Of(_) | Self::Product([]) => vec![(0..self.size(config)).collect()],
            Self::Sum(sides) => {
                let mut start = 0;
                let part = |side: &Self| {
                    let end = start + side.size(config);
                    let part = (start..end).collect();
                    start = end;
                    part
                };
                sides.iter().map(part).collect()
            }
            Self::Product([outer, inner @ ..]) => {
                let inner = match inner {
                    [last] => *last,
                    several => Self::Product(several),
                };
                let size = inner.size(config);
                let each = |part: Vec<usize>| {
                    (0..outer.size(config))
                        .flat_map(|index| part.iter().map(move |place| index * size + place))
                        .collect()
                };
                inner.parts(config).into_iter().map(each).collect()
            }
        }
    }
}
