//! What is not exported, what is said then, and that nothing is left of it.

use std::fs;

use serde_json::{Value, json};

use super::testing::*;
use super::*;
use crate::import::testing::values;
use crate::{CheckpointWriter, Dtype, TensorHeader, write_json};

/// What is said of a model that cannot be exported, and that nothing is left of it.
fn refusal(model: &Value, change: impl FnOnce(&mut Value, &mut Vec<TensorHeader>)) -> String {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    let (mut model, mut headers) = (model.clone(), headers(model));
    change(&mut model, &mut headers);
    write_model(&path("model"), &model, &headers);
    let refused = export(&path("model"), &path("m.gguf"), GgufWeights::Q8_0, Some(3));
    let message = refused.unwrap_err().to_string();
    assert!(message.contains("model"), "{message}");
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "{message}");
    message
}

#[test]
fn what_llama_cpp_would_compute_otherwise_is_refused() {
    let llama = config("llama", json!({}));
    let gemma2 = config(
        "gemma2",
        json!({
            "head_dim": 12, "sliding_window": 16, "query_pre_attn_scalar": 12,
            "attn_logit_softcapping": 50.0, "final_logit_softcapping": 30.0,
            "tie_word_embeddings": true,
        }),
    );
    let qwen3_moe = config(
        "qwen3_moe",
        json!({
            "num_experts": 3, "num_experts_per_tok": 2, "norm_topk_prob": true,
            "moe_intermediate_size": 24,
        }),
    );
    let smollm3 = config("smollm3", json!({}));
    let scaled = |kind: &str| json!({"rope_type": kind, "factor": 2.0});
    let yarn = json!({"rope_type": "yarn", "factor": 2.0, "mscale": 0.7});
    for (model, field, value, expected) in [
        (
            &llama,
            "model_type",
            json!("mamba"),
            "\"mamba\", and what is exported is llama, mistral",
        ),
        (
            &llama,
            "hidden_act",
            json!("gelu"),
            "hidden_act is \"gelu\", and llama.cpp computes",
        ),
        (
            &llama,
            "rope_scaling",
            scaled("dynamic"),
            "no rotary embedding of type \"dynamic\"",
        ),
        (
            &llama,
            "rope_scaling",
            yarn,
            "rope_scaling.mscale of a rotary embedding of type",
        ),
        (
            &llama,
            "quantization_config",
            json!({}),
            "quantised already",
        ),
        (
            &llama,
            "layer_types",
            json!(["full_attention", "sliding_attention"]),
            "sliding window",
        ),
        (
            &smollm3,
            "rope_scaling",
            scaled("llama3"),
            "no rotary embedding of type \"llama3\"",
        ),
        (
            &smollm3,
            "no_rope_layers",
            json!([1, 0]),
            "no_rope_layers says otherwise",
        ),
        (
            &smollm3,
            "use_sliding_window",
            json!(true),
            "use_sliding_window is true",
        ),
        (
            &gemma2,
            "query_pre_attn_scalar",
            json!(8),
            "llama.cpp computes 12",
        ),
        (
            &gemma2,
            "tie_word_embeddings",
            json!(false),
            "its head is not its embedding",
        ),
        (
            &gemma2,
            "layer_types",
            json!(["full_attention", "full_attention"]),
            "each 2th layer",
        ),
        (
            &qwen3_moe,
            "norm_topk_prob",
            json!(false),
            "norm_topk_prob is false",
        ),
        (
            &qwen3_moe,
            "norm_topk_prob",
            json!(null),
            "norm_topk_prob is null",
        ),
        (
            &qwen3_moe,
            "mlp_only_layers",
            json!([0]),
            "mlp_only_layers is [0]",
        ),
    ] {
        let message = refusal(model, |config, _| config[field] = value);
        assert!(
            message.contains(expected),
            "{message:?} should say {expected:?}"
        );
        assert!(
            message.contains("; serve the folder with an engine"),
            "{message}"
        );
    }
    let uneven = config("qwen2", json!({}));
    let message = refusal(&uneven, |config, _| config["head_dim"] = json!(12));
    assert!(
        message.contains("head_dim is 12, and llama.cpp takes 32 / 4"),
        "{message}"
    );
}

#[test]
fn folders_that_contradict_themselves_are_refused() {
    let llama = config("llama", json!({}));
    for (field, value, expected) in [
        (
            "hidden_size",
            json!(-1),
            "hidden_size should be a positive integer of at most 2^28",
        ),
        (
            "num_hidden_layers",
            json!(null),
            "num_hidden_layers should be a positive integer, not",
        ),
        (
            "num_key_value_heads",
            json!(3),
            "4 query heads cannot share 3",
        ),
        (
            "rms_norm_eps",
            json!("1"),
            "rms_norm_eps should be a positive number, not \"1\"",
        ),
        (
            "intermediate_size",
            json!(48),
            "but config.json makes it [48, 32]",
        ),
        (
            "rope_scaling",
            json!({"rope_type": "linear"}),
            "rope_scaling.factor should be",
        ),
        (
            "rope_scaling",
            json!(3),
            "rope_scaling should be an object, not 3",
        ),
    ] {
        let message = refusal(&llama, |config, _| config[field] = value);
        assert!(
            message.contains(expected),
            "{message:?} should say {expected:?}"
        );
    }
    let mixtral = config(
        "mixtral",
        json!({"num_local_experts": 3, "num_experts_per_tok": 2}),
    );
    for (model, field, value, expected) in [
        (
            &llama,
            "num_hidden_layers",
            1 << 28,
            "268435456 layers are more than llama.cpp's 512",
        ),
        (
            &mixtral,
            "num_local_experts",
            1 << 28,
            "2 of 268435456 experts are to be used",
        ),
        (
            &mixtral,
            "num_experts_per_tok",
            4,
            "4 of 3 experts are to be used",
        ),
    ] {
        let message = refusal(model, |config, _| config[field] = json!(value));
        assert!(
            message.contains(expected),
            "{message:?} should say {expected:?}"
        );
    }
    let message = refusal(&llama, |_, headers| {
        headers.retain(|header| header.name != "model.norm.weight");
    });
    assert!(
        message.contains("tensor \"model.norm.weight\" is missing"),
        "{message}"
    );
    let message = refusal(&llama, |_, headers| {
        headers.push(TensorHeader::new("model.layers.0.extra", Dtype::F32, &[1]));
    });
    assert!(
        message.contains("\"model.layers.0.extra\" is not part of a llama"),
        "{message}"
    );
}

#[test]
fn weights_and_ids_that_do_not_fit_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    let model = config("llama", json!({}));
    let headers = headers(&model);
    write_model(&path("model"), &model, &headers);
    let refused = export(&path("model"), &path("m.gguf"), GgufWeights::F32, Some(11));
    let message = refused.unwrap_err().to_string();
    assert!(
        message.contains("11 is not one of its 11 ids; give an id"),
        "{message}"
    );

    let name = "model.layers.1.mlp.up_proj.weight";
    fs::create_dir(path("large")).unwrap();
    write_json(&path("large/config.json"), &model).unwrap();
    let writer = CheckpointWriter::create(&path("large"), &headers).unwrap();
    for header in &headers {
        let mut values = values(&header.name, header.shape.iter().product());
        if header.name == name {
            values[77] = 1e6;
        }
        let mut bytes = vec![0; header.byte_len().unwrap() as usize];
        header.dtype.encode_f32(&values, &mut bytes);
        writer.write(&header.name, 0, &bytes).unwrap();
    }
    writer.finish().unwrap();
    let refused = export(&path("large"), &path("m.gguf"), GgufWeights::F16, None);
    let message = refused.unwrap_err().to_string();
    assert!(
        message.contains("\"blk.1.ffn_up.weight\" holds a number that F16"),
        "{message}"
    );
    let left: Vec<_> = fs::read_dir(dir.path()).unwrap().collect();
    assert_eq!(left.len(), 2, "{left:?}");
    export(&path("large"), &path("m.gguf"), GgufWeights::Bf16, None).unwrap();
    let again = export(&path("large"), &path("m.gguf"), GgufWeights::Bf16, None);
    assert!(matches!(again, Err(Error::OutputExists { .. })));
}
