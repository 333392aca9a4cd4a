//! What the tables of encoders have in common.

use crate::config::{EncoderTable, HeadActivation};
use crate::{Activation, Axis, NormPlace, Op, Role as R, Row, Side, Task, When as W};

pub(super) const QUERY: Side = Side::Product(&[Axis::KvHeads.direct(), Axis::QkPlain.direct()]);
pub(super) const KEY: Side = Side::Product(&[Axis::KvHeads.direct(), Axis::QkPlain.dual()]);
pub(super) const VALUE: Side = Side::Product(&[Axis::KvHeads.direct(), Axis::VDim.direct()]);
pub(super) const CONTEXT: Side = VALUE;
pub(super) const POOLED: Side = Axis::Pooled.direct();
pub(super) const LABELS: Side = Axis::Labels.direct();

/// Tasks whose answer may come out of a pooler.
pub(super) const POOLER_TASKS: &[Task] = &[Task::Features, Task::SequenceLabels];

pub(super) const ENCODER_TABLE: EncoderTable = EncoderTable {
    token_types: Some("type_vocab_size"),
    distance_classes: None,
    pooler: HeadActivation::Is(Activation::Tanh),
    token_head: HeadActivation::Model,
    pooling: None,
};

/// BERT's operations: norms behind the residual sums, no RoPE, no gate.
pub(super) const ENCODER_OPS: &[(W, Op)] = &[
    (
        W::ALWAYS,
        Op::LayerNorm {
            axis: Axis::Hidden,
            place: NormPlace::AfterBlock,
        },
    ),
    (W::ALWAYS, Op::Fixed(Axis::Positions)),
    (W::ALWAYS, Op::Fixed(Axis::TokenTypes)),
    (W::ALWAYS, Op::Parallel(Axis::KvHeads)),
    (W::ALWAYS, Op::DotProduct(Axis::QkPlain)),
    (W::ALWAYS, Op::Average(Axis::VDim)),
    (W::ALWAYS, Op::Pointwise(Axis::Ffn)),
    (W::ALWAYS, Op::Softmax(Axis::Labels)),
    (W::ALWAYS, Op::Softmax(Axis::Vocab)),
];

pub(super) const TANH_POOLER: &[(W, Op)] = &[(W::ALWAYS, Op::Odd(Axis::Pooled))];

/// What a sentence-transformers folder adds: a linear layer behind the pooling, and vectors that are compared by their
/// angles.
pub(super) const SENTENCE: &[Row] = &[
    Row::linear(
        "dense/linear.weight",
        R::SentenceDense,
        Axis::Sentence.direct(),
        Axis::Hidden.direct(),
    )
    .only(W::SENTENCE_DENSE),
    Row::bias(
        "dense/linear.bias",
        R::SentenceDenseBias,
        Axis::Sentence.direct(),
    )
    .only(W::SENTENCE_BIAS),
];

pub(super) const SENTENCE_OPS: &[(W, Op)] = &[
    (W::ALWAYS, Op::Average(Axis::Sentence)),
    (W::SENTENCE_TANH, Op::Odd(Axis::Sentence)),
];
