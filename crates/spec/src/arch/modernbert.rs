//! ModernBERT: RoPE, norms before the blocks, a gated MLP, windows in most layers.

use super::Architecture;
use super::bert::BERT_NAMES;
use super::encoder_parts::{ENCODER_TABLE, LABELS, POOLED, SENTENCE, SENTENCE_OPS, VALUE};
use super::parts::{FFN, GATE, HIDDEN, HIDDEN_GAIN, VOCAB};
use crate::config::{
    ConfigTable, EncoderTable, Expansion, Fact, HeadActivation, LLAMA_CONFIG, Names, Positions,
    Window,
};
use crate::{Activation, Axis, NormPlace, Op, Role as R, RopeLayout, Row, Side, Task, When as W};

pub(super) static MODERNBERT: Architecture = Architecture {
    model_type: "modernbert",
    class: "ModernBert",
    rows: &[BODY, HEADS, SENTENCE],
    ops: &[OPS, SENTENCE_OPS],
    config: ConfigTable {
        names: Names {
            epsilon: Some("norm_eps"),
            activation: "hidden_activation",
            ..BERT_NAMES
        },
        facts: &[
            (W::NORM_BIAS, Fact::Field("norm_bias", false)),
            (W::QKV_BIAS, Fact::Field("attention_bias", false)),
            (W::OUTPUT_BIAS, Fact::Field("attention_bias", false)),
            (W::MLP_BIAS, Fact::Field("mlp_bias", false)),
            (W::LABEL_BIAS, Fact::Field("classifier_bias", false)),
            (W::HEAD_BIAS, Fact::Field("decoder_bias", true)),
            (W::FEATURES, Fact::Tasks(&[Task::Features])),
            (W::SEQUENCE_LABELS, Fact::Tasks(&[Task::SequenceLabels])),
            (W::TOKEN_LABELS, Fact::Tasks(&[Task::TokenLabels])),
            (W::MASKED_TOKEN, Fact::Tasks(&[Task::MaskedToken])),
            (
                W::POOLER,
                Fact::Tasks(&[Task::SequenceLabels, Task::TokenLabels]),
            ),
        ],
        tied: true,
        epsilon: 1e-5,
        activation: Activation::Gelu,
        positions: Positions::Rotary {
            theta: "global_rope_theta",
            default_theta: 160_000.0,
            share: None,
            local_theta: Some("local_rope_theta"),
            none_in: None,
        },
        windows: Window::AllButFirstOfEach("global_attn_every_n_layers", 3),
        expansion: Expansion::No("a norm stands behind its embedding"),
        encoder: Some(EncoderTable {
            token_types: None,
            pooler: HeadActivation::Field("classifier_activation", Activation::Gelu),
            token_head: HeadActivation::Field("classifier_activation", Activation::Gelu),
            pooling: Some("classifier_pooling"),
            ..ENCODER_TABLE
        }),
        keep: &[
            "norm_bias",
            "attention_bias",
            "mlp_bias",
            "classifier_bias",
            "decoder_bias",
            "classifier_pooling",
            "classifier_activation",
            "local_attention",
            "global_attn_every_n_layers",
            "layer_types",
            "problem_type",
        ],
        ..LLAMA_CONFIG
    },
    optional_prefix: "model.",
    renamed: &[],
    ignored: &["decoder."],
};

const OPS: &[(W, Op)] = &[
    (
        W::ALWAYS,
        Op::LayerNorm {
            axis: Axis::Hidden,
            place: NormPlace::BeforeBlock,
        },
    ),
    // The norm behind the embedding.
    (
        W::ALWAYS,
        Op::LayerNorm {
            axis: Axis::Hidden,
            place: NormPlace::AfterBlock,
        },
    ),
    (W::ALWAYS, Op::Parallel(Axis::KvHeads)),
    (
        W::ALWAYS,
        Op::Rope {
            axis: Axis::QkDim,
            layout: RopeLayout::Halves,
        },
    ),
    (W::ALWAYS, Op::DotProduct(Axis::QkDim)),
    (W::ALWAYS, Op::Average(Axis::VDim)),
    (W::ALWAYS, Op::Gate(Axis::Ffn)),
    (W::ALWAYS, Op::Pointwise(Axis::Pooled)),
    (
        W::ALWAYS,
        Op::LayerNorm {
            axis: Axis::Pooled,
            place: NormPlace::BeforeBlock,
        },
    ),
    (W::ALWAYS, Op::Softmax(Axis::Labels)),
    (W::ALWAYS, Op::Softmax(Axis::Vocab)),
];

/// Queries of all heads, then keys, then values.
const BY_KIND: Side = Side::Sum(&[
    Side::Product(&[Axis::KvHeads.direct(), Axis::QkDim.direct()]),
    Side::Product(&[Axis::KvHeads.direct(), Axis::QkDim.dual()]),
    VALUE,
]);

const GATE_UP: Side = Side::Sum(&[GATE, FFN]);
const POOLED_GAIN: Side = Axis::Pooled.permutation_only();

const BODY: &[Row] = &[
    Row::embed(
        "model.embeddings.tok_embeddings.weight",
        R::Embed,
        VOCAB,
        HIDDEN,
    ),
    Row::gain(
        "model.embeddings.norm.weight",
        R::EmbedNorm,
        HIDDEN_GAIN,
        &[],
    ),
    Row::norm_bias(
        "model.embeddings.norm.bias",
        R::EmbedNormBias,
        HIDDEN,
        R::EmbedNorm,
    )
    .only(W::NORM_BIAS),
    Row::gain(
        "model.layers.{}.attn_norm.weight",
        R::AttentionNorm,
        HIDDEN_GAIN,
        &[R::QueryKeyValue],
    )
    .only(W::LATER),
    Row::norm_bias(
        "model.layers.{}.attn_norm.bias",
        R::AttentionNormBias,
        HIDDEN,
        R::AttentionNorm,
    )
    .only(W::LATER)
    .only(W::NORM_BIAS),
    Row::linear(
        "model.layers.{}.attn.Wqkv.weight",
        R::QueryKeyValue,
        BY_KIND,
        HIDDEN,
    ),
    Row::bias(
        "model.layers.{}.attn.Wqkv.bias",
        R::QueryKeyValueBias,
        BY_KIND,
    )
    .only(W::QKV_BIAS),
    Row::linear("model.layers.{}.attn.Wo.weight", R::Output, HIDDEN, VALUE),
    Row::bias("model.layers.{}.attn.Wo.bias", R::OutputBias, HIDDEN).only(W::OUTPUT_BIAS),
    Row::gain(
        "model.layers.{}.mlp_norm.weight",
        R::MlpNorm,
        HIDDEN_GAIN,
        &[R::GateUp],
    ),
    Row::norm_bias(
        "model.layers.{}.mlp_norm.bias",
        R::MlpNormBias,
        HIDDEN,
        R::MlpNorm,
    )
    .only(W::NORM_BIAS),
    Row::linear("model.layers.{}.mlp.Wi.weight", R::GateUp, GATE_UP, HIDDEN),
    Row::bias("model.layers.{}.mlp.Wi.bias", R::GateUpBias, GATE_UP).only(W::MLP_BIAS),
    Row::linear("model.layers.{}.mlp.Wo.weight", R::Down, HIDDEN, FFN),
    Row::bias("model.layers.{}.mlp.Wo.bias", R::DownBias, HIDDEN).only(W::MLP_BIAS),
    Row::gain("model.final_norm.weight", R::FinalNorm, HIDDEN_GAIN, &[]),
    Row::norm_bias(
        "model.final_norm.bias",
        R::FinalNormBias,
        HIDDEN,
        R::FinalNorm,
    )
    .only(W::NORM_BIAS),
];

/// The first layer of a head is called the same whatever comes behind it; before logits of tokens it stays on the axis that
/// the tied embedding has.
const HEADS: &[Row] = &[
    Row::linear("head.dense.weight", R::HeadDense, POOLED, HIDDEN).only(W::POOLER),
    Row::bias("head.dense.bias", R::HeadDenseBias, POOLED)
        .only(W::POOLER)
        .only(W::LABEL_BIAS),
    Row::gain("head.norm.weight", R::HeadNorm, POOLED_GAIN, &[R::Labels]).only(W::POOLER),
    Row::norm_bias("head.norm.bias", R::HeadNormBias, POOLED, R::HeadNorm)
        .only(W::POOLER)
        .only(W::NORM_BIAS),
    Row::linear("classifier.weight", R::Labels, LABELS, POOLED).only(W::POOLER),
    Row::bias("classifier.bias", R::LabelsBias, LABELS).only(W::POOLER),
    Row::linear("head.dense.weight", R::HeadDense, HIDDEN, HIDDEN).only(W::MASKED_TOKEN),
    Row::bias("head.dense.bias", R::HeadDenseBias, HIDDEN)
        .only(W::MASKED_TOKEN)
        .only(W::LABEL_BIAS),
    Row::gain("head.norm.weight", R::HeadNorm, HIDDEN_GAIN, &[]).only(W::MASKED_TOKEN),
    Row::norm_bias("head.norm.bias", R::HeadNormBias, HIDDEN, R::HeadNorm)
        .only(W::MASKED_TOKEN)
        .only(W::NORM_BIAS),
    Row::linear("decoder.weight", R::Head, VOCAB, HIDDEN)
        .only(W::MASKED_TOKEN)
        .only(W::UNTIED),
    Row::bias("decoder.bias", R::HeadBias, VOCAB)
        .only(W::MASKED_TOKEN)
        .only(W::HEAD_BIAS),
];
