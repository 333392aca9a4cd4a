//! BERT, RoBERTa, XLM-RoBERTa: norms behind the residual sums, learned positions, two texts told apart.

use super::Architecture;
use super::encoder_parts::{
    CONTEXT, ENCODER_OPS, ENCODER_TABLE, KEY, LABELS, POOLED, POOLER_TASKS, QUERY, SENTENCE,
    SENTENCE_OPS, TANH_POOLER, VALUE,
};
use super::parts::{FFN, HIDDEN, HIDDEN_GAIN, VOCAB};
use crate::config::{
    ConfigTable, EncoderTable, Expansion, Fact, HeadActivation, LLAMA_CONFIG, NAMES, Names,
    Positions,
};
use crate::{Activation, Axis, Role as R, Row, Task, When as W};

/// The rows of the body, which differ in the prefix of their names only.
macro_rules! bert_body {
    ($prefix:literal) => {
        &[
            Row::embed(
                concat!($prefix, "embeddings.word_embeddings.weight"),
                R::Embed,
                VOCAB,
                HIDDEN,
            ),
            Row::embed(
                concat!($prefix, "embeddings.position_embeddings.weight"),
                R::PositionEmbed,
                Axis::Positions.direct(),
                HIDDEN,
            ),
            Row::embed(
                concat!($prefix, "embeddings.token_type_embeddings.weight"),
                R::TokenTypeEmbed,
                Axis::TokenTypes.direct(),
                HIDDEN,
            ),
            Row::gain(
                concat!($prefix, "embeddings.LayerNorm.weight"),
                R::EmbedNorm,
                HIDDEN_GAIN,
                &[],
            ),
            Row::norm_bias(
                concat!($prefix, "embeddings.LayerNorm.bias"),
                R::EmbedNormBias,
                HIDDEN,
                R::EmbedNorm,
            ),
            Row::linear(
                concat!($prefix, "encoder.layer.{}.attention.self.query.weight"),
                R::Query,
                QUERY,
                HIDDEN,
            ),
            Row::bias(
                concat!($prefix, "encoder.layer.{}.attention.self.query.bias"),
                R::QueryBias,
                QUERY,
            ),
            Row::linear(
                concat!($prefix, "encoder.layer.{}.attention.self.key.weight"),
                R::Key,
                KEY,
                HIDDEN,
            ),
            Row::bias(
                concat!($prefix, "encoder.layer.{}.attention.self.key.bias"),
                R::KeyBias,
                KEY,
            ),
            Row::linear(
                concat!($prefix, "encoder.layer.{}.attention.self.value.weight"),
                R::Value,
                VALUE,
                HIDDEN,
            ),
            Row::bias(
                concat!($prefix, "encoder.layer.{}.attention.self.value.bias"),
                R::ValueBias,
                VALUE,
            ),
            Row::linear(
                concat!($prefix, "encoder.layer.{}.attention.output.dense.weight"),
                R::Output,
                HIDDEN,
                CONTEXT,
            ),
            Row::bias(
                concat!($prefix, "encoder.layer.{}.attention.output.dense.bias"),
                R::OutputBias,
                HIDDEN,
            ),
            Row::gain(
                concat!(
                    $prefix,
                    "encoder.layer.{}.attention.output.LayerNorm.weight"
                ),
                R::AttentionSumNorm,
                HIDDEN_GAIN,
                &[],
            ),
            Row::norm_bias(
                concat!($prefix, "encoder.layer.{}.attention.output.LayerNorm.bias"),
                R::AttentionSumNormBias,
                HIDDEN,
                R::AttentionSumNorm,
            ),
            Row::linear(
                concat!($prefix, "encoder.layer.{}.intermediate.dense.weight"),
                R::Up,
                FFN,
                HIDDEN,
            ),
            Row::bias(
                concat!($prefix, "encoder.layer.{}.intermediate.dense.bias"),
                R::UpBias,
                FFN,
            ),
            Row::linear(
                concat!($prefix, "encoder.layer.{}.output.dense.weight"),
                R::Down,
                HIDDEN,
                FFN,
            ),
            Row::bias(
                concat!($prefix, "encoder.layer.{}.output.dense.bias"),
                R::DownBias,
                HIDDEN,
            ),
            Row::gain(
                concat!($prefix, "encoder.layer.{}.output.LayerNorm.weight"),
                R::MlpSumNorm,
                HIDDEN_GAIN,
                &[],
            ),
            Row::norm_bias(
                concat!($prefix, "encoder.layer.{}.output.LayerNorm.bias"),
                R::MlpSumNormBias,
                HIDDEN,
                R::MlpSumNorm,
            ),
        ]
    };
}

pub(super) static BERT: Architecture = Architecture {
    model_type: "bert",
    class: "Bert",
    rows: &[bert_body!("bert."), BERT_POOLER, BERT_HEADS, SENTENCE],
    ops: &[ENCODER_OPS, TANH_POOLER, SENTENCE_OPS],
    config: CONFIG,
    optional_prefix: "bert.",
    renamed: BERT_RENAMED,
    ignored: &["cls.seq_relationship.", "cls.predictions.decoder."],
};

pub(super) static ROBERTA: Architecture = Architecture {
    model_type: "roberta",
    class: "Roberta",
    config: ROBERTA_CONFIG,
    ..XLM_ROBERTA_TABLE
};

pub(super) static XLM_ROBERTA: Architecture = XLM_ROBERTA_TABLE;

const XLM_ROBERTA_TABLE: Architecture = Architecture {
    model_type: "xlm-roberta",
    class: "XLMRoberta",
    rows: &[
        bert_body!("roberta."),
        ROBERTA_POOLER,
        ROBERTA_HEADS,
        SENTENCE,
    ],
    ops: &[ENCODER_OPS, TANH_POOLER, SENTENCE_OPS],
    config: ROBERTA_CONFIG,
    optional_prefix: "roberta.",
    renamed: ROBERTA_RENAMED,
    ignored: &["lm_head.decoder."],
};

pub(super) const BERT_NAMES: Names = Names {
    kv_heads: None,
    head_dim: None,
    epsilon: Some("layer_norm_eps"),
    ..NAMES
};

/// What follows the linear layer before the labels of a text is tanh in all of them.
pub(super) const CONFIG: ConfigTable = ConfigTable {
    names: BERT_NAMES,
    facts: &[
        (W::TOKEN_TYPES, Fact::Always),
        (W::POOLER, Fact::Tasks(POOLER_TASKS)),
        (W::FEATURES, Fact::Tasks(&[Task::Features])),
        (W::SEQUENCE_LABELS, Fact::Tasks(&[Task::SequenceLabels])),
        (W::TOKEN_LABELS, Fact::Tasks(&[Task::TokenLabels])),
        (W::MASKED_TOKEN, Fact::Tasks(&[Task::MaskedToken])),
    ],
    tied: true,
    epsilon: 1e-12,
    activation: Activation::Gelu,
    positions: Positions::Learned,
    expansion: Expansion::No("its norms stand behind the residual sums"),
    demands: &[("is_decoder", false), ("add_cross_attention", false)],
    encoder: Some(ENCODER_TABLE),
    keep: &["problem_type"],
    ..LLAMA_CONFIG
};

const ROBERTA_CONFIG: ConfigTable = ConfigTable {
    positions: Positions::LearnedAfterPad(Some("pad_token_id"), 1),
    encoder: Some(EncoderTable {
        token_head: HeadActivation::Is(Activation::Gelu),
        ..ENCODER_TABLE
    }),
    ..CONFIG
};

/// The names of TensorFlow's checkpoints, which many published files keep.
const BERT_RENAMED: &[(&str, &str)] = &[
    ("LayerNorm.weight", "LayerNorm.gamma"),
    ("LayerNorm.bias", "LayerNorm.beta"),
    ("cls.predictions.bias", "cls.predictions.decoder.bias"),
];

const ROBERTA_RENAMED: &[(&str, &str)] = &[("lm_head.bias", "lm_head.decoder.bias")];

const BERT_POOLER: &[Row] = &[
    Row::linear("bert.pooler.dense.weight", R::HeadDense, POOLED, HIDDEN)
        .only(W::POOLER)
        .or_absent(),
    Row::bias("bert.pooler.dense.bias", R::HeadDenseBias, POOLED)
        .only(W::POOLER)
        .or_absent(),
];

const BERT_HEADS: &[Row] = &[
    Row::linear("classifier.weight", R::Labels, LABELS, POOLED).only(W::SEQUENCE_LABELS),
    Row::bias("classifier.bias", R::LabelsBias, LABELS).only(W::SEQUENCE_LABELS),
    Row::linear("classifier.weight", R::Labels, LABELS, HIDDEN).only(W::TOKEN_LABELS),
    Row::bias("classifier.bias", R::LabelsBias, LABELS).only(W::TOKEN_LABELS),
    Row::linear(
        "cls.predictions.transform.dense.weight",
        R::HeadDense,
        HIDDEN,
        HIDDEN,
    )
    .only(W::MASKED_TOKEN),
    Row::bias(
        "cls.predictions.transform.dense.bias",
        R::HeadDenseBias,
        HIDDEN,
    )
    .only(W::MASKED_TOKEN),
    Row::gain(
        "cls.predictions.transform.LayerNorm.weight",
        R::HeadNorm,
        HIDDEN_GAIN,
        &[],
    )
    .only(W::MASKED_TOKEN),
    Row::norm_bias(
        "cls.predictions.transform.LayerNorm.bias",
        R::HeadNormBias,
        HIDDEN,
        R::HeadNorm,
    )
    .only(W::MASKED_TOKEN),
    Row::linear("cls.predictions.decoder.weight", R::Head, VOCAB, HIDDEN)
        .only(W::MASKED_TOKEN)
        .only(W::UNTIED),
    Row::bias("cls.predictions.bias", R::HeadBias, VOCAB).only(W::MASKED_TOKEN),
];

const ROBERTA_POOLER: &[Row] = &[
    Row::linear("roberta.pooler.dense.weight", R::HeadDense, POOLED, HIDDEN)
        .only(W::FEATURES)
        .or_absent(),
    Row::bias("roberta.pooler.dense.bias", R::HeadDenseBias, POOLED)
        .only(W::FEATURES)
        .or_absent(),
];

/// MPNet's too.
pub(super) const ROBERTA_HEADS: &[Row] = &[
    Row::linear("classifier.dense.weight", R::HeadDense, POOLED, HIDDEN).only(W::SEQUENCE_LABELS),
    Row::bias("classifier.dense.bias", R::HeadDenseBias, POOLED).only(W::SEQUENCE_LABELS),
    Row::linear("classifier.out_proj.weight", R::Labels, LABELS, POOLED).only(W::SEQUENCE_LABELS),
    Row::bias("classifier.out_proj.bias", R::LabelsBias, LABELS).only(W::SEQUENCE_LABELS),
    Row::linear("classifier.weight", R::Labels, LABELS, HIDDEN).only(W::TOKEN_LABELS),
    Row::bias("classifier.bias", R::LabelsBias, LABELS).only(W::TOKEN_LABELS),
    Row::linear("lm_head.dense.weight", R::HeadDense, HIDDEN, HIDDEN).only(W::MASKED_TOKEN),
    Row::bias("lm_head.dense.bias", R::HeadDenseBias, HIDDEN).only(W::MASKED_TOKEN),
    Row::gain("lm_head.layer_norm.weight", R::HeadNorm, HIDDEN_GAIN, &[]).only(W::MASKED_TOKEN),
    Row::norm_bias(
        "lm_head.layer_norm.bias",
        R::HeadNormBias,
        HIDDEN,
        R::HeadNorm,
    )
    .only(W::MASKED_TOKEN),
    Row::linear("lm_head.decoder.weight", R::Head, VOCAB, HIDDEN)
        .only(W::MASKED_TOKEN)
        .only(W::UNTIED),
    Row::bias("lm_head.bias", R::HeadBias, VOCAB).only(W::MASKED_TOKEN),
];
