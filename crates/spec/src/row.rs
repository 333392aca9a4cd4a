use crate::{Side, When};

/// One row of an architecture's table: a tensor, what it is for, and the axes of its sides. The first `{}` in the name
/// stands for the layer, the second for the expert.
#[derive(Debug, Clone, Copy)]
pub struct Row {
    /// The tensor's name in a Hugging Face checkpoint.
    pub name: &'static str,
    /// What the forward pass uses it for.
    pub role: Role,
    /// Its memory layout and sides.
    pub kind: Kind,
    /// Which configurations and layers have it.
    pub when: When,
    /// Whether a checkpoint may lack it: nothing else reads what it gives.
    pub optional: bool,
}

/// How a tensor is laid out and how the secrets of its axes act on it.
#[derive(Debug, Clone, Copy)]
pub enum Kind {
    /// h = E[id], shape `[rows, columns]`: row c of E' is M_columns E[id(c)].
    Embed {
        /// Token ids, or positions.
        rows: Side,
        /// The vectors that come out.
        columns: Side,
    },
    /// y = W x: W' = M_out W M_input^-1.
    Linear {
        /// The vectors that come out.
        out: Side,
        /// The vectors that go in.
        input: Side,
        /// How W lies in memory.
        layout: Layout,
    },
    /// y + b, shape `[out]`: b' = M_out b.
    Bias {
        /// The vectors it is added to.
        out: Side,
    },
    /// g * x, shape `[axis]`: g' = P g with the permutation P inside M; or g' = 1, with W diag(g) in place of W for every
    /// linear layer of `folds_into`.
    Gain {
        /// The normalised axis.
        axis: Side,
        /// What reads the norm's output, and nothing else does; empty if that is not linear.
        folds_into: &'static [Role],
    },
    /// g * x + b, shape `[axis]`: b' = P b; or b' = M (b / g), where the gain is folded.
    NormBias {
        /// The normalised axis.
        axis: Side,
        /// The gain of the same norm.
        gain: Role,
    },
}

/// How the matrix of a linear layer lies in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// Shape `[out, input]`.
    OutByInput,
    /// Shape `[input, out]`: GPT-2's Conv1D.
    InputByOut,
}

/// What a tensor is for: how the forward pass asks for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[allow(
    missing_docs,
    reason = "the variants are the usual names of a transformer's parts"
)]
pub enum Role {
    Embed,
    PositionEmbed,
    TokenTypeEmbed,
    EmbedNorm,
    EmbedNormBias,
    DistanceBias,
    AttentionNorm,
    AttentionNormBias,
    Query,
    QueryBias,
    Key,
    KeyBias,
    Value,
    ValueBias,
    QueryKeyValue,
    QueryKeyValueBias,
    QueryNorm,
    KeyNorm,
    QueryDown,
    QueryDownBias,
    QueryLatentNorm,
    QueryUp,
    KeyValueDown,
    KeyValueDownBias,
    KeyValueLatentNorm,
    KeyValueUp,
    Output,
    OutputBias,
    AttentionOutNorm,
    AttentionSumNorm,
    AttentionSumNormBias,
    MlpNorm,
    MlpNormBias,
    Gate,
    GateBias,
    Up,
    UpBias,
    GateUp,
    GateUpBias,
    Down,
    DownBias,
    MlpOutNorm,
    MlpSumNorm,
    MlpSumNormBias,
    Router,
    RouterBias,
    ExpertGate,
    ExpertUp,
    ExpertDown,
    SharedGate,
    SharedUp,
    SharedDown,
    SharedShare,
    FinalNorm,
    FinalNormBias,
    Head,
    HeadBias,
    HeadDense,
    HeadDenseBias,
    HeadNorm,
    HeadNormBias,
    Labels,
    LabelsBias,
    SentenceDense,
    SentenceDenseBias,
}

impl Row {
    /// An embedding.
    pub(crate) const fn embed(name: &'static str, role: Role, rows: Side, columns: Side) -> Self {
        Self::new(name, role, Kind::Embed { rows, columns })
    }

    /// A linear layer.
    pub(crate) const fn linear(name: &'static str, role: Role, out: Side, input: Side) -> Self {
        let layout = Layout::OutByInput;
        let kind = Kind::Linear { out, input, layout };
        Self::new(name, role, kind)
    }

    /// A linear layer that is stored the other way round.
    pub(crate) const fn conv1d(name: &'static str, role: Role, out: Side, input: Side) -> Self {
        let layout = Layout::InputByOut;
        let kind = Kind::Linear { out, input, layout };
        Self::new(name, role, kind)
    }

    /// A linear layer's bias.
    pub(crate) const fn bias(name: &'static str, role: Role, out: Side) -> Self {
        Self::new(name, role, Kind::Bias { out })
    }

    /// A norm's gain.
    pub(crate) const fn gain(
        name: &'static str,
        role: Role,
        axis: Side,
        folds_into: &'static [Role],
    ) -> Self {
        Self::new(name, role, Kind::Gain { axis, folds_into })
    }

    /// The bias of the norm with the gain `gain`.
    pub(crate) const fn norm_bias(name: &'static str, role: Role, axis: Side, gain: Role) -> Self {
        Self::new(name, role, Kind::NormBias { axis, gain })
    }

    /// The same row, for some configurations or layers only.
    pub(crate) const fn only(self, when: When) -> Self {
        let when = self.when.and(when);
        Self { when, ..self }
    }

    /// The same row, which a checkpoint may lack.
    pub(crate) const fn or_absent(self) -> Self {
        Self {
            optional: true,
            ..self
        }
    }

    const fn new(name: &'static str, role: Role, kind: Kind) -> Self {
        Self {
            name,
            role,
            kind,
            when: When::ALWAYS,
            optional: false,
        }
    }

    /// Whether there is one in each layer.
    #[must_use]
    pub fn is_per_layer(&self) -> bool {
        self.name.contains("{}")
    }

    /// Whether there is one for each expert of a layer.
    #[must_use]
    pub fn is_per_expert(&self) -> bool {
        self.name.matches("{}").count() == 2
    }

    /// The tensor's name in `layer`, for `expert`.
    #[must_use]
    pub fn tensor_name(&self, layer: Option<usize>, expert: Option<usize>) -> String {
        let indices = layer.into_iter().chain(expert);
        indices.fold(self.name.to_owned(), |name, index| {
            name.replacen("{}", &index.to_string(), 1)
        })
    }
}

impl Kind {
    /// The sides in memory order.
    #[must_use]
    pub fn sides(&self) -> Vec<Side> {
        match *self {
            Self::Embed { rows, columns } => vec![rows, columns],
            Self::Linear { out, input, layout } => match layout {
                Layout::OutByInput => vec![out, input],
                Layout::InputByOut => vec![input, out],
            },
            Self::Bias { out } => vec![out],
            Self::Gain { axis, .. } | Self::NormBias { axis, .. } => vec![axis],
        }
    }
}
