//! Gemma 2 and 3: RMSNorm on both sides of each block.

use super::Architecture;
use super::parts::{
    ATTENTION, EMBED, FINAL, GATED, GATED_MLP, HEAD_NORMS, HIDDEN_GAIN, INPUT_NORM, MLP_READERS,
    NEXT_TOKEN, POST_NORM, PRE_NORM, ROTARY_ATTENTION,
};
use crate::config::{ConfigTable, Fact, LLAMA_CONFIG, NAMES, Names, Positions, Window};
use crate::{Activation, Op, Role as R, Row, When as W};

const ROWS: &[&[Row]] = &[
    EMBED, INPUT_NORM, ATTENTION, HEAD_NORMS, NORMS, GATED_MLP, FINAL,
];

const NORMS: &[Row] = &[
    Row::gain(
        "model.layers.{}.post_attention_layernorm.weight",
        R::AttentionOutNorm,
        HIDDEN_GAIN,
        &[],
    ),
    Row::gain(
        "model.layers.{}.pre_feedforward_layernorm.weight",
        R::MlpNorm,
        HIDDEN_GAIN,
        MLP_READERS,
    ),
    Row::gain(
        "model.layers.{}.post_feedforward_layernorm.weight",
        R::MlpOutNorm,
        HIDDEN_GAIN,
        &[],
    ),
];

const OPS: &[&[(W, Op)]] = &[PRE_NORM, POST_NORM, ROTARY_ATTENTION, GATED, NEXT_TOKEN];

const CONFIG: ConfigTable = ConfigTable {
    names: Names {
        activation: "hidden_activation",
        ..NAMES
    },
    facts: &[],
    tied: true,
    activation: Activation::GeluTanh,
    gain_offset: 1.0,
    scales_embeddings: true,
    attention_scale: Some("query_pre_attn_scalar"),
    logit_cap: Some(("final_logit_softcapping", None)),
    demands: &[("attention_bias", false)],
    ..LLAMA_CONFIG
};

pub(super) static GEMMA2: Architecture = Architecture {
    model_type: "gemma2",
    class: "Gemma2ForCausalLM",
    rows: ROWS,
    ops: OPS,
    config: ConfigTable {
        required: &[
            "num_key_value_heads",
            "head_dim",
            "sliding_window",
            "query_pre_attn_scalar",
        ],
        windows: Window::AllButEach("sliding_window_pattern", 2),
        attention_cap: Some(("attn_logit_softcapping", Some(50.0))),
        logit_cap: Some(("final_logit_softcapping", Some(30.0))),
        keep: &[
            "sliding_window",
            "layer_types",
            "query_pre_attn_scalar",
            "attn_logit_softcapping",
            "final_logit_softcapping",
        ],
        ..CONFIG
    },
    optional_prefix: "",
    renamed: &[],
    ignored: &[],
};

pub(super) static GEMMA3: Architecture = Architecture {
    model_type: "gemma3_text",
    class: "Gemma3ForCausalLM",
    rows: ROWS,
    ops: OPS,
    config: ConfigTable {
        required: &[
            "num_key_value_heads",
            "head_dim",
            "sliding_window",
            "query_pre_attn_scalar",
        ],
        facts: &[(W::QK_NORM, Fact::Always)],
        positions: Positions::Rotary {
            theta: "rope_theta",
            default_theta: 1e6,
            share: None,
            local_theta: Some("rope_local_base_freq"),
            none_in: None,
        },
        windows: Window::AllButEach("sliding_window_pattern", 6),
        keep: &[
            "sliding_window",
            "sliding_window_pattern",
            "layer_types",
            "query_pre_attn_scalar",
            "final_logit_softcapping",
        ],
        ..CONFIG
    },
    optional_prefix: "",
    renamed: &[],
    ignored: &[],
};
