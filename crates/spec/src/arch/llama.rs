//! Llama 1, 2 and 3, SmolLM2, and everything else that is stored as `LlamaForCausalLM`.

use super::Architecture;
use crate::{Activation, Axis, NormPlace, Op, Role as R, RopeLayout, Row, Side, When as W};

const VOCAB: Side = Side(&[Axis::Vocab.direct()]);
const HIDDEN: Side = Side(&[Axis::Hidden.direct()]);
const GAIN: Side = Side(&[Axis::Hidden.permutation_only()]);
const QUERY: Side = Side(&[
    Axis::KvHeads.direct(),
    Axis::Group.direct(),
    Axis::QkDim.direct(),
]);
const KEY: Side = Side(&[Axis::KvHeads.direct(), Axis::QkDim.dual()]);
const VALUE: Side = Side(&[Axis::KvHeads.direct(), Axis::VDim.direct()]);
const CONTEXT: Side = Side(&[
    Axis::KvHeads.direct(),
    Axis::Group.direct(),
    Axis::VDim.direct(),
]);
const GATE: Side = Side(&[Axis::Ffn.permutation_only()]);
const FFN: Side = Side(&[Axis::Ffn.direct()]);

pub(super) static LLAMA: Architecture = Architecture {
    model_type: "llama",
    class: "LlamaForCausalLM",
    rows: &[
        Row::embed("model.embed_tokens.weight", R::Embed, VOCAB, HIDDEN),
        Row::gain(
            "model.layers.{}.input_layernorm.weight",
            R::AttentionNorm,
            GAIN,
            &[R::Query, R::Key, R::Value],
        ),
        Row::linear(
            "model.layers.{}.self_attn.q_proj.weight",
            R::Query,
            QUERY,
            HIDDEN,
        ),
        Row::bias("model.layers.{}.self_attn.q_proj.bias", R::QueryBias, QUERY)
            .only(W::AttentionBias),
        Row::linear(
            "model.layers.{}.self_attn.k_proj.weight",
            R::Key,
            KEY,
            HIDDEN,
        ),
        Row::bias("model.layers.{}.self_attn.k_proj.bias", R::KeyBias, KEY).only(W::AttentionBias),
        Row::linear(
            "model.layers.{}.self_attn.v_proj.weight",
            R::Value,
            VALUE,
            HIDDEN,
        ),
        Row::bias("model.layers.{}.self_attn.v_proj.bias", R::ValueBias, VALUE)
            .only(W::AttentionBias),
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
        .only(W::AttentionBias),
        Row::gain(
            "model.layers.{}.post_attention_layernorm.weight",
            R::MlpNorm,
            GAIN,
            &[R::Gate, R::Up],
        ),
        Row::linear(
            "model.layers.{}.mlp.gate_proj.weight",
            R::Gate,
            GATE,
            HIDDEN,
        ),
        Row::bias("model.layers.{}.mlp.gate_proj.bias", R::GateBias, GATE).only(W::MlpBias),
        Row::linear("model.layers.{}.mlp.up_proj.weight", R::Up, FFN, HIDDEN),
        Row::bias("model.layers.{}.mlp.up_proj.bias", R::UpBias, FFN).only(W::MlpBias),
        Row::linear("model.layers.{}.mlp.down_proj.weight", R::Down, HIDDEN, FFN),
        Row::bias("model.layers.{}.mlp.down_proj.bias", R::DownBias, HIDDEN).only(W::MlpBias),
        Row::gain("model.norm.weight", R::FinalNorm, GAIN, &[R::Head]),
        Row::linear("lm_head.weight", R::Head, VOCAB, HIDDEN).only(W::Untied),
    ],
    ops: &[
        Op::RmsNorm {
            axis: Axis::Hidden,
            place: NormPlace::BeforeBlock,
        },
        Op::Parallel(Axis::KvHeads),
        Op::Parallel(Axis::Group),
        Op::Rope {
            axis: Axis::QkDim,
            layout: RopeLayout::Halves,
        },
        Op::DotProduct(Axis::QkDim),
        Op::Average(Axis::VDim),
        Op::Gate {
            axis: Axis::Ffn,
            activation: Activation::Silu,
        },
        Op::Softmax(Axis::Vocab),
    ],
};
