use crate::{ModelConfig, Side};

/// One row of an architecture's table: a tensor, what it is for, and the axes of its sides. `{}` in the name stands for
/// the layer.
#[derive(Debug, Clone, Copy)]
pub struct Row {
    /// The tensor's name in a Hugging Face checkpoint.
    pub name: &'static str,
    /// What the forward pass uses it for.
    pub role: Role,
    /// Its memory layout and sides.
    pub kind: Kind,
    /// Which configurations have it.
    pub when: When,
}

/// How a tensor is laid out and how the secrets of its axes act on it.
#[derive(Debug, Clone, Copy)]
pub enum Kind {
    /// h = E[id], shape `[rows, columns]`: row c of E' is M_columns E[id(c)].
    Embed {
        /// Token ids.
        rows: Side,
        /// The vectors that come out.
        columns: Side,
    },
    /// y = W x, shape `[out, input]`: W' = M_out W M_input^-1.
    Linear {
        /// The vectors that come out.
        out: Side,
        /// The vectors that go in.
        input: Side,
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
        /// What reads the norm's output.
        folds_into: &'static [Role],
    },
}

/// What a tensor is for: how the forward pass asks for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[allow(
    missing_docs,
    reason = "the variants are the usual names of a transformer's parts"
)]
pub enum Role {
    Embed,
    AttentionNorm,
    Query,
    QueryBias,
    Key,
    KeyBias,
    Value,
    ValueBias,
    Output,
    OutputBias,
    MlpNorm,
    Gate,
    GateBias,
    Up,
    UpBias,
    Down,
    DownBias,
    FinalNorm,
    Head,
}

/// Which configurations have a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum When {
    /// All.
    Always,
    /// Those whose head is a tensor of its own.
    Untied,
    /// Those with `attention_bias`.
    AttentionBias,
    /// Those with `mlp_bias`.
    MlpBias,
}

impl Row {
    /// An embedding.
    pub(crate) const fn embed(name: &'static str, role: Role, rows: Side, columns: Side) -> Self {
        Self {
            name,
            role,
            kind: Kind::Embed { rows, columns },
            when: When::Always,
        }
    }

    /// A linear layer.
    pub(crate) const fn linear(name: &'static str, role: Role, out: Side, input: Side) -> Self {
        Self {
            name,
            role,
            kind: Kind::Linear { out, input },
            when: When::Always,
        }
    }

    /// A linear layer's bias.
    pub(crate) const fn bias(name: &'static str, role: Role, out: Side) -> Self {
        Self {
            name,
            role,
            kind: Kind::Bias { out },
            when: When::Always,
        }
    }

    /// A norm's gain.
    pub(crate) const fn gain(
        name: &'static str,
        role: Role,
        axis: Side,
        folds_into: &'static [Role],
    ) -> Self {
        Self {
            name,
            role,
            kind: Kind::Gain { axis, folds_into },
            when: When::Always,
        }
    }

    /// The same row, for some configurations only.
    pub(crate) const fn only(self, when: When) -> Self {
        Self { when, ..self }
    }

    /// Whether there is one in each layer.
    #[must_use]
    pub fn is_per_layer(&self) -> bool {
        self.name.contains("{}")
    }

    /// The tensor's name in `layer`.
    #[must_use]
    pub fn tensor_name(&self, layer: Option<usize>) -> String {
        match layer {
            Some(layer) => self.name.replacen("{}", &layer.to_string(), 1),
            None => self.name.to_owned(),
        }
    }
}

impl Kind {
    /// The sides in memory order.
    #[must_use]
    pub fn sides(&self) -> Vec<Side> {
        match *self {
            Self::Embed { rows, columns } => vec![rows, columns],
            Self::Linear { out, input } => vec![out, input],
            Self::Bias { out } => vec![out],
            Self::Gain { axis, .. } => vec![axis],
        }
    }
}

impl When {
    /// Whether a model of this configuration has the row.
    #[must_use]
    pub fn holds(self, config: &ModelConfig) -> bool {
        match self {
            Self::Always => true,
            Self::Untied => !config.tied_head,
            Self::AttentionBias => config.attention_bias,
            Self::MlpBias => config.mlp_bias,
        }
    }
}
