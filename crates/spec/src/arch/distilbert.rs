//! DistilBERT: BERT without token types and pooler.

use super::Architecture;
use super::bert::CONFIG;
use super::encoder_parts::{
    CONTEXT, ENCODER_OPS, ENCODER_TABLE, KEY, LABELS, POOLED, QUERY, SENTENCE, SENTENCE_OPS, VALUE,
};
use super::parts::{FFN, HIDDEN, HIDDEN_GAIN, VOCAB};
use crate::config::{ConfigTable, EncoderTable, Fact, HeadActivation, NAMES, Names};
use crate::{Activation, Axis, Op, Role as R, Row, Task, When as W};

pub(super) static DISTILBERT: Architecture = Architecture {
    model_type: "distilbert",
    class: "DistilBert",
    rows: &[BODY, HEADS, SENTENCE],
    ops: &[
        ENCODER_OPS,
        // Rectified: max(x, 0).
        &[(W::ALWAYS, Op::Homogeneous(Axis::Pooled))],
        SENTENCE_OPS,
    ],
    config: ConfigTable {
        names: Names {
            hidden: "dim",
            layers: "n_layers",
            heads: "n_heads",
            kv_heads: None,
            head_dim: None,
            ffn: "hidden_dim",
            epsilon: None,
            activation: "activation",
            ..NAMES
        },
        facts: &[
            (W::FEATURES, Fact::Tasks(&[Task::Features])),
            (W::SEQUENCE_LABELS, Fact::Tasks(&[Task::SequenceLabels])),
            (W::TOKEN_LABELS, Fact::Tasks(&[Task::TokenLabels])),
            (W::MASKED_TOKEN, Fact::Tasks(&[Task::MaskedToken])),
        ],
        encoder: Some(EncoderTable {
            token_types: None,
            pooler: HeadActivation::Is(Activation::Relu),
            ..ENCODER_TABLE
        }),
        demands: &[],
        ..CONFIG
    },
    optional_prefix: "distilbert.",
    renamed: &[],
    ignored: &["vocab_projector."],
};

const BODY: &[Row] = &[
    Row::embed(
        "distilbert.embeddings.word_embeddings.weight",
        R::Embed,
        VOCAB,
        HIDDEN,
    ),
    Row::embed(
        "distilbert.embeddings.position_embeddings.weight",
        R::PositionEmbed,
        Axis::Positions.direct(),
        HIDDEN,
    ),
    Row::gain(
        "distilbert.embeddings.LayerNorm.weight",
        R::EmbedNorm,
        HIDDEN_GAIN,
        &[],
    ),
    Row::norm_bias(
        "distilbert.embeddings.LayerNorm.bias",
        R::EmbedNormBias,
        HIDDEN,
        R::EmbedNorm,
    ),
    Row::linear(
        "distilbert.transformer.layer.{}.attention.q_lin.weight",
        R::Query,
        QUERY,
        HIDDEN,
    ),
    Row::bias(
        "distilbert.transformer.layer.{}.attention.q_lin.bias",
        R::QueryBias,
        QUERY,
    ),
    Row::linear(
        "distilbert.transformer.layer.{}.attention.k_lin.weight",
        R::Key,
        KEY,
        HIDDEN,
    ),
    Row::bias(
        "distilbert.transformer.layer.{}.attention.k_lin.bias",
        R::KeyBias,
        KEY,
    ),
    Row::linear(
        "distilbert.transformer.layer.{}.attention.v_lin.weight",
        R::Value,
        VALUE,
        HIDDEN,
    ),
    Row::bias(
        "distilbert.transformer.layer.{}.attention.v_lin.bias",
        R::ValueBias,
        VALUE,
    ),
    Row::linear(
        "distilbert.transformer.layer.{}.attention.out_lin.weight",
        R::Output,
        HIDDEN,
        CONTEXT,
    ),
    Row::bias(
        "distilbert.transformer.layer.{}.attention.out_lin.bias",
        R::OutputBias,
        HIDDEN,
    ),
    Row::gain(
        "distilbert.transformer.layer.{}.sa_layer_norm.weight",
        R::AttentionSumNorm,
        HIDDEN_GAIN,
        &[],
    ),
    Row::norm_bias(
        "distilbert.transformer.layer.{}.sa_layer_norm.bias",
        R::AttentionSumNormBias,
        HIDDEN,
        R::AttentionSumNorm,
    ),
    Row::linear(
        "distilbert.transformer.layer.{}.ffn.lin1.weight",
        R::Up,
        FFN,
        HIDDEN,
    ),
    Row::bias(
        "distilbert.transformer.layer.{}.ffn.lin1.bias",
        R::UpBias,
        FFN,
    ),
    Row::linear(
        "distilbert.transformer.layer.{}.ffn.lin2.weight",
        R::Down,
        HIDDEN,
        FFN,
    ),
    Row::bias(
        "distilbert.transformer.layer.{}.ffn.lin2.bias",
        R::DownBias,
        HIDDEN,
    ),
    Row::gain(
        "distilbert.transformer.layer.{}.output_layer_norm.weight",
        R::MlpSumNorm,
        HIDDEN_GAIN,
        &[],
    ),
    Row::norm_bias(
        "distilbert.transformer.layer.{}.output_layer_norm.bias",
        R::MlpSumNormBias,
        HIDDEN,
        R::MlpSumNorm,
    ),
];

const HEADS: &[Row] = &[
    Row::linear("pre_classifier.weight", R::HeadDense, POOLED, HIDDEN).only(W::SEQUENCE_LABELS),
    Row::bias("pre_classifier.bias", R::HeadDenseBias, POOLED).only(W::SEQUENCE_LABELS),
    Row::linear("classifier.weight", R::Labels, LABELS, POOLED).only(W::SEQUENCE_LABELS),
    Row::bias("classifier.bias", R::LabelsBias, LABELS).only(W::SEQUENCE_LABELS),
    Row::linear("classifier.weight", R::Labels, LABELS, HIDDEN).only(W::TOKEN_LABELS),
    Row::bias("classifier.bias", R::LabelsBias, LABELS).only(W::TOKEN_LABELS),
    Row::linear("vocab_transform.weight", R::HeadDense, HIDDEN, HIDDEN).only(W::MASKED_TOKEN),
    Row::bias("vocab_transform.bias", R::HeadDenseBias, HIDDEN).only(W::MASKED_TOKEN),
    Row::gain("vocab_layer_norm.weight", R::HeadNorm, HIDDEN_GAIN, &[]).only(W::MASKED_TOKEN),
    Row::norm_bias(
        "vocab_layer_norm.bias",
        R::HeadNormBias,
        HIDDEN,
        R::HeadNorm,
    )
    .only(W::MASKED_TOKEN),
    Row::linear("vocab_projector.weight", R::Head, VOCAB, HIDDEN)
        .only(W::MASKED_TOKEN)
        .only(W::UNTIED),
    Row::bias("vocab_projector.bias", R::HeadBias, VOCAB).only(W::MASKED_TOKEN),
];
