//! GPT-2 and GPT-NeoX (Pythia): LayerNorm, biases, queries, keys and values in one tensor, an MLP without gate.

use super::Architecture;
use super::parts::{FFN, HIDDEN, HIDDEN_GAIN, NEXT_TOKEN, VOCAB};
use crate::config::{ConfigTable, Expansion, Fact, LLAMA_CONFIG, NAMES, Names, Positions};
use crate::{Activation, Axis, NormPlace, Op, Role as R, RopeLayout, Row, Side, When as W};

pub(super) static GPT2: Architecture = Architecture {
    model_type: "gpt2",
    class: "GPT2LMHeadModel",
    rows: &[GPT2_ROWS],
    ops: &[OPS, &[(W::ALWAYS, Op::Fixed(Axis::Positions))], NEXT_TOKEN],
    config: ConfigTable {
        names: Names {
            hidden: "n_embd",
            layers: "n_layer",
            heads: "n_head",
            kv_heads: None,
            head_dim: None,
            ffn: "n_inner",
            max_positions: "n_positions",
            epsilon: Some("layer_norm_epsilon"),
            activation: "activation_function",
        },
        facts: &[],
        tied: true,
        epsilon: 1e-5,
        activation: Activation::GeluTanh,
        positions: Positions::Learned,
        expansion: Expansion::No(WIDTH_IS_HEADS),
        scales_attention: Some("scale_attn_weights"),
        scales_by_layer: Some("scale_attn_by_inverse_layer_idx"),
        demands: &[("add_cross_attention", false)],
        keep: &[
            "activation_function",
            "scale_attn_weights",
            "scale_attn_by_inverse_layer_idx",
        ],
        ..LLAMA_CONFIG
    },
    optional_prefix: "transformer.",
    renamed: &[],
    ignored: &[],
};

pub(super) static GPT_NEOX: Architecture = Architecture {
    model_type: "gpt_neox",
    class: "GPTNeoXForCausalLM",
    rows: &[NEOX_ROWS],
    ops: &[
        OPS,
        &[(
            W::ALWAYS,
            Op::Rope {
                axis: Axis::QkDim,
                layout: RopeLayout::Halves,
            },
        )],
        &[(W::ALWAYS, Op::DotProduct(Axis::QkDim))],
        NEXT_TOKEN,
    ],
    config: ConfigTable {
        names: Names {
            kv_heads: None,
            head_dim: None,
            epsilon: Some("layer_norm_eps"),
            ..NAMES
        },
        facts: &[
            (W::QKV_BIAS, Fact::Field("attention_bias", true)),
            (W::OUTPUT_BIAS, Fact::Field("attention_bias", true)),
        ],
        epsilon: 1e-5,
        activation: Activation::Gelu,
        positions: Positions::Rotary {
            theta: "rotary_emb_base",
            default_theta: 10_000.0,
            share: Some(("rotary_pct", 0.25)),
            local_theta: None,
            none_in: None,
        },
        expansion: Expansion::No(WIDTH_IS_HEADS),
        parallel_residual: Some("use_parallel_residual"),
        keep: &["attention_bias", "hidden_act", "use_parallel_residual"],
        ..LLAMA_CONFIG
    },
    optional_prefix: "",
    renamed: &[],
    ignored: &[],
};

const WIDTH_IS_HEADS: &str = "its heads divide the hidden size among them";

const OPS: &[(W, Op)] = &[
    (
        W::ALWAYS,
        Op::LayerNorm {
            axis: Axis::Hidden,
            place: NormPlace::BeforeBlock,
        },
    ),
    (W::ALWAYS, Op::Parallel(Axis::KvHeads)),
    (W::ALWAYS, Op::DotProduct(Axis::QkPlain)),
    (W::ALWAYS, Op::Average(Axis::VDim)),
    (W::ALWAYS, Op::Pointwise(Axis::Ffn)),
];

const CONTEXT: Side = Side::Product(&[Axis::KvHeads.direct(), Axis::VDim.direct()]);

/// Queries of all heads, then keys, then values.
const BY_KIND: Side = Side::Sum(&[
    Side::Product(&[Axis::KvHeads.direct(), Axis::QkPlain.direct()]),
    Side::Product(&[Axis::KvHeads.direct(), Axis::QkPlain.dual()]),
    CONTEXT,
]);

/// Query, key and value of one head, then those of the next.
const BY_HEAD: Side = Side::Product(&[
    Axis::KvHeads.direct(),
    Side::Sum(&[
        Side::Sum(&[Axis::QkDim.direct(), Axis::QkPlain.direct()]),
        Side::Sum(&[Axis::QkDim.dual(), Axis::QkPlain.dual()]),
        Axis::VDim.direct(),
    ]),
]);

const GPT2_ROWS: &[Row] = &[
    Row::embed("transformer.wte.weight", R::Embed, VOCAB, HIDDEN),
    Row::embed(
        "transformer.wpe.weight",
        R::PositionEmbed,
        Axis::Positions.direct(),
        HIDDEN,
    ),
    Row::gain(
        "transformer.h.{}.ln_1.weight",
        R::AttentionNorm,
        HIDDEN_GAIN,
        &[R::QueryKeyValue],
    ),
    Row::norm_bias(
        "transformer.h.{}.ln_1.bias",
        R::AttentionNormBias,
        HIDDEN,
        R::AttentionNorm,
    ),
    Row::conv1d(
        "transformer.h.{}.attn.c_attn.weight",
        R::QueryKeyValue,
        BY_KIND,
        HIDDEN,
    ),
    Row::bias(
        "transformer.h.{}.attn.c_attn.bias",
        R::QueryKeyValueBias,
        BY_KIND,
    ),
    Row::conv1d(
        "transformer.h.{}.attn.c_proj.weight",
        R::Output,
        HIDDEN,
        CONTEXT,
    ),
    Row::bias("transformer.h.{}.attn.c_proj.bias", R::OutputBias, HIDDEN),
    Row::gain(
        "transformer.h.{}.ln_2.weight",
        R::MlpNorm,
        HIDDEN_GAIN,
        &[R::Up],
    ),
    Row::norm_bias(
        "transformer.h.{}.ln_2.bias",
        R::MlpNormBias,
        HIDDEN,
        R::MlpNorm,
    ),
    Row::conv1d("transformer.h.{}.mlp.c_fc.weight", R::Up, FFN, HIDDEN),
    Row::bias("transformer.h.{}.mlp.c_fc.bias", R::UpBias, FFN),
    Row::conv1d("transformer.h.{}.mlp.c_proj.weight", R::Down, HIDDEN, FFN),
    Row::bias("transformer.h.{}.mlp.c_proj.bias", R::DownBias, HIDDEN),
    Row::gain(
        "transformer.ln_f.weight",
        R::FinalNorm,
        HIDDEN_GAIN,
        &[R::Head],
    ),
    Row::norm_bias(
        "transformer.ln_f.bias",
        R::FinalNormBias,
        HIDDEN,
        R::FinalNorm,
    ),
    Row::linear("lm_head.weight", R::Head, VOCAB, HIDDEN).only(W::UNTIED),
];

const NEOX_ROWS: &[Row] = &[
    Row::embed("gpt_neox.embed_in.weight", R::Embed, VOCAB, HIDDEN),
    Row::gain(
        "gpt_neox.layers.{}.input_layernorm.weight",
        R::AttentionNorm,
        HIDDEN_GAIN,
        &[R::QueryKeyValue],
    ),
    Row::norm_bias(
        "gpt_neox.layers.{}.input_layernorm.bias",
        R::AttentionNormBias,
        HIDDEN,
        R::AttentionNorm,
    ),
    Row::gain(
        "gpt_neox.layers.{}.post_attention_layernorm.weight",
        R::MlpNorm,
        HIDDEN_GAIN,
        &[R::Up],
    ),
    Row::norm_bias(
        "gpt_neox.layers.{}.post_attention_layernorm.bias",
        R::MlpNormBias,
        HIDDEN,
        R::MlpNorm,
    ),
    Row::linear(
        "gpt_neox.layers.{}.attention.query_key_value.weight",
        R::QueryKeyValue,
        BY_HEAD,
        HIDDEN,
    ),
    Row::bias(
        "gpt_neox.layers.{}.attention.query_key_value.bias",
        R::QueryKeyValueBias,
        BY_HEAD,
    )
    .only(W::QKV_BIAS),
    Row::linear(
        "gpt_neox.layers.{}.attention.dense.weight",
        R::Output,
        HIDDEN,
        CONTEXT,
    ),
    Row::bias(
        "gpt_neox.layers.{}.attention.dense.bias",
        R::OutputBias,
        HIDDEN,
    )
    .only(W::OUTPUT_BIAS),
    Row::linear(
        "gpt_neox.layers.{}.mlp.dense_h_to_4h.weight",
        R::Up,
        FFN,
        HIDDEN,
    ),
    Row::bias("gpt_neox.layers.{}.mlp.dense_h_to_4h.bias", R::UpBias, FFN),
    Row::linear(
        "gpt_neox.layers.{}.mlp.dense_4h_to_h.weight",
        R::Down,
        HIDDEN,
        FFN,
    ),
    Row::bias(
        "gpt_neox.layers.{}.mlp.dense_4h_to_h.bias",
        R::DownBias,
        HIDDEN,
    ),
    Row::gain(
        "gpt_neox.final_layer_norm.weight",
        R::FinalNorm,
        HIDDEN_GAIN,
        &[R::Head],
    ),
    Row::norm_bias(
        "gpt_neox.final_layer_norm.bias",
        R::FinalNormBias,
        HIDDEN,
        R::FinalNorm,
    ),
    Row::linear("embed_out.weight", R::Head, VOCAB, HIDDEN).only(W::UNTIED),
];
