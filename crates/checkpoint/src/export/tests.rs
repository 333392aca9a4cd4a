use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use super::*;
use crate::gguf::{GgufFile, MetadataArray};
use crate::import::testing::values;
use crate::{CheckpointWriter, Dtype, TensorHeader, import_gguf, read_json, write_json};

/// A small model's `config.json`: llama's fields, then `fields`; a null takes a field away.
fn config(model_type: &str, fields: Value) -> Value {
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

fn gpt2() -> Value {
    json!({
        "model_type": "gpt2", "vocab_size": 11, "n_embd": 32, "n_layer": 2, "n_head": 4,
        "n_positions": 16, "n_inner": null, "activation_function": "gelu_new",
        "layer_norm_epsilon": 1e-4,
    })
}

/// One of every architecture and of everything that changes its tensors.
fn models() -> Vec<Value> {
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
fn headers(config: &Value) -> Vec<TensorHeader> {
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

fn write_model(dir: &Path, config: &Value, headers: &[TensorHeader]) {
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

fn export(model: &Path, out: &Path, weights: GgufWeights, eos: Option<u32>) -> Result<(), Error> {
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

#[test]
fn every_architecture_comes_back_as_it_went() {
    for config in models() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        let headers = headers(&config);
        write_model(&path("model"), &config, &headers);
        let name = config["model_type"].as_str().unwrap();
        export(&path("model"), &path("m.gguf"), GgufWeights::F32, None)
            .unwrap_or_else(|error| panic!("{name}: {error}"));
        import_gguf(&path("m.gguf"), &path("again"), &mut |_, _| {})
            .unwrap_or_else(|error| panic!("{name}: {error}"));
        let again = Checkpoint::open(&path("again")).unwrap();
        for header in &headers {
            let expected = values(&header.name, header.shape.iter().product());
            let got = again.tensor(&header.name).unwrap();
            assert_eq!(got.shape, header.shape, "{name} {}", header.name);
            assert_eq!(
                again.read_f32(&header.name).unwrap(),
                expected,
                "{}",
                header.name
            );
        }
        // A head that had to be copied is one of its own afterwards.
        let copied = again.tensors().len() - headers.len();
        let tied = config["tie_word_embeddings"] == true;
        assert_eq!(copied, usize::from(name == "olmo2" && tied), "{name}");
        assert_eq!(
            read_json(&path("again/equicrypt.json")).unwrap(),
            json!({"vocab_size": 11})
        );

        // A second export says the same, so nothing was lost; the copied head apart.
        if copied == 0 {
            export(&path("again"), &path("second.gguf"), GgufWeights::F32, None).unwrap();
            let bytes = |name: &str| fs::read(path(name)).unwrap();
            let (first, second) = (bytes("m.gguf"), bytes("second.gguf"));
            assert!(first == second, "{name}");
        }
    }
}

#[test]
fn the_config_comes_back_in_what_matters() {
    for mut before in models() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        write_model(&path("model"), &before, &headers(&before));
        export(&path("model"), &path("m.gguf"), GgufWeights::F32, Some(7)).unwrap();
        import_gguf(&path("m.gguf"), &path("again"), &mut |_, _| {}).unwrap();
        let after = read_json(&path("again/config.json")).unwrap();
        let fields = before.as_object_mut().unwrap();
        for meaningless in [
            "secret_project",
            "model_type",
            "num_local_experts",
            "layer_types",
        ] {
            fields.remove(meaningless);
        }
        let tied_twice = after["model_type"] == "olmo2";
        for (name, value) in fields {
            let name = name.as_str();
            let expected = match name {
                _ if value.is_null() => continue,
                "hidden_act" => json!("gelu_pytorch_tanh"),
                "sliding_window" if after["model_type"] == "qwen2" => continue,
                "tie_word_embeddings" if tied_twice => continue,
                "no_rope_layers" => continue,
                "rope_parameters" | "rope_scaling" => {
                    check_rope(value, &after);
                    continue;
                }
                _ => value.clone(),
            };
            assert_eq!(after[name], expected, "{name} in {after}");
        }
        assert_eq!(after["eos_token_id"], 7);
        assert_eq!(after["bos_token_id"], Value::Null);
    }
}

fn check_rope(before: &Value, after: &Value) {
    let full = before.get("full_attention").unwrap_or(before);
    for (name, value) in full.as_object().unwrap() {
        match name.as_str() {
            "rope_theta" => assert_eq!(after["rope_theta"], *value),
            "rope_type" | "type" => assert!(
                after["rope_scaling"]
                    .to_string()
                    .contains(value.as_str().unwrap())
            ),
            name => assert_eq!(after["rope_scaling"][name], *value, "{name}"),
        }
    }
    if let Some(local) = before.get("sliding_attention") {
        assert_eq!(after["rope_local_base_freq"], local["rope_theta"]);
    }
}

#[test]
fn llama_cpp_finds_what_it_asks_for() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    let model = config(
        "gemma2",
        json!({
            "head_dim": 12, "sliding_window": 16, "query_pre_attn_scalar": 12,
            "attn_logit_softcapping": 50.0, "final_logit_softcapping": 30.0,
            "tie_word_embeddings": true, "rms_norm_eps": 1e-6,
        }),
    );
    write_model(&path("model"), &model, &headers(&model));
    export(&path("model"), &path("m.gguf"), GgufWeights::F16, Some(3)).unwrap();
    let file = GgufFile::open(&path("m.gguf")).unwrap();
    let size = MetadataValue::Unsigned;
    let number = MetadataValue::F32;
    let text = |text: &str| MetadataValue::String(text.to_owned());
    let array = MetadataValue::Array;
    let tokens = (0..11).map(|id| format!("t{id} ")).collect();
    let expected = [
        ("general.architecture", text("gemma2")),
        ("gemma2.embedding_length", size(32)),
        ("gemma2.feed_forward_length", size(40)),
        ("gemma2.block_count", size(2)),
        ("gemma2.attention.head_count", size(4)),
        ("gemma2.attention.head_count_kv", size(2)),
        ("gemma2.attention.key_length", size(12)),
        ("gemma2.attention.value_length", size(12)),
        ("gemma2.context_length", size(64)),
        ("gemma2.attention.layer_norm_rms_epsilon", number(1e-6)),
        ("gemma2.rope.dimension_count", size(12)),
        ("gemma2.rope.freq_base", number(1e4)),
        ("gemma2.attention.sliding_window", size(16)),
        ("gemma2.attn_logit_softcapping", number(50.0)),
        ("gemma2.final_logit_softcapping", number(30.0)),
        ("tokenizer.ggml.model", text("llama")),
        ("tokenizer.ggml.pre", text("default")),
        (
            "tokenizer.ggml.tokens",
            array(MetadataArray::String(tokens)),
        ),
        (
            "tokenizer.ggml.scores",
            array(MetadataArray::F32(vec![0.0; 11])),
        ),
        (
            "tokenizer.ggml.token_type",
            array(MetadataArray::I32(vec![1; 11])),
        ),
        ("tokenizer.ggml.add_bos_token", MetadataValue::Bool(false)),
        ("tokenizer.ggml.add_eos_token", MetadataValue::Bool(false)),
        (
            "tokenizer.ggml.add_space_prefix",
            MetadataValue::Bool(false),
        ),
        ("tokenizer.ggml.eos_token_id", size(3)),
        (MANIFEST_KEY, text("{\"vocab_size\": 11}")),
    ];
    let expected = expected.map(|(key, value)| (key.to_owned(), value));
    assert_eq!(file.header().metadata, expected);
    // Vectors are F32 in every file; the gains are 1 + w.
    let norm = file.tensor("blk.0.attn_norm.weight").unwrap();
    assert_eq!((norm.kind, &norm.shape[..]), (GgmlType::F32, &[32][..]));
    let mut bytes = vec![0; 128];
    file.read(&norm.name, 0, &mut bytes).unwrap();
    let mut gains = vec![0.0; 32];
    GgmlType::F32.dequantize(&bytes, &mut gains);
    let plain = values("model.layers.0.input_layernorm.weight", 32);
    assert!(gains.iter().zip(plain).all(|(gain, w)| *gain == w + 1.0));
    assert_eq!(
        file.tensor("blk.1.attn_q.weight").unwrap().kind,
        GgmlType::F16
    );
    assert!(file.tensor("output.weight").is_none());
    assert!(
        !fs::read(path("m.gguf"))
            .unwrap()
            .windows(14)
            .any(|w| w == b"secret_project")
    );
}

#[test]
fn each_tensor_takes_the_format_that_fits() {
    let of = |weights: GgufWeights, name: &str, shape: &[usize]| weights.of(name, shape).name();
    for weights in GgufWeights::ALL {
        assert_eq!(GgufWeights::from_name(weights.name()), Some(weights));
        assert_eq!(of(weights, "blk.0.attn_norm.weight", &[256]), "F32");
        assert_eq!(of(weights, "blk.0.attn_q.bias", &[256]), "F32");
        assert_eq!(of(weights, "blk.0.ffn_gate_inp.weight", &[8, 256]), "F32");
        assert_eq!(
            of(weights, "blk.0.ffn_gate_inp_shexp.weight", &[1, 256]),
            "F32"
        );
        assert_eq!(of(weights, "position_embd.weight", &[64, 256]), "F32");
    }
    let q4_k = |name: &str, shape: &[usize]| of(GgufWeights::Q4K, name, shape);
    assert_eq!(q4_k("blk.0.ffn_up.weight", &[3, 512]), "Q4_K");
    assert_eq!(q4_k("blk.0.ffn_up_exps.weight", &[4, 3, 512]), "Q4_K");
    assert_eq!(q4_k("blk.0.ffn_up.weight", &[256, 96]), "Q8_0");
    assert_eq!(q4_k("blk.0.ffn_up.weight", &[256, 100]), "F16");
    assert_eq!(q4_k("token_embd.weight", &[256, 512]), "Q8_0");
    assert_eq!(q4_k("output.weight", &[256, 100]), "F16");
    assert_eq!(
        of(GgufWeights::Q8_0, "blk.0.ffn_up.weight", &[256, 40]),
        "F16"
    );
    assert_eq!(
        of(GgufWeights::Bf16, "blk.0.ffn_up.weight", &[256, 40]),
        "BF16"
    );
}

#[test]
fn quantised_files_hold_the_model_nearly() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    let model = config(
        "llama",
        json!({
            "hidden_size": 256, "intermediate_size": 512, "head_dim": 64, "max_position_embeddings": 64,
        }),
    );
    let headers = headers(&model);
    write_model(&path("model"), &model, &headers);
    for (weights, bound) in [
        (GgufWeights::F16, 0.0),
        (GgufWeights::Bf16, 0.0),
        (GgufWeights::Q8_0, 0.005),
        (GgufWeights::Q4K, 0.08),
    ] {
        let (gguf, again) = (path(weights.name()), path(&format!("{}.d", weights.name())));
        let mut reports = Vec::new();
        let checkpoint = Checkpoint::open(&path("model")).unwrap();
        let opaque = OpaqueVocabulary::default();
        export_gguf(
            &checkpoint,
            &gguf,
            weights,
            opaque,
            &[],
            &mut |done, total| {
                reports.push((done, total));
            },
        )
        .unwrap();
        let file = GgufFile::open(&gguf).unwrap();
        let total: u64 = file
            .header()
            .tensors
            .iter()
            .map(|tensor| tensor.byte_len)
            .sum();
        assert_eq!(reports.first(), Some(&(0, total)));
        assert_eq!(reports.last(), Some(&(total, total)));
        let version = file.value("general.quantization_version").cloned();
        let blocks = bound > 0.0;
        assert_eq!(version, blocks.then_some(MetadataValue::Unsigned(2)));
        import_gguf(&gguf, &again, &mut |_, _| {}).unwrap();
        let again = Checkpoint::open(&again).unwrap();
        for header in &headers {
            let before = values(&header.name, header.shape.iter().product());
            let after = again.read_f32(&header.name).unwrap();
            let square = |x: f32| f64::from(x).powi(2);
            let off: f64 = before.iter().zip(&after).map(|(a, b)| square(a - b)).sum();
            let all: f64 = before.iter().map(|a| square(*a)).sum();
            let off = (off / all).sqrt();
            let exact = header.shape.len() < 2;
            assert!(
                off <= if exact { 0.0 } else { bound },
                "{} {off}",
                header.name
            );
        }
    }
}

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
fn names_and_buffers_of_older_folders_are_understood() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    let model = gpt2();
    let plain = headers(&model);
    let short = |header: &TensorHeader| {
        let name = header.name.trim_start_matches("transformer.");
        TensorHeader::new(name, header.dtype, &header.shape)
    };
    let mut older: Vec<TensorHeader> = plain.iter().map(short).collect();
    older.push(TensorHeader::new(
        "h.0.attn.bias",
        Dtype::F32,
        &[1, 1, 16, 16],
    ));
    older.push(TensorHeader::new("lm_head.weight", Dtype::F32, &[11, 32]));
    write_model(&path("older"), &model, &older);
    export(&path("older"), &path("m.gguf"), GgufWeights::F32, None).unwrap();
    import_gguf(&path("m.gguf"), &path("again"), &mut |_, _| {}).unwrap();
    let again = Checkpoint::open(&path("again")).unwrap();
    assert_eq!(again.tensors().len(), plain.len());
    for header in &plain {
        let short = header.name.trim_start_matches("transformer.");
        let expected = values(short, header.shape.iter().product());
        assert_eq!(again.read_f32(&header.name).unwrap(), expected, "{short}");
    }
}

#[test]
fn a_window_that_llama_cpp_has_not_shortens_the_context() {
    for (model_type, stated) in [("mistral", None), ("mixtral", None), ("phi3", Some(24))] {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        let model = config(
            model_type,
            json!({
                "sliding_window": 24, "num_local_experts": 3, "num_experts_per_tok": 2,
            }),
        );
        write_model(&path("model"), &model, &headers(&model));
        export(&path("model"), &path("m.gguf"), GgufWeights::F32, None).unwrap();
        let file = GgufFile::open(&path("m.gguf")).unwrap();
        let arch = if model_type == "phi3" {
            "phi3"
        } else {
            "llama"
        };
        let size = |key: &str| Some(file.value(&format!("{arch}.{key}"))?.as_u64().unwrap());
        assert_eq!(size("context_length"), Some(24));
        assert_eq!(size("attention.sliding_window"), stated);
    }
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
