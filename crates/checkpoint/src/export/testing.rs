//! Small models of every architecture, as folders.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use super::{GgufWeights, MANIFEST_KEY, OpaqueVocabulary, architecture, export_gguf};
use crate::gguf_arch::{Config, Facts, pairs};
use crate::import::testing::values;
use crate::{Checkpoint, CheckpointWriter, Dtype, Error, TensorHeader, write_json};

/// A small model's `config.json`: llama's fields, then `fields`; a null takes a field away.
pub(super) fn config(model_type: &str, fields: Value) -> Value {
    let mut config = json!({
        "model_type": model_type, "vocab_size": 11, "hidden_size": 32, "intermediate_size": 40,
        "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
        "max_position_embeddings": 64, "rms_norm_eps": 1e-5, "tie_word_embeddings": false,
        "secret_project": "name",
    });
    for (name, value) in fields.as_object().unwrap() {
        config[name] = value.clone();
    }
    config
}

pub(super) fn gpt2() -> Value {
    json!({
        "model_type": "gpt2", "vocab_size": 11, "n_embd": 32, "n_layer": 2, "n_head": 4,
        "n_positions": 16, "n_inner": null, "activation_function": "gelu_new",
        "layer_norm_epsilon": 1e-4,
    })
}

/// One of every architecture and of everything that changes its tensors.
pub(super) fn models() -> Vec<Value> {
    let llama3 = json!({
        "rope_type": "llama3", "rope_theta": 5e5, "factor": 8.0, "low_freq_factor": 1.0,
        "high_freq_factor": 4.0, "original_max_position_embeddings": 8192,
    });
    let long: Vec<f64> = (0..4).map(|i| 1.0 + f64::from(i) * 0.75).collect();
    let longrope = json!({
        "type": "longrope", "short_factor": [1.0, 1.1, 1.2, 1.3], "long_factor": long,
    });
    let two_bases = json!({
        "full_attention": {"rope_type": "linear", "factor": 8.0, "rope_theta": 1e6},
        "sliding_attention": {"rope_type": "default", "rope_theta": 2e4},
    });
    let gemma = json!({
        "head_dim": 12, "hidden_activation": "gelu_pytorch_tanh", "tie_word_embeddings": true,
        "sliding_window": 16, "query_pre_attn_scalar": 12,
    });
    let with = |more: Value| {
        let mut fields = gemma.clone();
        for (name, value) in more.as_object().unwrap() {
            fields[name] = value.clone();
        }
        fields
    };
    let experts = json!({
        "num_experts": 3, "num_experts_per_tok": 2, "moe_intermediate_size": 24,
        "shared_expert_intermediate_size": 48, "norm_topk_prob": false, "mlp_only_layers": [],
    });
    vec![
        config("llama", json!({})),
        config(
            "llama",
            json!({"tie_word_embeddings": true, "rope_parameters": llama3}),
        ),
        config(
            "llama",
            json!({"head_dim": 6, "attention_bias": true, "mlp_bias": true}),
        ),
        config(
            "mistral",
            json!({"sliding_window": null, "rope_theta": 1e6}),
        ),
        config(
            "mixtral",
            json!({"num_local_experts": 3, "num_experts_per_tok": 2}),
        ),
        config(
            "qwen2",
            json!({"use_sliding_window": false, "sliding_window": 9}),
        ),
        config(
            "qwen2",
            json!({"rope_scaling": {"type": "yarn", "factor": 4.0,
                "original_max_position_embeddings": 16}}),
        ),
        config(
            "qwen3",
            json!({"head_dim": 12, "tie_word_embeddings": true}),
        ),
        config("qwen2_moe", experts.clone()),
        config(
            "qwen3_moe",
            json!({"num_local_experts": 3, "num_experts_per_tok": 2, "norm_topk_prob": true,
                "moe_intermediate_size": 24, "head_dim": 12}),
        ),
        config(
            "smollm3",
            json!({"no_rope_layers": [1, 1], "tie_word_embeddings": true}),
        ),
        config(
            "gemma",
            with(
                json!({"hidden_act": "gelu", "sliding_window": null, "query_pre_attn_scalar": null}),
            ),
        ),
        config(
            "gemma2",
            with(
                json!({"attn_logit_softcapping": 50.0, "final_logit_softcapping": 30.0,
                "layer_types": ["sliding_attention", "full_attention"]}),
            ),
        ),
        config(
            "gemma3_text",
            with(json!({"rope_parameters": two_bases, "tie_word_embeddings": null})),
        ),
        config(
            "phi3",
            json!({"partial_rotary_factor": 0.5, "sliding_window": null}),
        ),
        config(
            "phi3",
            json!({"rope_scaling": longrope, "original_max_position_embeddings": 16,
                "sliding_window": 262_144}),
        ),
        config("olmo2", json!({})),
        config("olmo2", json!({"tie_word_embeddings": true})),
        gpt2(),
        config(
            "gpt_neox",
            json!({"rotary_pct": 0.25, "layer_norm_eps": 1e-4,
            "use_parallel_residual": false, "num_key_value_heads": null, "rms_norm_eps": null}),
        ),
    ]
}

/// The tensors that a model class of transformers saves for this config, by the table.
pub(super) fn headers(config: &Value) -> Vec<TensorHeader> {
    let file = Path::new("config.json");
    let fields = Config::new(file, config).unwrap();
    let arch = architecture(&fields).unwrap();
    let facts = Facts::from_config(arch, &fields).unwrap();
    let mut headers = Vec::new();
    for pair in pairs(arch, &facts, arch.optional_prefix).unwrap() {
        for name in &pair.hf {
            let header = TensorHeader::new(name, Dtype::Bf16, &pair.hf_shape);
            if !headers.contains(&header) {
                headers.push(header);
            }
        }
    }
    headers
}

pub(super) fn write_model(dir: &Path, config: &Value, headers: &[TensorHeader]) {
    fs::create_dir(dir).unwrap();
    write_json(&dir.join("config.json"), config).unwrap();
    let writer = CheckpointWriter::create_sharded(dir, headers, 9_000).unwrap();
    for header in headers {
        let values = values(&header.name, header.shape.iter().product());
        let mut bytes = vec![0; header.byte_len().unwrap() as usize];
        header.dtype.encode_f32(&values, &mut bytes);
        writer.write(&header.name, 0, &bytes).unwrap();
    }
    writer.finish().unwrap();
}

pub(super) fn export(
    model: &Path,
    out: &Path,
    weights: GgufWeights,
    eos: Option<u32>,
) -> Result<(), Error> {
    let model = Checkpoint::open(model).unwrap();
    let extra = [(MANIFEST_KEY, "{\"vocab_size\": 11}")];
    export_gguf(
        &model,
        out,
        weights,
        OpaqueVocabulary { eos },
        &extra,
        &mut |_, _| {},
    )
}
