use crate::{Activation, Task, When};

/// How an architecture's `config.json` is to be read: which field says what, and what holds where it is absent.
#[derive(Debug)]
pub struct ConfigTable {
    /// The fields of a model's sizes.
    pub(crate) names: Names,
    /// Fields that must be there, if only as null: their absence would not mean what it means in other architectures.
    pub(crate) required: &'static [&'static str],
    /// What holds always, or where a field says so.
    pub(crate) facts: &'static [(When, Fact)],
    /// Whether the head is the embedding, where the file does not say.
    pub(crate) tied: bool,
    /// The epsilon of the norms, where the file does not say.
    pub(crate) epsilon: f64,
    /// The non-linearity, where the file does not say.
    pub(crate) activation: Activation,
    /// How tokens know their place.
    pub(crate) positions: Positions,
    /// Which layers look back over a window only.
    pub(crate) windows: Windows,
    /// Which layers have experts.
    pub(crate) experts: Option<ExpertNames>,
    /// Whether attention is multi-head latent attention.
    pub(crate) latent: bool,
    /// What stands before g in the norm's g + offset.
    pub(crate) gain_offset: f64,
    /// Whether embeddings are multiplied by the square root of the hidden size.
    pub(crate) scales_embeddings: bool,
    /// The field of a cap on q . k, and the cap if it is absent.
    pub(crate) attention_cap: Option<(&'static str, Option<f64>)>,
    /// The field of a cap on logits, and the cap if it is absent.
    pub(crate) logit_cap: Option<(&'static str, Option<f64>)>,
    /// The field s of an attention scale 1 / sqrt(s); 1 / sqrt(head size) if there is none.
    pub(crate) attention_scale: Option<&'static str>,
    /// The field that says whether q . k is scaled at all; it is if there is none.
    pub(crate) scales_attention: Option<&'static str>,
    /// The field that says whether q . k is also divided by the layer's number, from 1.
    pub(crate) scales_by_layer: Option<&'static str>,
    /// Attention and MLP read the same residual stream: where the field says so, or if it is absent.
    pub(crate) parallel_residual: Option<&'static str>,
    /// Whether the residual stream may be made wider.
    pub(crate) expansion: Expansion,
    /// Truth values that the tables cannot express otherwise: the field is absent, or says this.
    pub(crate) demands: &'static [(&'static str, bool)],
    /// What an encoder has beside a decoder.
    pub(crate) encoder: Option<EncoderTable>,
    /// Fields that stock engines need and that stand in an encrypted model's file as they are.
    pub(crate) keep: &'static [&'static str],
}

/// Whether a model of this architecture may have a wider residual stream than its heads and embeddings ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expansion {
    /// By any number of coordinates.
    Free,
    /// To a multiple of the number of heads: transformers refuses others.
    MultipleOfHeads,
    /// Not at all, for this reason.
    No(&'static str),
}

/// Where a fact comes from.
#[derive(Debug)]
pub(crate) enum Fact {
    /// It holds for the whole architecture.
    Always,
    /// A truth value, and what its absence means.
    Field(&'static str, bool),
    /// The opposite of a truth value, and the value if it is absent.
    Not(&'static str, bool),
    /// It holds for these tasks.
    Tasks(&'static [Task]),
}

/// What the configuration of an encoder says beside that of a decoder.
#[derive(Debug)]
pub(crate) struct EncoderTable {
    /// The field of how many texts a token may belong to.
    pub(crate) token_types: Option<&'static str>,
    /// The field of how many classes of distances there are, and how many if it is absent.
    pub(crate) distance_classes: Option<(&'static str, usize)>,
    /// What follows the linear layer that pools a text.
    pub(crate) pooler: HeadActivation,
    /// What follows the linear layer before the logits of masked tokens, and before labels of tokens if there is one.
    pub(crate) token_head: HeadActivation,
    /// The field that says whether labels of a text are read from the first token, "cls", or from the mean, "mean".
    pub(crate) pooling: Option<&'static str>,
}

/// What follows the first linear layer of a head.
#[derive(Debug)]
pub(crate) enum HeadActivation {
    /// Always this.
    Is(Activation),
    /// The same as in the MLPs.
    Model,
    /// What the field says, and if it is absent, this.
    Field(&'static str, Activation),
}

/// The names of the fields that most architectures share.
#[derive(Debug)]
pub(crate) struct Names {
    pub(crate) hidden: &'static str,
    pub(crate) layers: &'static str,
    pub(crate) heads: &'static str,
    pub(crate) kv_heads: Option<&'static str>,
    pub(crate) head_dim: Option<&'static str>,
    pub(crate) ffn: &'static str,
    pub(crate) max_positions: &'static str,
    pub(crate) epsilon: Option<&'static str>,
    pub(crate) activation: &'static str,
}

/// How tokens know their place.
#[derive(Debug)]
pub(crate) enum Positions {
    /// By an embedding of positions.
    Learned,
    /// By an embedding of positions, that of the first token being the one after the padding token's id; the padding token
    /// has its id as position and is not counted (transformers, `create_position_ids_from_input_ids`). The field of that id,
    /// and the id if it is absent or does not matter.
    LearnedAfterPad(Option<&'static str>, u32),
    /// By RoPE.
    Rotary {
        /// The field of the base frequency.
        theta: &'static str,
        /// Its value where the file does not say.
        default_theta: f64,
        /// The field of the share of a head that is turned, and the share where the file does not say.
        share: Option<(&'static str, f64)>,
        /// The field of the base frequency in layers that look back over a window.
        local_theta: Option<&'static str>,
        /// The list of layers, as 0 or 1, and the interval by default, of which the last one has no RoPE.
        none_in: Option<(&'static str, &'static str, usize)>,
    },
}

/// Which layers look back over `sliding_window` tokens only.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Windows {
    /// None.
    No,
    /// All.
    All,
    /// All but each n-th; the field of n, and n by default.
    AllButEach(&'static str, usize),
    /// With `use_sliding_window`, all.
    AllIfUsed,
    /// With `use_sliding_window`, those from `max_window_layers` on.
    FromLayer,
    /// With `use_sliding_window`, each other one, beginning with the first, before `max_window_layers`.
    EvenBelowLayer,
    /// With `use_sliding_window`, those without RoPE.
    WithoutRope,
    /// All but each n-th, beginning with the first; the field of n, and n by default. A token sees half of `local_attention`
    /// on each side, and itself.
    AllButFirstOfEach(&'static str, usize),
}

/// The fields of a mixture of experts.
#[derive(Debug)]
pub(crate) struct ExpertNames {
    pub(crate) count: &'static str,
    pub(crate) per_token: &'static str,
    /// Neurons of an expert.
    pub(crate) ffn: &'static str,
    /// What the shared expert's neurons follow from.
    pub(crate) shared: Shared,
    /// Which layers have experts.
    pub(crate) layers: SparseLayers,
    /// How the router's numbers become the chosen experts' shares.
    pub(crate) shares: Shares,
}

/// The shared expert.
#[derive(Debug)]
pub(crate) enum Shared {
    /// There is none.
    No,
    /// The field of its neurons.
    Neurons(&'static str),
    /// The field of how many experts' neurons it has.
    Experts(&'static str),
}

/// Which layers have experts.
#[derive(Debug)]
pub(crate) enum SparseLayers {
    /// All.
    All,
    /// Each `decoder_sparse_step`-th, but those of `mlp_only_layers`.
    Step,
    /// Those from the one that the field names on.
    From(&'static str),
}

/// How a router's numbers become the chosen experts' shares.
#[derive(Debug)]
pub(crate) enum Shares {
    /// Softmax; the chosen ones are divided by their sum.
    Normalised,
    /// Softmax; divided by their sum where the field says so.
    Flag(&'static str),
    /// Softmax, times `routed_scaling_factor`. With `topk_method` "group_limited_greedy" the experts of the `topk_group`
    /// best of `n_group` groups take part, a group being as good as its best expert.
    BestOfGroups,
    /// Logistic, divided by their sum where the field says so or is absent, times `routed_scaling_factor`. The experts of
    /// the `topk_group` best of `n_group` groups take part, a group being as good as the sum of its best two.
    BestTwoOfGroups(&'static str),
}

/// Hugging Face's usual names.
pub(crate) const NAMES: Names = Names {
    hidden: "hidden_size",
    layers: "num_hidden_layers",
    heads: "num_attention_heads",
    kv_heads: Some("num_key_value_heads"),
    head_dim: Some("head_dim"),
    ffn: "intermediate_size",
    max_positions: "max_position_embeddings",
    epsilon: Some("rms_norm_eps"),
    activation: "hidden_act",
};

/// RoPE over whole heads, with this base frequency where the file does not say.
pub(crate) const fn rotary(default_theta: f64) -> Positions {
    Positions::Rotary {
        theta: "rope_theta",
        default_theta,
        share: None,
        local_theta: None,
        none_in: None,
    }
}

/// Llama's, which the others are told from.
pub(crate) const LLAMA_CONFIG: ConfigTable = ConfigTable {
    names: NAMES,
    required: &[],
    facts: &[
        (When::QKV_BIAS, Fact::Field("attention_bias", false)),
        (When::OUTPUT_BIAS, Fact::Field("attention_bias", false)),
        (When::MLP_BIAS, Fact::Field("mlp_bias", false)),
    ],
    tied: false,
    epsilon: 1e-6,
    activation: Activation::Silu,
    positions: rotary(10_000.0),
    windows: Windows::No,
    experts: None,
    latent: false,
    gain_offset: 0.0,
    scales_embeddings: false,
    attention_cap: None,
    logit_cap: None,
    attention_scale: None,
    scales_attention: None,
    scales_by_layer: None,
    parallel_residual: None,
    expansion: Expansion::MultipleOfHeads,
    demands: &[],
    encoder: None,
    keep: &["attention_bias", "mlp_bias"],
};
