use std::fs;

use serde_json::{Value, json};

use super::testing::*;
use super::*;
use crate::gguf::{GgufFile, MetadataArray};
use crate::import::testing::values;
use crate::{Dtype, TensorHeader, import_gguf, read_json};

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
