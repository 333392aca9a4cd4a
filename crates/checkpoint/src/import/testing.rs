//! Small llama GGUF files with known contents, and what importing them gives.

use std::fs;
use std::path::PathBuf;

use tempfile::TempDir;

use super::import_gguf;
use crate::gguf::GgmlType;
use crate::gguf::testing::GgufBuilder;
use crate::{Checkpoint, Error};

/// Sizes of a small llama.
#[derive(Clone, Copy)]
pub(super) struct Sizes {
    pub(super) vocab: usize,
    pub(super) hidden: usize,
    pub(super) ffn: usize,
    pub(super) heads: usize,
    pub(super) kv_heads: usize,
    pub(super) head_dim: usize,
}

pub(super) const TINY: Sizes = Sizes {
    vocab: 7,
    hidden: 4,
    ffn: 6,
    heads: 4,
    kv_heads: 2,
    head_dim: 6,
};
pub(super) const TOKENS: [&str; 7] = ["<s>", "</s>", "<tool>", "a", "b", "ab", "Ġ"];
pub(super) const KINDS: [i32; 7] = [3, 3, 4, 1, 1, 1, 1];

/// Values that bf16 holds exactly, different for every tensor and place.
pub(crate) fn values(name: &str, len: usize) -> Vec<f32> {
    let mut state = name
        .bytes()
        .fold(17u32, |s, b| s.wrapping_mul(31).wrapping_add(b.into()));
    let next = |_| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        ((state >> 24) as f32 - 128.0) / 16.0
    };
    (0..len).map(next).collect()
}

/// What the converter of llama.cpp does to a query or key projection: row `(head, half, i)`
/// becomes row `(head, i, half)`.
pub(super) fn interleave(rows: &[f32], head_dim: usize, row_len: usize) -> Vec<f32> {
    let mut out = vec![0.0; rows.len()];
    for (from, row) in rows.chunks(row_len).enumerate() {
        let (head, within) = (from / head_dim, from % head_dim);
        let (half, i) = (within / (head_dim / 2), within % (head_dim / 2));
        let to = head * head_dim + 2 * i + half;
        out[to * row_len..(to + 1) * row_len].copy_from_slice(row);
    }
    out
}

pub(super) fn f32_bytes(values: &[f32]) -> Vec<u8> {
    values
        .iter()
        .flat_map(|value| value.to_le_bytes())
        .collect()
}

/// The Hugging Face tensors of a one-layer model: GGUF name, own name, shape.
pub(super) fn tensors(s: Sizes, tied: bool, biases: bool) -> Vec<(String, String, Vec<usize>)> {
    let (q, kv) = (s.heads * s.head_dim, s.kv_heads * s.head_dim);
    let mut list = vec![
        (
            "token_embd.weight",
            "model.embed_tokens.weight",
            vec![s.vocab, s.hidden],
        ),
        ("output_norm.weight", "model.norm.weight", vec![s.hidden]),
    ];
    if !tied {
        list.push(("output.weight", "lm_head.weight", vec![s.vocab, s.hidden]));
    }
    let mut list: Vec<_> = list
        .into_iter()
        .map(|(a, b, c)| (a.to_owned(), b.to_owned(), c))
        .collect();
    for (from, to, shape) in [
        ("attn_norm", "input_layernorm", vec![s.hidden]),
        ("ffn_norm", "post_attention_layernorm", vec![s.hidden]),
        ("attn_q", "self_attn.q_proj", vec![q, s.hidden]),
        ("attn_k", "self_attn.k_proj", vec![kv, s.hidden]),
        ("attn_v", "self_attn.v_proj", vec![kv, s.hidden]),
        ("attn_output", "self_attn.o_proj", vec![s.hidden, q]),
        ("ffn_gate", "mlp.gate_proj", vec![s.ffn, s.hidden]),
        ("ffn_up", "mlp.up_proj", vec![s.ffn, s.hidden]),
        ("ffn_down", "mlp.down_proj", vec![s.hidden, s.ffn]),
    ] {
        let name = |stem: &str, part: &str| format!("{stem}.{part}");
        let (from, to) = (format!("blk.0.{from}"), format!("model.layers.0.{to}"));
        if biases && shape.len() == 2 {
            list.push((name(&from, "bias"), name(&to, "bias"), vec![shape[0]]));
        }
        list.push((name(&from, "weight"), name(&to, "weight"), shape));
    }
    list
}

pub(super) fn turned(name: &str) -> bool {
    name.contains("attn_q") || name.contains("attn_k")
}

pub(super) fn shape_metadata(s: Sizes) -> GgufBuilder {
    GgufBuilder::new()
        .string("general.architecture", "llama")
        .u32("llama.block_count", 1)
        .u32("llama.context_length", 64)
        .u32("llama.embedding_length", s.hidden as u32)
        .u32("llama.feed_forward_length", s.ffn as u32)
        .u32("llama.attention.head_count", s.heads as u32)
        .u32("llama.attention.head_count_kv", s.kv_heads as u32)
        .u32("llama.attention.key_length", s.head_dim as u32)
        .f32("llama.attention.layer_norm_rms_epsilon", 1e-5)
}

pub(super) fn token_metadata(builder: GgufBuilder) -> GgufBuilder {
    builder
        .string("tokenizer.ggml.model", "gpt2")
        .strings("tokenizer.ggml.tokens", &TOKENS)
        .i32s("tokenizer.ggml.token_type", &KINDS)
        .strings("tokenizer.ggml.merges", &["a b"])
}

pub(super) fn with_tensors(
    mut builder: GgufBuilder,
    s: Sizes,
    tied: bool,
    biases: bool,
) -> GgufBuilder {
    for (from, to, shape) in tensors(s, tied, biases) {
        let mut data = values(&to, shape.iter().product());
        if turned(&from) {
            data = interleave(&data, s.head_dim, shape.get(1).copied().unwrap_or(1));
        }
        builder = builder.tensor(&from, GgmlType::F32, &shape, &f32_bytes(&data));
    }
    builder
}

/// A tiny tied llama without its rope base and text splitting rule.
pub(super) fn tiny() -> GgufBuilder {
    with_tensors(token_metadata(shape_metadata(TINY)), TINY, true, false)
}

pub(super) struct Import {
    pub(super) parent: TempDir,
    pub(super) out: PathBuf,
    pub(super) outcome: Result<(), Error>,
    pub(super) reports: Vec<(u64, u64)>,
}

pub(super) fn import_bytes(bytes: &[u8]) -> Import {
    let parent = tempfile::tempdir().unwrap();
    let gguf = parent.path().join("m.gguf");
    fs::write(&gguf, bytes).unwrap();
    let out = parent.path().join("model");
    let mut reports = Vec::new();
    let outcome = import_gguf(&gguf, &out, &mut |done, total| reports.push((done, total)));
    Import {
        parent,
        out,
        outcome,
        reports,
    }
}

/// Imports and opens what came of it.
pub(super) fn imported(builder: &GgufBuilder) -> (Import, Checkpoint) {
    let import = import_bytes(&builder.bytes());
    import.outcome.as_ref().unwrap();
    let checkpoint = Checkpoint::open(&import.out).unwrap();
    (import, checkpoint)
}

/// The message of a refusal that has left nothing behind.
pub(super) fn refusal(bytes: &[u8]) -> String {
    let import = import_bytes(bytes);
    let message = import.outcome.unwrap_err().to_string();
    assert!(message.contains("m.gguf"), "{message}");
    let left = fs::read_dir(import.parent.path()).unwrap().count();
    assert_eq!(left, 1, "only m.gguf itself is there: {message}");
    message
}

pub(super) fn assert_refused(builder: &GgufBuilder, expected: &str) {
    let message = refusal(&builder.bytes());
    assert!(
        message.contains(expected),
        "{message:?} should say {expected:?}"
    );
}
