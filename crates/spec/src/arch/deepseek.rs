//! DeepSeek-V2 and V3: multi-head latent attention (arXiv 2405.04434, section 2.1), routed and shared experts.

use super::Architecture;
use super::parts::{
    EMBED, EXPERT_OPS, FINAL, GATED, GATED_EXPERTS, GATED_MLP, HIDDEN, HIDDEN_GAIN, NEXT_TOKEN,
    POST_ATTENTION_NORM, PRE_NORM, SHARED_FFN, SHARED_GATE,
};
use crate::config::{
    ConfigTable, Expansion, Fact, LLAMA_CONFIG, Moe, MoeLayers, MoeShared, MoeShares, NAMES, Names,
};
use crate::{Axis, NormPlace, Op, Role as R, RopeLayout, Row, Side, When as W};

const ROWS: &[&[Row]] = &[
    EMBED,
    LATENT_ATTENTION,
    POST_ATTENTION_NORM,
    GATED_MLP,
    GATED_EXPERTS,
    SHARED_EXPERTS,
    FINAL,
];

const OPS: &[&[(W, Op)]] = &[PRE_NORM, LATENT_OPS, GATED, EXPERT_OPS, NEXT_TOKEN];

/// A query is [plain, rotary] in each head.
const QUERY: Side = Side::Product(&[
    Axis::KvHeads.direct(),
    Side::Sum(&[Axis::QkPlain.direct(), Axis::QkShared.direct()]),
]);

/// The latent vector of keys and values, and the rotary key that all heads share.
const LATENT_KEY: Side = Side::Sum(&[Axis::KvLatent.direct(), Axis::QkShared.dual()]);

const LATENT_ATTENTION: &[Row] = &[
    Row::gain(
        "model.layers.{}.input_layernorm.weight",
        R::AttentionNorm,
        HIDDEN_GAIN,
        &[R::Query, R::QueryDown, R::KeyValueDown],
    ),
    Row::linear(
        "model.layers.{}.self_attn.q_proj.weight",
        R::Query,
        QUERY,
        HIDDEN,
    )
    .only(W::QUERY_DIRECT),
    Row::linear(
        "model.layers.{}.self_attn.q_a_proj.weight",
        R::QueryDown,
        Axis::QueryLatent.direct(),
        HIDDEN,
    )
    .only(W::QUERY_LATENT),
    Row::bias(
        "model.layers.{}.self_attn.q_a_proj.bias",
        R::QueryDownBias,
        Axis::QueryLatent.direct(),
    )
    .only(W::QUERY_LATENT.and(W::QKV_BIAS)),
    Row::gain(
        "model.layers.{}.self_attn.q_a_layernorm.weight",
        R::QueryLatentNorm,
        Axis::QueryLatent.permutation_only(),
        &[R::QueryUp],
    )
    .only(W::QUERY_LATENT),
    Row::linear(
        "model.layers.{}.self_attn.q_b_proj.weight",
        R::QueryUp,
        QUERY,
        Axis::QueryLatent.direct(),
    )
    .only(W::QUERY_LATENT),
    Row::linear(
        "model.layers.{}.self_attn.kv_a_proj_with_mqa.weight",
        R::KeyValueDown,
        LATENT_KEY,
        HIDDEN,
    ),
    Row::bias(
        "model.layers.{}.self_attn.kv_a_proj_with_mqa.bias",
        R::KeyValueDownBias,
        LATENT_KEY,
    )
    .only(W::QKV_BIAS),
    Row::gain(
        "model.layers.{}.self_attn.kv_a_layernorm.weight",
        R::KeyValueLatentNorm,
        Axis::KvLatent.permutation_only(),
        &[R::KeyValueUp],
    ),
    Row::linear(
        "model.layers.{}.self_attn.kv_b_proj.weight",
        R::KeyValueUp,
        Side::Product(&[
            Axis::KvHeads.direct(),
            Side::Sum(&[Axis::QkPlain.dual(), Axis::VDim.direct()]),
        ]),
        Axis::KvLatent.direct(),
    ),
    Row::linear(
        "model.layers.{}.self_attn.o_proj.weight",
        R::Output,
        HIDDEN,
        Side::Product(&[Axis::KvHeads.direct(), Axis::VDim.direct()]),
    ),
    Row::bias(
        "model.layers.{}.self_attn.o_proj.bias",
        R::OutputBias,
        HIDDEN,
    )
    .only(W::OUTPUT_BIAS),
];

const SHARED_EXPERTS: &[Row] = &[
    Row::linear(
        "model.layers.{}.mlp.shared_experts.gate_proj.weight",
        R::SharedGate,
        SHARED_GATE,
        HIDDEN,
    )
    .only(W::SPARSE.and(W::SHARED_EXPERT)),
    Row::linear(
        "model.layers.{}.mlp.shared_experts.up_proj.weight",
        R::SharedUp,
        SHARED_FFN,
        HIDDEN,
    )
    .only(W::SPARSE.and(W::SHARED_EXPERT)),
    Row::linear(
        "model.layers.{}.mlp.shared_experts.down_proj.weight",
        R::SharedDown,
        HIDDEN,
        SHARED_FFN,
    )
    .only(W::SPARSE.and(W::SHARED_EXPERT)),
];

const LATENT_OPS: &[(W, Op)] = &[
    (W::ALWAYS, Op::Parallel(Axis::KvHeads)),
    (
        W::QUERY_LATENT,
        Op::RmsNorm {
            axis: Axis::QueryLatent,
            place: NormPlace::BeforeBlock,
        },
    ),
    (
        W::ALWAYS,
        Op::RmsNorm {
            axis: Axis::KvLatent,
            place: NormPlace::BeforeBlock,
        },
    ),
    (W::ALWAYS, Op::DotProduct(Axis::QkPlain)),
    (
        W::ROPE_NEIGHBOURS,
        Op::Rope {
            axis: Axis::QkShared,
            layout: RopeLayout::Neighbours,
        },
    ),
    (
        W::ROPE_HALVES,
        Op::Rope {
            axis: Axis::QkShared,
            layout: RopeLayout::Halves,
        },
    ),
    (W::ALWAYS, Op::DotProduct(Axis::QkShared)),
    (W::ALWAYS, Op::Average(Axis::VDim)),
];

const CONFIG: ConfigTable = ConfigTable {
    names: Names {
        head_dim: None,
        ..NAMES
    },
    required: &["first_k_dense_replace"],
    latent: true,
    expansion: Expansion::Free,
    keep: &[
        "attention_bias",
        "q_lora_rank",
        "kv_lora_rank",
        "qk_nope_head_dim",
        "qk_rope_head_dim",
        "v_head_dim",
        "n_routed_experts",
        "n_shared_experts",
        "num_experts_per_tok",
        "moe_intermediate_size",
        "moe_layer_freq",
        "first_k_dense_replace",
        "n_group",
        "topk_group",
        "topk_method",
        "scoring_func",
        "norm_topk_prob",
        "routed_scaling_factor",
        "rope_interleave",
    ],
    ..LLAMA_CONFIG
};

const EXPERTS: Moe = Moe {
    count: "n_routed_experts",
    per_token: "num_experts_per_tok",
    ffn: "moe_intermediate_size",
    shared: MoeShared::Experts("n_shared_experts"),
    layers: MoeLayers::From("first_k_dense_replace"),
    shares: MoeShares::BestOfGroups,
};

pub(super) static DEEPSEEK_V2: Architecture = Architecture {
    model_type: "deepseek_v2",
    class: "DeepseekV2ForCausalLM",
    rows: ROWS,
    ops: OPS,
    config: ConfigTable {
        facts: &[
            (W::ROPE_NEIGHBOURS, Fact::Always),
            (W::QKV_BIAS, Fact::Field("attention_bias", false)),
            (W::OUTPUT_BIAS, Fact::Field("attention_bias", false)),
        ],
        experts: Some(EXPERTS),
        demands: &[("norm_topk_prob", false)],
        ..CONFIG
    },
    optional_prefix: "",
    renamed: &[],
    ignored: &[],
};

pub(super) static DEEPSEEK_V3: Architecture = Architecture {
    model_type: "deepseek_v3",
    class: "DeepseekV3ForCausalLM",
    rows: ROWS,
    ops: OPS,
    config: ConfigTable {
        required: &["first_k_dense_replace", "routed_scaling_factor"],
        facts: &[
            (W::QKV_BIAS, Fact::Field("attention_bias", false)),
            (W::OUTPUT_BIAS, Fact::Field("attention_bias", false)),
            (W::ROUTER_BIAS, Fact::Always),
            (W::ROPE_NEIGHBOURS, Fact::Field("rope_interleave", true)),
            (W::ROPE_HALVES, Fact::Not("rope_interleave", true)),
        ],
        experts: Some(Moe {
            shares: MoeShares::BestTwoOfGroups("norm_topk_prob"),
            ..EXPERTS
        }),
        ..CONFIG
    },
    optional_prefix: "",
    renamed: &[],
    ignored: &[],
};
