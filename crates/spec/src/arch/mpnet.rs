//! MPNet: BERT with a bias for each head and class of distances, the same in all layers.

use super::Architecture;
use super::bert::{CONFIG, ROBERTA_HEADS};
use super::encoder_parts::{
    CONTEXT, ENCODER_OPS, ENCODER_TABLE, KEY, POOLED, QUERY, SENTENCE, SENTENCE_OPS, TANH_POOLER,
    VALUE,
};
use super::parts::{FFN, HIDDEN, HIDDEN_GAIN, VOCAB};
use crate::config::{ConfigTable, EncoderTable, Fact, HeadActivation, Positions};
use crate::{Activation, Axis, Op, Role as R, Row, Task, When as W};

pub(super) static MPNET: Architecture = Architecture {
    model_type: "mpnet",
    class: "MPNet",
    rows: &[BODY, POOLER, ROBERTA_HEADS, SENTENCE],
    ops: &[
        ENCODER_OPS,
        TANH_POOLER,
        &[(W::ALWAYS, Op::Fixed(Axis::Distances))],
        SENTENCE_OPS,
    ],
    config: ConfigTable {
        facts: &[
            (W::FEATURES, Fact::Tasks(&[Task::Features])),
            (W::SEQUENCE_LABELS, Fact::Tasks(&[Task::SequenceLabels])),
            (W::TOKEN_LABELS, Fact::Tasks(&[Task::TokenLabels])),
            (W::MASKED_TOKEN, Fact::Tasks(&[Task::MaskedToken])),
        ],
        // transformers counts positions from 2 whatever the file says.
        positions: Positions::LearnedAfterPad(None, 1),
        encoder: Some(EncoderTable {
            token_types: None,
            distance_classes: Some(("relative_attention_num_buckets", 32)),
            token_head: HeadActivation::Is(Activation::Gelu),
            ..ENCODER_TABLE
        }),
        ..CONFIG
    },
    optional_prefix: "mpnet.",
    renamed: &[("lm_head.bias", "lm_head.decoder.bias")],
    ignored: &["lm_head.decoder."],
};

const BODY: &[Row] = &[
    Row::embed(
        "mpnet.embeddings.word_embeddings.weight",
        R::Embed,
        VOCAB,
        HIDDEN,
    ),
    Row::embed(
        "mpnet.embeddings.position_embeddings.weight",
        R::PositionEmbed,
        Axis::Positions.direct(),
        HIDDEN,
    ),
    Row::gain(
        "mpnet.embeddings.LayerNorm.weight",
        R::EmbedNorm,
        HIDDEN_GAIN,
        &[],
    ),
    Row::norm_bias(
        "mpnet.embeddings.LayerNorm.bias",
        R::EmbedNormBias,
        HIDDEN,
        R::EmbedNorm,
    ),
    Row::linear(
        "mpnet.encoder.layer.{}.attention.attn.q.weight",
        R::Query,
        QUERY,
        HIDDEN,
    ),
    Row::bias(
        "mpnet.encoder.layer.{}.attention.attn.q.bias",
        R::QueryBias,
        QUERY,
    ),
    Row::linear(
        "mpnet.encoder.layer.{}.attention.attn.k.weight",
        R::Key,
        KEY,
        HIDDEN,
    ),
    Row::bias(
        "mpnet.encoder.layer.{}.attention.attn.k.bias",
        R::KeyBias,
        KEY,
    ),
    Row::linear(
        "mpnet.encoder.layer.{}.attention.attn.v.weight",
        R::Value,
        VALUE,
        HIDDEN,
    ),
    Row::bias(
        "mpnet.encoder.layer.{}.attention.attn.v.bias",
        R::ValueBias,
        VALUE,
    ),
    Row::linear(
        "mpnet.encoder.layer.{}.attention.attn.o.weight",
        R::Output,
        HIDDEN,
        CONTEXT,
    ),
    Row::bias(
        "mpnet.encoder.layer.{}.attention.attn.o.bias",
        R::OutputBias,
        HIDDEN,
    ),
    Row::gain(
        "mpnet.encoder.layer.{}.attention.LayerNorm.weight",
        R::AttentionSumNorm,
        HIDDEN_GAIN,
        &[],
    ),
    Row::norm_bias(
        "mpnet.encoder.layer.{}.attention.LayerNorm.bias",
        R::AttentionSumNormBias,
        HIDDEN,
        R::AttentionSumNorm,
    ),
    Row::linear(
        "mpnet.encoder.layer.{}.intermediate.dense.weight",
        R::Up,
        FFN,
        HIDDEN,
    ),
    Row::bias(
        "mpnet.encoder.layer.{}.intermediate.dense.bias",
        R::UpBias,
        FFN,
    ),
    Row::linear(
        "mpnet.encoder.layer.{}.output.dense.weight",
        R::Down,
        HIDDEN,
        FFN,
    ),
    Row::bias(
        "mpnet.encoder.layer.{}.output.dense.bias",
        R::DownBias,
        HIDDEN,
    ),
    Row::gain(
        "mpnet.encoder.layer.{}.output.LayerNorm.weight",
        R::MlpSumNorm,
        HIDDEN_GAIN,
        &[],
    ),
    Row::norm_bias(
        "mpnet.encoder.layer.{}.output.LayerNorm.bias",
        R::MlpSumNormBias,
        HIDDEN,
        R::MlpSumNorm,
    ),
    Row::embed(
        "mpnet.encoder.relative_attention_bias.weight",
        R::DistanceBias,
        Axis::Distances.direct(),
        Axis::KvHeads.direct(),
    ),
];

const POOLER: &[Row] = &[
    Row::linear("mpnet.pooler.dense.weight", R::HeadDense, POOLED, HIDDEN)
        .only(W::FEATURES)
        .or_absent(),
    Row::bias("mpnet.pooler.dense.bias", R::HeadDenseBias, POOLED)
        .only(W::FEATURES)
        .or_absent(),
];
