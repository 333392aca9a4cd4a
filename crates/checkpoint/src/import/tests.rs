use std::fs;

use serde_json::{Value, json};

use super::import_gguf;
use super::testing::*;
use crate::gguf::GgmlType;
use crate::gguf::testing::GgufBuilder;
use crate::{Dtype, Error, read_json};

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
fn what_cannot_be_carried_over_is_refused() {
    let architecture = GgufBuilder::new().string("general.architecture", "mamba");
    assert_refused(
        &architecture,
        "\"mamba\", and what is imported is llama, smollm3, qwen2, ",
    );
    assert_refused(&architecture, "; use the model's Hugging Face folder");
    let experts = GgufBuilder::new()
        .string("general.architecture", "qwen2")
        .u32("qwen2.expert_count", 8);
    assert_refused(&experts, "it is a \"qwen2\" model with 8 experts");
    assert_refused(&GgufBuilder::new(), "\"general.architecture\" is missing");
    assert_refused(
        &tiny().f32("llama.attention.scale", 0.5),
        "\"llama.attention.scale\"",
    );
    assert_refused(
        &tiny().u32("llama.attention.sliding_window", 8),
        "\"llama.attention.sliding_window\"",
    );
    assert_refused(
        &tiny().string("llama.rope.scaling.type", "longrope"),
        "\"longrope\"",
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
        .u32("llama.embedding_length", 4)
        .u32("llama.feed_forward_length", 6);
    let many = deep.clone().u32("llama.block_count", u32::MAX);
    assert_refused(&many, "block_count is 4294967295");
    assert_refused(
        &deep.clone().u32("llama.block_count", 0),
        "block_count is 0",
    );
    let few = deep.clone().u32("llama.block_count", 9);
    assert_refused(&few, "block_count is 9, but there are 1 tensors");
    let negative = deep.f32("llama.block_count", 1.0);
    assert_refused(&negative, "should be an unsigned integer");
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
