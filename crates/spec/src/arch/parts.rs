//! What several tables have in common.

use crate::{Axis, NormPlace, Op, Role as R, RopeLayout, Row, Side, When as W};

pub(super) const VOCAB: Side = Axis::Vocab.direct();
pub(super) const HIDDEN: Side = Axis::Hidden.direct();
pub(super) const HIDDEN_GAIN: Side = Axis::Hidden.permutation_only();
pub(super) const QUERY: Side = Side::Product(&[
    Axis::KvHeads.direct(),
    Axis::Group.direct(),
    Axis::QkDim.direct(),
]);
pub(super) const KEY: Side = Side::Product(&[Axis::KvHeads.direct(), Axis::QkDim.dual()]);
pub(super) const VALUE: Side = Side::Product(&[Axis::KvHeads.direct(), Axis::VDim.direct()]);
pub(super) const CONTEXT: Side = Side::Product(&[
    Axis::KvHeads.direct(),
    Axis::Group.direct(),
    Axis::VDim.direct(),
]);
pub(super) const GATE: Side = Axis::Ffn.permutation_only();
pub(super) const FFN: Side = Axis::Ffn.direct();
pub(super) const EXPERTS: Side =
    Side::Product(&[Axis::ExpertGroups.direct(), Axis::Experts.direct()]);
pub(super) const EXPERT_GATE: Side = Axis::ExpertFfn.permutation_only();
pub(super) const EXPERT_FFN: Side = Axis::ExpertFfn.direct();
pub(super) const SHARED_GATE: Side = Axis::SharedFfn.permutation_only();
pub(super) const SHARED_FFN: Side = Axis::SharedFfn.direct();
/// A single number.
pub(super) const ONE: Side = Side::Product(&[]);

/// What reads the norm before an MLP or a mixture of experts.
pub(super) const MLP_READERS: &[R] = &[
    R::Gate,
    R::Up,
    R::GateUp,
    R::Router,
    R::ExpertGate,
    R::ExpertUp,
    R::SharedGate,
    R::SharedUp,
    R::SharedShare,
];

pub(super) const EMBED: &[Row] = &[Row::embed(
    "model.embed_tokens.weight",
    R::Embed,
    VOCAB,
    HIDDEN,
)];

pub(super) const INPUT_NORM: &[Row] = &[Row::gain(
    "model.layers.{}.input_layernorm.weight",
    R::AttentionNorm,
    HIDDEN_GAIN,
    &[R::Query, R::Key, R::Value, R::QueryKeyValue],
)];

pub(super) const ATTENTION: &[Row] = &[
    Row::linear(
        "model.layers.{}.self_attn.q_proj.weight",
        R::Query,
        QUERY,
        HIDDEN,
    ),
    Row::bias("model.layers.{}.self_attn.q_proj.bias", R::QueryBias, QUERY).only(W::QKV_BIAS),
    Row::linear(
        "model.layers.{}.self_attn.k_proj.weight",
        R::Key,
        KEY,
        HIDDEN,
    ),
    Row::bias("model.layers.{}.self_attn.k_proj.bias", R::KeyBias, KEY).only(W::QKV_BIAS),
    Row::linear(
        "model.layers.{}.self_attn.v_proj.weight",
        R::Value,
        VALUE,
        HIDDEN,
    ),
    Row::bias("model.layers.{}.self_attn.v_proj.bias", R::ValueBias, VALUE).only(W::QKV_BIAS),
    Row::linear(
        "model.layers.{}.self_attn.o_proj.weight",
        R::Output,
        HIDDEN,
        CONTEXT,
    ),
    Row::bias(
        "model.layers.{}.self_attn.o_proj.bias",
        R::OutputBias,
        HIDDEN,
    )
    .only(W::OUTPUT_BIAS),
];

/// One gain for the queries of all heads, and one for the keys.
pub(super) const HEAD_NORMS: &[Row] = &[
    Row::gain(
        "model.layers.{}.self_attn.q_norm.weight",
        R::QueryNorm,
        Axis::QkDim.permutation_only(),
        &[],
    )
    .only(W::QK_NORM),
    Row::gain(
        "model.layers.{}.self_attn.k_norm.weight",
        R::KeyNorm,
        Axis::QkDim.permutation_only(),
        &[],
    )
    .only(W::QK_NORM),
];

pub(super) const POST_ATTENTION_NORM: &[Row] = &[Row::gain(
    "model.layers.{}.post_attention_layernorm.weight",
    R::MlpNorm,
    HIDDEN_GAIN,
    MLP_READERS,
)];

pub(super) const GATED_MLP: &[Row] = &[
    Row::linear(
        "model.layers.{}.mlp.gate_proj.weight",
        R::Gate,
        GATE,
        HIDDEN,
    )
    .only(W::DENSE),
    Row::bias("model.layers.{}.mlp.gate_proj.bias", R::GateBias, GATE)
        .only(W::DENSE)
        .only(W::MLP_BIAS),
    Row::linear("model.layers.{}.mlp.up_proj.weight", R::Up, FFN, HIDDEN).only(W::DENSE),
    Row::bias("model.layers.{}.mlp.up_proj.bias", R::UpBias, FFN)
        .only(W::DENSE)
        .only(W::MLP_BIAS),
    Row::linear("model.layers.{}.mlp.down_proj.weight", R::Down, HIDDEN, FFN).only(W::DENSE),
    Row::bias("model.layers.{}.mlp.down_proj.bias", R::DownBias, HIDDEN)
        .only(W::DENSE)
        .only(W::MLP_BIAS),
];

/// The names of Qwen's and DeepSeek's experts.
pub(super) const GATED_EXPERTS: &[Row] = &[
    Row::linear(
        "model.layers.{}.mlp.gate.weight",
        R::Router,
        EXPERTS,
        HIDDEN,
    )
    .only(W::SPARSE),
    Row::bias(
        "model.layers.{}.mlp.gate.e_score_correction_bias",
        R::RouterBias,
        EXPERTS,
    )
    .only(W::SPARSE)
    .only(W::ROUTER_BIAS),
    Row::linear(
        "model.layers.{}.mlp.experts.{}.gate_proj.weight",
        R::ExpertGate,
        EXPERT_GATE,
        HIDDEN,
    )
    .only(W::SPARSE),
    Row::linear(
        "model.layers.{}.mlp.experts.{}.up_proj.weight",
        R::ExpertUp,
        EXPERT_FFN,
        HIDDEN,
    )
    .only(W::SPARSE),
    Row::linear(
        "model.layers.{}.mlp.experts.{}.down_proj.weight",
        R::ExpertDown,
        HIDDEN,
        EXPERT_FFN,
    )
    .only(W::SPARSE),
];

pub(super) const FINAL: &[Row] = &[
    Row::gain("model.norm.weight", R::FinalNorm, HIDDEN_GAIN, &[R::Head]),
    Row::linear("lm_head.weight", R::Head, VOCAB, HIDDEN).only(W::UNTIED),
];

/// RMSNorm before each block and before the head.
pub(super) const PRE_NORM: &[(W, Op)] = &[(
    W::ALWAYS,
    Op::RmsNorm {
        axis: Axis::Hidden,
        place: NormPlace::BeforeBlock,
    },
)];

/// RMSNorm of a block's output.
pub(super) const POST_NORM: &[(W, Op)] = &[(
    W::ALWAYS,
    Op::RmsNorm {
        axis: Axis::Hidden,
        place: NormPlace::AfterBlock,
    },
)];

/// Grouped-query attention with RoPE.
pub(super) const ROTARY_ATTENTION: &[(W, Op)] = &[
    (W::ALWAYS, Op::Parallel(Axis::KvHeads)),
    (W::ALWAYS, Op::Parallel(Axis::Group)),
    (
        W::QK_NORM,
        Op::RmsNorm {
            axis: Axis::QkDim,
            place: NormPlace::AfterBlock,
        },
    ),
    (
        W::ALWAYS,
        Op::Rope {
            axis: Axis::QkDim,
            layout: RopeLayout::Halves,
        },
    ),
    (W::ALWAYS, Op::DotProduct(Axis::QkDim)),
    (W::ALWAYS, Op::Average(Axis::VDim)),
];

pub(super) const GATED: &[(W, Op)] = &[(W::ALWAYS, Op::Gate(Axis::Ffn))];

pub(super) const EXPERT_OPS: &[(W, Op)] = &[
    (W::SPARSE, Op::Parallel(Axis::ExpertGroups)),
    (W::SPARSE, Op::Parallel(Axis::Experts)),
    (W::SPARSE, Op::Gate(Axis::ExpertFfn)),
    (W::SPARSE.and(W::SHARED_EXPERT), Op::Gate(Axis::SharedFfn)),
];

pub(super) const NEXT_TOKEN: &[(W, Op)] = &[(W::ALWAYS, Op::Softmax(Axis::Vocab))];
