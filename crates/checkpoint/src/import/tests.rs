use std::fs;
use std::path::PathBuf;

use serde_json::{Value, json};
use tempfile::TempDir;

use super::*;
use crate::gguf::GgmlType;
use crate::gguf::testing::GgufBuilder;
use crate::{Checkpoint, Dtype, read_json};

/// Sizes of a small llama.
#[derive(Clone, Copy)]
struct Sizes {
    vocab: usize,
    hidden: usize,
    ffn: usize,
    heads: usize,
    kv_heads: usize,
    head_dim: usize,
}

const TINY: Sizes = Sizes {
    vocab: 7,
    hidden: 4,
    ffn: 6,
    heads: 4,
    kv_heads: 2,
    head_dim: 6,
};
const TOKENS: [&str; 7] = ["<s>", "</s>", "<tool>", "a", "b", "ab", "Ġ"];
const KINDS: [i32; 7] = [3, 3, 4, 1, 1, 1, 1];

/// Values that bf16 holds exactly, different for every tensor and place.
fn values(name: &str, len: usize) -> Vec<f32> {
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
fn interleave(rows: &[f32], head_dim: usize, row_len: usize) -> Vec<f32> {
    let mut out = vec![0.0; rows.len()];
    for (from, row) in rows.chunks(row_len).enumerate() {
        let (head, within) = (from / head_dim, from % head_dim);
        let (half, i) = (within / (head_dim / 2), within % (head_dim / 2));
        let to = head * head_dim + 2 * i + half;
        out[to * row_len..(to + 1) * row_len].copy_from_slice(row);
    }
    out
}

fn f32_bytes(values: &[f32]) -> Vec<u8> {
    values
        .iter()
        .flat_map(|value| value.to_le_bytes())
        .collect()
}

/// The Hugging Face tensors of a one-layer model: GGUF name, own name, shape.
fn tensors(s: Sizes, tied: bool, biases: bool) -> Vec<(String, String, Vec<usize>)> {
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

fn turned(name: &str) -> bool {
    name.contains("attn_q") || name.contains("attn_k")
}

fn shape_metadata(s: Sizes) -> GgufBuilder {
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

fn token_metadata(builder: GgufBuilder) -> GgufBuilder {
    builder
        .string("tokenizer.ggml.model", "gpt2")
        .strings("tokenizer.ggml.tokens", &TOKENS)
        .i32s("tokenizer.ggml.token_type", &KINDS)
        .strings("tokenizer.ggml.merges", &["a b"])
}

fn with_tensors(mut builder: GgufBuilder, s: Sizes, tied: bool, biases: bool) -> GgufBuilder {
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
fn tiny() -> GgufBuilder {
    with_tensors(token_metadata(shape_metadata(TINY)), TINY, true, false)
}

struct Import {
    parent: TempDir,
    out: PathBuf,
    outcome: Result<(), Error>,
    reports: Vec<(u64, u64)>,
}

fn import_bytes(bytes: &[u8]) -> Import {
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
fn imported(builder: &GgufBuilder) -> (Import, Checkpoint) {
    let import = import_bytes(&builder.bytes());
    import.outcome.as_ref().unwrap();
    let checkpoint = Checkpoint::open(&import.out).unwrap();
    (import, checkpoint)
}

/// The message of a refusal that has left nothing behind.
fn refusal(bytes: &[u8]) -> String {
    let import = import_bytes(bytes);
    let message = import.outcome.unwrap_err().to_string();
    assert!(message.contains("m.gguf"), "{message}");
    let left = fs::read_dir(import.parent.path()).unwrap().count();
    assert_eq!(left, 1, "only m.gguf itself is there: {message}");
    message
}

fn assert_refused(builder: &GgufBuilder, expected: &str) {
    let message = refusal(&builder.bytes());
    assert!(
        message.contains(expected),
        "{message:?} should say {expected:?}"
    );
}

#[test]
fn weights_come_out_as_they_were_before_the_conversion() {
    for (tied, biases) in [(true, false), (false, false), (true, true)] {
        let builder = with_tensors(token_metadata(shape_metadata(TINY)), TINY, tied, biases);
        let (import, checkpoint) = imported(&builder);
        let expected = tensors(TINY, tied, biases);
        assert_eq!(checkpoint.tensors().len(), expected.len());
        for (_, name, shape) in expected {
            let info = checkpoint.tensor(&name).unwrap();
            assert_eq!((info.dtype, &info.shape), (Dtype::Bf16, &shape));
            let got = checkpoint.read_f32(&name).unwrap();
            assert_eq!(got, values(&name, shape.iter().product()), "{name}");
        }
        assert_eq!(checkpoint.config()["tie_word_embeddings"], tied);
        assert_eq!(checkpoint.config()["attention_bias"], biases);
        assert_eq!(checkpoint.config()["mlp_bias"], biases);
        let total: u64 = checkpoint.tensors().map(|t| t.byte_len).sum();
        assert_eq!(import.reports.first(), Some(&(0, total)));
        assert_eq!(import.reports.last(), Some(&(total, total)));
        assert!(import.reports.is_sorted());
    }
}

#[test]
fn large_and_quantised_tensors_are_converted_in_pieces() {
    let s = Sizes {
        vocab: 7,
        hidden: 512,
        ffn: 2112,
        heads: 36,
        kv_heads: 36,
        head_dim: 64,
    };
    let mut builder = token_metadata(shape_metadata(s));
    let mut expected = Vec::new();
    for (from, to, shape) in tensors(s, true, false) {
        let len: usize = shape.iter().product();
        if shape.len() == 1 {
            let data = values(&to, len);
            builder = builder.tensor(&from, GgmlType::F32, &shape, &f32_bytes(&data));
            continue;
        }
        // Scale 1 and random bytes: every value is a small integer, exact in bf16.
        let mut blocks = Vec::new();
        for chunk in values(&to, len).chunks(32) {
            blocks.extend_from_slice(&[0x00, 0x3c]);
            blocks.extend(chunk.iter().map(|value| (value * 16.0) as i8 as u8));
        }
        let mut plain = vec![0.0; len];
        GgmlType::Q8_0.dequantize(&blocks, &mut plain);
        if turned(&from) {
            let row_bytes = shape[1] / 32 * 34;
            let order: Vec<f32> = (0..shape[0]).map(|row| row as f32).collect();
            let order = interleave(&order, s.head_dim, 1);
            blocks = order
                .iter()
                .flat_map(|row| {
                    blocks
                        .chunks(row_bytes)
                        .nth(*row as usize)
                        .unwrap()
                        .to_vec()
                })
                .collect();
        }
        builder = builder.tensor(&from, GgmlType::Q8_0, &shape, &blocks);
        expected.push((to, plain));
    }
    let (_import, checkpoint) = imported(&builder);
    assert!(
        expected
            .iter()
            .filter(|(_, plain)| plain.len() > 1 << 20)
            .count()
            >= 4
    );
    for (name, plain) in expected {
        assert_eq!(checkpoint.read_f32(&name).unwrap(), plain, "{name}");
    }
}

#[test]
fn the_config_states_what_the_metadata_says() {
    let builder = tiny()
        .f32("llama.rope.freq_base", 100_000.0)
        .u32("llama.rope.dimension_count", 6)
        .u32("tokenizer.ggml.bos_token_id", 0)
        .u32("tokenizer.ggml.eos_token_id", 1)
        .u32("tokenizer.ggml.eot_token_id", 2)
        .string("llama.rope.scaling.type", "linear")
        .f32("llama.rope.scaling.factor", 2.5);
    let (import, checkpoint) = imported(&builder);
    let config = checkpoint.config();
    for (field, expected) in [
        ("architectures", json!(["LlamaForCausalLM"])),
        ("model_type", json!("llama")),
        ("vocab_size", json!(7)),
        ("hidden_size", json!(4)),
        ("intermediate_size", json!(6)),
        ("num_hidden_layers", json!(1)),
        ("num_attention_heads", json!(4)),
        ("num_key_value_heads", json!(2)),
        ("head_dim", json!(6)),
        ("hidden_act", json!("silu")),
        ("max_position_embeddings", json!(64)),
        ("rms_norm_eps", json!(1e-5)),
        ("rope_theta", json!(1e5)),
        (
            "rope_scaling",
            json!({"rope_type": "linear", "type": "linear", "factor": 2.5}),
        ),
        ("bos_token_id", json!(0)),
        ("eos_token_id", json!(1)),
        ("pad_token_id", Value::Null),
        ("torch_dtype", json!("bfloat16")),
    ] {
        assert_eq!(config[field], expected, "{field}");
    }
    let generation = read_json(&import.out.join("generation_config.json")).unwrap();
    assert_eq!(generation["eos_token_id"], json!([1, 2]));

    let (_import, checkpoint) = imported(&tiny().string("llama.rope.scaling.type", "none"));
    assert_eq!(checkpoint.config()["rope_scaling"], Value::Null);
    assert_eq!(checkpoint.config()["rope_theta"], json!(1e4));
}

#[test]
fn the_tokenizer_states_what_the_metadata_says() {
    let builder = tiny()
        .string("tokenizer.ggml.pre", "smollm")
        .u32("tokenizer.ggml.bos_token_id", 0)
        .u32("tokenizer.ggml.eos_token_id", 1)
        .u32("tokenizer.ggml.padding_token_id", 1)
        .string("tokenizer.chat_template", "{{ x }}");
    let (import, _checkpoint) = imported(&builder);
    let tokenizer = read_json(&import.out.join("tokenizer.json")).unwrap();
    let added = |id: usize, content: &str, special: bool| {
        json!({
            "id": id, "content": content, "special": special, "single_word": false,
            "lstrip": false, "rstrip": false, "normalized": false,
        })
    };
    let expected = [
        added(0, "<s>", true),
        added(1, "</s>", true),
        added(2, "<tool>", false),
    ];
    assert_eq!(tokenizer["added_tokens"], json!(expected));
    for (id, token) in TOKENS.iter().enumerate() {
        assert_eq!(tokenizer["model"]["vocab"][token], id);
    }
    assert_eq!(tokenizer["model"]["merges"], json!(["a b"]));
    assert_eq!(tokenizer["model"]["ignore_merges"], false);
    assert_eq!(
        tokenizer["pre_tokenizer"]["pretokenizers"][0]["type"],
        "Digits"
    );
    assert_eq!(
        tokenizer["pre_tokenizer"]["pretokenizers"][1]["use_regex"],
        true
    );
    assert_eq!(tokenizer["post_processor"], Value::Null);
    assert_eq!(tokenizer["normalizer"], Value::Null);

    let config = read_json(&import.out.join("tokenizer_config.json")).unwrap();
    assert_eq!(config["bos_token"], "<s>");
    assert_eq!(config["pad_token"], "</s>");
    assert_eq!(config["unk_token"], Value::Null);
    assert_eq!(config["chat_template"], "{{ x }}");
    assert_eq!(config["model_max_length"], 64);
    assert_eq!(config["added_tokens_decoder"]["2"]["content"], "<tool>");
    let special = read_json(&import.out.join("special_tokens_map.json")).unwrap();
    assert_eq!(
        special,
        json!({"bos_token": "<s>", "eos_token": "</s>", "pad_token": "</s>"})
    );
}

#[test]
fn each_splitting_rule_is_stated_as_its_models_state_it() {
    let tokenizer = |pre: Option<&str>| {
        let mut builder = tiny().u32("tokenizer.ggml.bos_token_id", 0);
        if let Some(pre) = pre {
            builder = builder.string("tokenizer.ggml.pre", pre);
        }
        let (import, _checkpoint) = imported(&builder);
        read_json(&import.out.join("tokenizer.json")).unwrap()
    };
    for pre in [None, Some("default"), Some("gpt-2")] {
        let pre = &tokenizer(pre)["pre_tokenizer"];
        assert_eq!(
            (&pre["type"], &pre["use_regex"]),
            (&json!("ByteLevel"), &json!(true))
        );
    }
    let llama3 = tokenizer(Some("llama-bpe"));
    let rules = &llama3["pre_tokenizer"]["pretokenizers"];
    assert!(
        rules[0]["pattern"]["Regex"]
            .as_str()
            .unwrap()
            .contains(r"\p{N}{1,3}")
    );
    assert_eq!(rules[1]["use_regex"], false);
    assert_eq!(llama3["model"]["ignore_merges"], true);
    assert_eq!(
        llama3["post_processor"]["single"][0]["SpecialToken"]["id"],
        "<s>"
    );
    assert_eq!(
        llama3["post_processor"]["pair"].as_array().unwrap().len(),
        4
    );
    assert_eq!(
        llama3["post_processor"]["special_tokens"]["<s>"]["ids"],
        json!([0])
    );
    let qwen2 = tokenizer(Some("qwen2"));
    assert_eq!(qwen2["normalizer"]["type"], "NFC");
    assert_eq!(qwen2["post_processor"], Value::Null);
}

#[test]
fn what_cannot_be_carried_over_is_refused() {
    let architecture = GgufBuilder::new().string("general.architecture", "qwen2");
    assert_refused(
        &architecture,
        "\"qwen2\", and only \"llama\" is imported; use the model's",
    );
    assert_refused(&GgufBuilder::new(), "\"general.architecture\" is missing");
    assert_refused(
        &tiny().f32("llama.attention.scale", 0.5),
        "\"llama.attention.scale\"",
    );
    assert_refused(&tiny().u32("llama.expert_count", 8), "mixture of experts");
    assert_refused(
        &tiny().string("llama.rope.scaling.type", "yarn"),
        "\"yarn\"",
    );
    assert_refused(
        &tiny().f32("llama.rope.scaling.factor", 2.0),
        "but not its type",
    );
    assert_refused(
        &tiny().u32("llama.rope.dimension_count", 4),
        "dimension_count is 4",
    );
    let freqs = tiny().tensor("rope_freqs.weight", GgmlType::F32, &[3], &[0; 12]);
    assert_refused(&freqs, "rope_freqs.weight");
    let extra = tiny().tensor("blk.0.attn_q_norm.weight", GgmlType::F32, &[4], &[0; 16]);
    assert_refused(
        &extra,
        "\"blk.0.attn_q_norm.weight\" is not part of a llama",
    );
    let second = tiny().tensor("blk.0.attn_q.bias", GgmlType::F32, &[24], &[0; 96]);
    assert_refused(&second, "\"blk.0.attn_k.bias\" is missing");
    assert_refused(&tiny().string("tokenizer.ggml.pre", "tekken"), "\"tekken\"");
}

#[test]
fn contradictions_in_the_shape_are_refused() {
    let tokens = token_metadata(shape_metadata(TINY));
    let renamed = with_tensors(tokens.clone(), Sizes { ffn: 8, ..TINY }, true, false);
    assert_refused(&renamed, "but the metadata makes it [6, 4]");
    assert_refused(&tokens, "\"token_embd.weight\" is missing");
    let vocab = with_tensors(tokens, Sizes { vocab: 8, ..TINY }, true, false);
    assert_refused(&vocab, "7 tokens, but the embedding has 8 rows");
    for (sizes, expected) in [
        (Sizes { heads: 0, ..TINY }, "0 query heads"),
        (
            Sizes {
                kv_heads: 0,
                ..TINY
            },
            "0 key-value heads",
        ),
        (
            Sizes {
                kv_heads: 3,
                ..TINY
            },
            "cannot share 3",
        ),
        (
            Sizes {
                head_dim: 5,
                ..TINY
            },
            "rotary pairs",
        ),
        (
            Sizes {
                head_dim: 0,
                ..TINY
            },
            "rotary pairs",
        ),
        (
            Sizes {
                head_dim: 8,
                ..TINY
            },
            "has shape [24, 4]",
        ),
    ] {
        let builder = with_tensors(token_metadata(shape_metadata(sizes)), TINY, true, false);
        assert_refused(&builder, expected);
    }
    let deep = GgufBuilder::new()
        .string("general.architecture", "llama")
        .tensor("token_embd.weight", GgmlType::F32, &[1], &[0; 4])
        .u32("llama.block_count", u32::MAX);
    assert_refused(&deep, "block_count is 4294967295");
    let negative = GgufBuilder::new()
        .string("general.architecture", "llama")
        .tensor("token_embd.weight", GgmlType::F32, &[1], &[0; 4])
        .f32("llama.block_count", 1.0);
    assert_refused(&negative, "should be an unsigned integer");
}

#[test]
fn unsound_vocabularies_are_refused() {
    let with = |model: &str, tokens: &[&str], kinds: &[i32], merges: &[&str]| {
        let builder = shape_metadata(TINY)
            .string("tokenizer.ggml.model", model)
            .strings("tokenizer.ggml.tokens", tokens)
            .i32s("tokenizer.ggml.token_type", kinds)
            .strings("tokenizer.ggml.merges", merges);
        with_tensors(builder, TINY, true, false)
    };
    assert_refused(&with("llama", &TOKENS, &KINDS, &[]), "SentencePiece");
    assert_refused(&with("bert", &TOKENS, &KINDS, &[]), "\"bert\"");
    assert_refused(
        &with("gpt2", &TOKENS, &KINDS[1..], &[]),
        "6 entries for 7 tokens",
    );
    assert_refused(&with("gpt2", &TOKENS, &[9; 7], &[]), "unknown value 9");
    let mut twice = TOKENS;
    twice[4] = "a";
    assert_refused(
        &with("gpt2", &twice, &KINDS, &[]),
        "tokens 3 and 4 are both \"a\"",
    );
    for merge in ["a", "a Ġ", "", "a b b", " ab"] {
        assert_refused(&with("gpt2", &TOKENS, &KINDS, &["a b", merge]), "entry 1");
    }
    assert_refused(
        &tiny().u32("tokenizer.ggml.bos_token_id", 7),
        "bos_token_id is 7",
    );
    assert_refused(
        &tiny().bool("tokenizer.ggml.add_eos_token", true),
        "eos tokens are to be",
    );
}

#[test]
fn truncated_files_leave_nothing() {
    let bytes = tiny().bytes();
    for cut in [0, 3, 100, bytes.len() / 2, bytes.len() - 40] {
        refusal(&bytes[..cut]);
    }
}

#[test]
fn an_existing_output_is_not_touched() {
    let import = import_bytes(&tiny().bytes());
    import.outcome.unwrap();
    let before = fs::read(import.out.join("model.safetensors")).unwrap();
    let gguf = import.parent.path().join("m.gguf");
    let again = import_gguf(&gguf, &import.out, &mut |_, _| {}).unwrap_err();
    assert!(matches!(again, Error::OutputExists { .. }), "{again}");
    assert_eq!(
        fs::read(import.out.join("model.safetensors")).unwrap(),
        before
    );
}
