//! LoRA adapters of encrypted bases: base + adapter computes what the plain pair computes.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use equicrypt_checkpoint::safetensors::{SafetensorsFile, SafetensorsWriter};
use equicrypt_checkpoint::{Checkpoint, Dtype, TensorHeader};
use equicrypt_cipher::{NextEpoch, Options, Vocabulary, encrypt, encrypt_adapter, rekey};
use equicrypt_spec::{Kind, Layout, Manifest, ModelConfig, Profile};
use serde_json::{Value, json};
use support::{Random, difference, golden_configs, key, options, random_model, tampered};

const TOLERANCE: f64 = 1e-9;
const BROKEN: f64 = 1e-3;
const RANK: usize = 3;
/// lora_alpha / r
const SCALE: f64 = 2.0;

/// A plain model, an adapter for it, and the two encrypted.
struct Pairs {
    dir: tempfile::TempDir,
    config: ModelConfig,
    vocabulary: Vocabulary,
}

impl Pairs {
    fn new(json: &Value, profile: Profile, expand: usize) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        let plain = random_model(&at("plain"), json, Dtype::F64, 3);
        let config = ModelConfig::from_json(json).unwrap();
        random_adapter(&at("adapter"), &config);
        let source = Checkpoint::open(&plain).unwrap();
        let options = Options {
            expand,
            ..options(profile)
        };
        let summary = encrypt(&source, &at("base"), &key(3), &options, &|_| ()).unwrap();
        let base = Checkpoint::open(&at("base")).unwrap();
        let base = ModelConfig::from_json(base.config()).unwrap();
        encrypt_adapter(
            &source,
            (&base, &summary.manifest),
            &at("adapter"),
            &at("encrypted-adapter"),
            &key(3),
        )
        .unwrap();
        let vocabulary = Vocabulary::open(&key(3), &summary.manifest).unwrap();
        Self {
            dir,
            config,
            vocabulary,
        }
    }

    fn at(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// How far the encrypted base with `adapter` is from the plain pair.
    fn difference(&self, adapter: &str) -> f64 {
        let plain = self.merged("plain", "adapter");
        let encrypted = self.merged("base", adapter);
        difference(&plain, &encrypted, &self.vocabulary, 3)
    }

    /// W + SCALE B A in place of W.
    fn merged(&self, base: &str, adapter: &str) -> PathBuf {
        let out = self.at(&format!("{base}-with-{adapter}"));
        if out.exists() {
            return out;
        }
        let file = SafetensorsFile::open(&self.at(adapter).join("adapter_model.safetensors"));
        let file = file.unwrap();
        let config = &self.config;
        let specs: HashMap<_, _> = (config.architecture.tensors(config).into_iter())
            .map(|spec| (spec.name.clone(), spec))
            .collect();
        let mut merged = 0;
        tampered(&self.at(base), &out, &mut |name, values| {
            let module = name.strip_suffix(".weight").unwrap_or(name);
            let a = format!("base_model.model.{module}.lora_A.weight");
            let Some(a) = read(&file, &a) else { return };
            let b = read(&file, &format!("base_model.model.{module}.lora_B.weight")).unwrap();
            let (input, out) = (a.len() / RANK, b.len() / RANK);
            let Kind::Linear { layout, .. } = specs[name].row.kind else {
                panic!("{name}");
            };
            for o in 0..out {
                for i in 0..input {
                    let delta: f64 = (0..RANK).map(|r| b[o * RANK + r] * a[r * input + i]).sum();
                    let place = match layout {
                        Layout::OutByInput => o * input + i,
                        Layout::InputByOut => i * out + o,
                    };
                    values[place] += SCALE * delta;
                }
            }
            merged += 1;
        });
        assert_eq!(merged * 2, file.tensors().len());
        out
    }
}

/// One for every linear layer but experts, routers and the head.
fn random_adapter(dir: &Path, config: &ModelConfig) {
    std::fs::create_dir(dir).unwrap();
    let mut random = Random(17);
    let mut tensors = Vec::new();
    for spec in config.architecture.tensors(config) {
        let Kind::Linear { out, input, .. } = spec.row.kind else {
            continue;
        };
        if spec.layer.is_none() || spec.expert.is_some() {
            continue;
        }
        let module = spec.name.strip_suffix(".weight").unwrap();
        for (letter, shape) in [
            ("A", [RANK, input.size(config)]),
            ("B", [out.size(config), RANK]),
        ] {
            let name = format!("base_model.model.{module}.lora_{letter}.weight");
            let values: Vec<f64> = (0..shape[0] * shape[1])
                .map(|_| 0.3 * random.symmetric())
                .collect();
            tensors.push((TensorHeader::new(name, Dtype::F64, &shape), values));
        }
    }
    let headers: Vec<_> = tensors.iter().map(|(header, _)| header.clone()).collect();
    let path = dir.join("adapter_model.safetensors");
    let writer = SafetensorsWriter::create(&path, &headers, &[]).unwrap();
    for (index, (_, values)) in tensors.iter().enumerate() {
        let mut bytes = vec![0; values.len() * 8];
        Dtype::F64.encode_f64(values, &mut bytes);
        writer.write_at(index, 0, &bytes).unwrap();
    }
    writer.finish().unwrap();
    adapter_config(dir, &json!({}));
}

fn adapter_config(dir: &Path, more: &Value) {
    let mut config = json!({
        "peft_type": "LORA", "task_type": "CAUSAL_LM", "r": RANK, "lora_alpha": SCALE * RANK as f64,
        "target_modules": ["q_proj"], "bias": "none", "fan_in_fan_out": false,
        "base_model_name_or_path": "someone/some-model", "modules_to_save": null,
    });
    for (field, value) in more.as_object().unwrap() {
        config[field] = value.clone();
    }
    let path = dir.join("adapter_config.json");
    std::fs::write(path, config.to_string()).unwrap();
}

fn read(file: &SafetensorsFile, name: &str) -> Option<Vec<f64>> {
    let index = file.tensors().iter().position(|info| info.name == name)?;
    let info = &file.tensors()[index];
    let mut bytes = vec![0; info.elements() as usize * 8];
    file.read_at(index, 0, &mut bytes).unwrap();
    let mut values = vec![0.0; info.elements() as usize];
    info.dtype.decode_f64(&bytes, &mut values);
    Some(values)
}

#[test]
fn encrypted_pairs_compute_what_plain_pairs_compute() {
    let mut seen = Vec::new();
    for (name, json) in golden_configs() {
        let model_type = json["model_type"].clone();
        if seen.contains(&model_type) {
            continue;
        }
        seen.push(model_type);
        for profile in [Profile::Permute, Profile::Rotate] {
            let pairs = Pairs::new(&json, profile, 0);
            let difference = pairs.difference("encrypted-adapter");
            assert!(difference < TOLERANCE, "{name} {profile:?}: {difference:e}");
            let unchanged = pairs.difference("adapter");
            assert!(unchanged > BROKEN, "{name} {profile:?}: {unchanged:e}");
        }
    }
}

/// An adapter is of the weights, whatever their vocabulary.
#[test]
fn adapters_outlive_a_new_vocabulary() {
    let (_, json) = golden_configs()
        .into_iter()
        .find(|(name, _)| name.starts_with("llama "))
        .unwrap();
    for profile in [Profile::Permute, Profile::Rotate] {
        let mut pairs = Pairs::new(&json, profile, 0);
        let manifest = std::fs::read(pairs.at("base/equicrypt.json")).unwrap();
        let manifest = Manifest::parse(&manifest).unwrap();
        let base = Checkpoint::open(&pairs.at("base")).unwrap();
        let (out, epoch) = (pairs.at("rekeyed"), NextEpoch::Next);
        let rekeyed = rekey(&base, &manifest, &out, &key(3), epoch, &|_| ()).unwrap();
        pairs.vocabulary = Vocabulary::open(&key(3), &rekeyed.manifest).unwrap();
        let plain = pairs.merged("plain", "adapter");
        let encrypted = pairs.merged("rekeyed", "encrypted-adapter");
        let difference = difference(&plain, &encrypted, &pairs.vocabulary, 3);
        assert!(difference < TOLERANCE, "{profile:?}: {difference:e}");

        // Encrypted for the rekeyed base it is the same adapter.
        let source = Checkpoint::open(&pairs.at("plain")).unwrap();
        let (target, again) = (Checkpoint::open(&out).unwrap(), pairs.at("again"));
        let target = (&target.model_config().unwrap(), &rekeyed.manifest);
        encrypt_adapter(&source, target, &pairs.at("adapter"), &again, &key(3)).unwrap();
        let weights = |folder: &str| {
            std::fs::read(pairs.at(folder).join("adapter_model.safetensors")).unwrap()
        };
        assert!(weights("again") == weights("encrypted-adapter"));
    }
}

#[test]
fn adapters_follow_a_wider_residual_stream() {
    let (_, json) = golden_configs()
        .into_iter()
        .find(|(name, _)| name.starts_with("qwen3 "))
        .unwrap();
    let pairs = Pairs::new(&json, Profile::Rotate, 6);
    assert!(pairs.difference("encrypted-adapter") < TOLERANCE);
}

#[test]
fn the_encrypted_adapter_names_no_one() {
    let pairs = Pairs::new(&golden_configs()[0].1, Profile::Permute, 0);
    let config = std::fs::read_to_string(pairs.at("encrypted-adapter/adapter_config.json"));
    assert!(!config.unwrap().contains("someone"));
}

#[test]
fn what_is_not_plain_lora_is_refused() {
    let pairs = Pairs::new(&golden_configs()[0].1, Profile::Permute, 0);
    let source = Checkpoint::open(&pairs.at("plain")).unwrap();
    let text = std::fs::read(pairs.at("base/equicrypt.json")).unwrap();
    let manifest = equicrypt_spec::Manifest::parse(&text).unwrap();
    let run = |key_byte: u8| {
        let out = pairs.at("out");
        let base = (&pairs.config, &manifest);
        let result = encrypt_adapter(&source, base, &pairs.at("adapter"), &out, &key(key_byte));
        assert!(!out.exists());
        result.unwrap_err().to_string()
    };
    for (field, value) in [
        ("peft_type", json!("IA3")),
        ("use_dora", json!(true)),
        ("bias", json!("all")),
        ("modules_to_save", json!(["lm_head"])),
    ] {
        adapter_config(&pairs.at("adapter"), &json!({ field: value }));
        let message = run(3);
        assert!(message.contains(field), "{field}: {message}");
    }
    adapter_config(&pairs.at("adapter"), &json!({}));
    let message = run(4);
    assert!(message.contains("wrong key"), "{message}");
}
