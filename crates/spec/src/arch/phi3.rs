//! Phi-3 and Phi-4: queries, keys and values in one tensor, gate and up in another; RoPE on a part of each head.

use super::Architecture;
use super::parts::{
    CONTEXT, EMBED, FFN, FINAL, GATE, GATED, HIDDEN, INPUT_NORM, NEXT_TOKEN, POST_ATTENTION_NORM,
    PRE_NORM, ROTARY_ATTENTION, VALUE,
};
use crate::config::{ConfigTable, LLAMA_CONFIG, Positions, Window};
use crate::{Axis, Op, Role as R, Row, Side, When as W};

pub(super) static PHI3: Architecture = Architecture {
    model_type: "phi3",
    class: "Phi3ForCausalLM",
    rows: &[
        EMBED,
        INPUT_NORM,
        FUSED,
        POST_ATTENTION_NORM,
        FUSED_MLP,
        FINAL,
    ],
    ops: &[
        PRE_NORM,
        ROTARY_ATTENTION,
        &[(W::ALWAYS, Op::DotProduct(Axis::QkPlain))],
        GATED,
        NEXT_TOKEN,
    ],
    config: ConfigTable {
        required: &["num_key_value_heads"],
        facts: &[],
        epsilon: 1e-5,
        positions: Positions::Rotary {
            theta: "rope_theta",
            default_theta: 10_000.0,
            share: Some(("partial_rotary_factor", 1.0)),
            local_theta: None,
            none_in: None,
        },
        windows: Window::All,
        demands: &[("attention_bias", false)],
        keep: &["sliding_window"],
        ..LLAMA_CONFIG
    },
    optional_prefix: "",
    renamed: &[],
    ignored: &[],
};

const QUERY: Side = Side::Product(&[
    Axis::KvHeads.direct(),
    Axis::Group.direct(),
    Side::Sum(&[Axis::QkDim.direct(), Axis::QkPlain.direct()]),
]);

const KEY: Side = Side::Product(&[
    Axis::KvHeads.direct(),
    Side::Sum(&[Axis::QkDim.dual(), Axis::QkPlain.dual()]),
]);

const FUSED: &[Row] = &[
    Row::linear(
        "model.layers.{}.self_attn.qkv_proj.weight",
        R::QueryKeyValue,
        Side::Sum(&[QUERY, KEY, VALUE]),
        HIDDEN,
    ),
    Row::linear(
        "model.layers.{}.self_attn.o_proj.weight",
        R::Output,
        HIDDEN,
        CONTEXT,
    ),
];

const FUSED_MLP: &[Row] = &[
    Row::linear(
        "model.layers.{}.mlp.gate_up_proj.weight",
        R::GateUp,
        Side::Sum(&[GATE, FFN]),
        HIDDEN,
    ),
    Row::linear("model.layers.{}.mlp.down_proj.weight", R::Down, HIDDEN, FFN),
];
