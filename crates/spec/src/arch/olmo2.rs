//! OLMo 2: RMSNorm after each block only, and over all queries and all keys of a token.

use super::Architecture;
use super::parts::{
    ATTENTION, EMBED, FINAL, GATED, GATED_MLP, HIDDEN_GAIN, NEXT_TOKEN, POST_NORM, PRE_NORM,
    ROTARY_ATTENTION,
};
use crate::config::{ConfigTable, Fact, LLAMA_CONFIG};
use crate::{Axis, Role as R, Row, Side, When as W};

pub(super) static OLMO2: Architecture = Architecture {
    model_type: "olmo2",
    class: "Olmo2ForCausalLM",
    rows: &[EMBED, ATTENTION, NORMS, GATED_MLP, FINAL],
    ops: &[PRE_NORM, POST_NORM, ROTARY_ATTENTION, GATED, NEXT_TOKEN],
    config: ConfigTable {
        facts: &[
            (W::QK_NORM, Fact::Always),
            (W::QKV_BIAS, Fact::Field("attention_bias", false)),
            (W::OUTPUT_BIAS, Fact::Field("attention_bias", false)),
        ],
        epsilon: 1e-5,
        keep: &["attention_bias"],
        ..LLAMA_CONFIG
    },
    optional_prefix: "",
    renamed: &[],
    ignored: &[],
};

const NORMS: &[Row] = &[
    Row::gain(
        "model.layers.{}.self_attn.q_norm.weight",
        R::QueryNorm,
        Side::Product(&[
            Axis::KvHeads.direct(),
            Axis::Group.direct(),
            Axis::QkDim.permutation_only(),
        ]),
        &[],
    ),
    Row::gain(
        "model.layers.{}.self_attn.k_norm.weight",
        R::KeyNorm,
        Side::Product(&[Axis::KvHeads.direct(), Axis::QkDim.permutation_only()]),
        &[],
    ),
    Row::gain(
        "model.layers.{}.post_attention_layernorm.weight",
        R::AttentionOutNorm,
        HIDDEN_GAIN,
        &[],
    ),
    Row::gain(
        "model.layers.{}.post_feedforward_layernorm.weight",
        R::MlpOutNorm,
        HIDDEN_GAIN,
        &[],
    ),
];
