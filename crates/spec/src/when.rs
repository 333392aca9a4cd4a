use crate::ModelConfig;

/// Which configurations and layers have a row or an operation: all those in which every one of these facts holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct When(u32);

impl When {
    /// Always.
    pub const ALWAYS: Self = Self(0);
    /// The head is a tensor of its own.
    pub const UNTIED: Self = Self(1);
    /// Queries, keys and values have biases.
    pub const QKV_BIAS: Self = Self(1 << 1);
    /// The attention's output has a bias.
    pub const OUTPUT_BIAS: Self = Self(1 << 2);
    /// The linear layers of the MLP have biases.
    pub const MLP_BIAS: Self = Self(1 << 3);
    /// Queries and keys are normalised.
    pub const QK_NORM: Self = Self(1 << 4);
    /// The layer has one MLP.
    pub const DENSE: Self = Self(1 << 5);
    /// The layer has experts.
    pub const SPARSE: Self = Self(1 << 6);
    /// Every token also visits a shared expert.
    pub const SHARED_EXPERT: Self = Self(1 << 7);
    /// The router adds a bias to its scores before it chooses.
    pub const ROUTER_BIAS: Self = Self(1 << 8);
    /// Queries come out of a latent vector.
    pub const QUERY_LATENT: Self = Self(1 << 9);
    /// Queries come straight from the residual stream.
    pub const QUERY_DIRECT: Self = Self(1 << 10);
    /// RoPE turns neighbouring coordinates of a latent attention's heads.
    pub const ROPE_NEIGHBOURS: Self = Self(1 << 11);
    /// RoPE turns coordinates half a head apart in a latent attention's heads.
    pub const ROPE_HALVES: Self = Self(1 << 12);
    /// A linear layer reads the first token's vector, or the mean of all, before anything else does.
    pub const POOLER: Self = Self(1 << 13);
    /// The answer is the vectors of all tokens.
    pub const FEATURES: Self = Self(1 << 25);
    /// The answer is made of labels of the whole text.
    pub const SEQUENCE_LABELS: Self = Self(1 << 14);
    /// The answer is made of labels of each token.
    pub const TOKEN_LABELS: Self = Self(1 << 15);
    /// The answer is made of logits of masked tokens.
    pub const MASKED_TOKEN: Self = Self(1 << 16);
    /// Tokens are told which of two texts they belong to.
    pub const TOKEN_TYPES: Self = Self(1 << 17);
    /// Norms have biases.
    pub const NORM_BIAS: Self = Self(1 << 18);
    /// The labels' layer has a bias.
    pub const LABEL_BIAS: Self = Self(1 << 19);
    /// The logits of tokens have a bias.
    pub const HEAD_BIAS: Self = Self(1 << 20);
    /// The layer is not the first one.
    pub const LATER: Self = Self(1 << 21);
    /// A linear layer follows the pooling of a sentence embedding.
    pub const SENTENCE_DENSE: Self = Self(1 << 22);
    /// It has a bias.
    pub const SENTENCE_BIAS: Self = Self(1 << 23);
    /// It is followed by tanh.
    pub const SENTENCE_TANH: Self = Self(1 << 24);

    /// Both.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether it holds in `layer` of a model of this configuration. What varies between layers holds outside them if it
    /// holds in any.
    #[must_use]
    pub fn holds(self, config: &ModelConfig, layer: Option<usize>) -> bool {
        let facts = match layer.and_then(|layer| config.layer_kinds.get(layer)) {
            Some(kind) if kind.sparse => config.facts.and(Self::SPARSE),
            Some(_) => config.facts.and(Self::DENSE),
            None => {
                let any = |sparse| config.layer_kinds.iter().any(|kind| kind.sparse == sparse);
                let dense = if any(false) {
                    Self::DENSE
                } else {
                    Self::ALWAYS
                };
                let sparse = if any(true) {
                    Self::SPARSE
                } else {
                    Self::ALWAYS
                };
                config.facts.and(dense).and(sparse)
            }
        };
        let facts = if config.tied_head {
            facts
        } else {
            facts.and(Self::UNTIED)
        };
        let facts = if layer == Some(0) {
            facts
        } else {
            facts.and(Self::LATER)
        };
        facts.0 & self.0 == self.0
    }

    /// Without what only follows from the task.
    pub(crate) const fn of_any_task(self) -> Self {
        let task = Self::POOLER.0
            | Self::FEATURES.0
            | Self::SEQUENCE_LABELS.0
            | Self::TOKEN_LABELS.0
            | Self::MASKED_TOKEN.0;
        Self(self.0 & !task)
    }
}
