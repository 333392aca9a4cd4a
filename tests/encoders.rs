//! Every encoder under both profiles in f64, with every head, and what must break it.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use std::path::{Path, PathBuf};

use equicrypt_checkpoint::{Checkpoint, Dtype, read_json};
use equicrypt_cipher::{
    NextEpoch, Options, Outputs, Permit, Plan, Secrets, Vocabulary, danger, encrypt,
    encrypt_with_homophones, rekey,
};
use equicrypt_engine::{Encoder, Part, Precision, Text, Vectors};
use equicrypt_spec::{
    ARCHITECTURES, Axis, Group, Manifest, Pooling, Profile, SentenceDense, SentenceHead, Task,
};
use serde_json::{Value, json};
use support::{Random, homophones, key, options, random_sentence_model, schedule, tampered};

const TOLERANCE: f64 = 1e-9;
const BROKEN: f64 = 1e-3;

#[test]
fn every_encoder_is_equivariant_with_every_head() {
    let mut tasks = Vec::new();
    for (seed, (name, config)) in golden_configs().into_iter().enumerate() {
        let dir = tempfile::tempdir().unwrap();
        let plain = model(&dir.path().join("plain"), &config, None, seed as u64);
        for profile in [Profile::Permute, Profile::Rotate] {
            let out = dir.path().join(profile.name());
            let manifest = encrypted(&plain, &out, seed as u8, &options(profile));
            let difference = difference(&plain, &out, &manifest, seed as u8);
            assert!(difference < TOLERANCE, "{name} {profile:?}: {difference:e}");
        }
        let task = Checkpoint::open(&plain)
            .unwrap()
            .model_config()
            .unwrap()
            .task;
        tasks.push(task);
    }
    for task in [
        Task::Features,
        Task::SequenceLabels,
        Task::TokenLabels,
        Task::MaskedToken,
    ] {
        assert!(tasks.iter().filter(|found| **found == task).count() >= 5);
    }
}

/// All answers but those of a vocabulary lie on axes whose secrets stay.
#[test]
fn every_encoder_is_rekeyed_with_every_head() {
    for (seed, (name, config)) in golden_configs().into_iter().enumerate() {
        let dir = tempfile::tempdir().unwrap();
        let plain = model(&dir.path().join("plain"), &config, None, seed as u64);
        for profile in [Profile::Permute, Profile::Rotate] {
            let out = dir.path().join(profile.name());
            let old = encrypted(&plain, &out, seed as u8, &options(profile));
            let (new_out, key) = (out.with_extension("new"), key(seed as u8));
            let folder = Checkpoint::open(&out).unwrap();
            let rekeyed = rekey(&folder, &old, &new_out, &key, NextEpoch::Next, &|_| ());
            let new = rekeyed.unwrap().manifest;
            assert_eq!(new.kept_id, old.kept_id);
            let difference_under = |manifest| difference(&plain, &new_out, manifest, seed as u8);
            let (under_new, under_old) = (difference_under(&new), difference_under(&old));
            assert!(under_new < TOLERANCE, "{name} {profile:?}: {under_new:e}");
            assert!(under_old > BROKEN, "{name} {profile:?}: {under_old:e}");
        }
    }
}

#[test]
fn every_encoder_is_equivariant_with_homophones() {
    for (seed, (name, config)) in golden_configs().into_iter().enumerate() {
        let dir = tempfile::tempdir().unwrap();
        let plain = model(&dir.path().join("plain"), &config, None, seed as u64);
        let source = Checkpoint::open(&plain).unwrap();
        let homophones = homophones(&plain, 23);
        for profile in [Profile::Permute, Profile::Rotate] {
            let out = dir.path().join(profile.name());
            let (key, options) = (key(seed as u8), options(profile));
            let summary =
                encrypt_with_homophones(&source, &out, &key, &options, &homophones, &|_| ());
            let manifest = summary.unwrap().manifest;
            assert_eq!(manifest.homophones(), 23);
            let difference = difference(&plain, &out, &manifest, seed as u8);
            assert!(difference < TOLERANCE, "{name} {profile:?}: {difference:e}");
        }
    }
}

#[test]
fn every_encoder_runs_with_a_little_noise() {
    for (seed, (name, config)) in golden_configs().into_iter().enumerate() {
        let dir = tempfile::tempdir().unwrap();
        let plain = model(&dir.path().join("plain"), &config, None, seed as u64);
        for profile in [Profile::Permute, Profile::Rotate] {
            let out = dir.path().join(profile.name());
            let options = Options {
                noise: 1e-7,
                ..options(profile)
            };
            let manifest = encrypted(&plain, &out, seed as u8, &options);
            let difference = difference(&plain, &out, &manifest, seed as u8);
            assert!(difference < 1e-4, "{name} {profile:?}: {difference:e}");
            assert!(
                difference > TOLERANCE,
                "{name} {profile:?}: no noise at all"
            );
        }
    }
}

#[test]
fn sentence_embeddings_are_equivariant_however_they_are_made() {
    let poolings = [
        Pooling::First,
        Pooling::Max,
        Pooling::Mean,
        Pooling::MeanSqrt,
        Pooling::WeightedMean,
        Pooling::Last,
    ];
    for (seed, (name, config)) in first_of_each().into_iter().enumerate() {
        let width = config.get("dim").unwrap_or(&config["hidden_size"]);
        let input = width.as_u64().unwrap() as usize;
        for (index, pooling) in poolings.into_iter().enumerate() {
            let dense = match (seed + index) % 3 {
                0 => None,
                kind => Some(SentenceDense {
                    input,
                    bias: true,
                    tanh: kind == 1,
                }),
            };
            let tanh = dense.as_ref().is_some_and(|dense| dense.tanh);
            let head = SentenceHead {
                pooling,
                width: if dense.is_some() { 10 } else { 0 },
                dense,
                normalize: index % 2 == 0,
            };
            let dir = tempfile::tempdir().unwrap();
            let plain = model(&dir.path().join("plain"), &config, Some(&head), seed as u64);
            for (profile, rotate_output) in [
                (Profile::Permute, false),
                (Profile::Permute, true),
                (Profile::Rotate, true),
            ] {
                let options = Options {
                    rotate_output,
                    ..options(profile)
                };
                let out = dir
                    .path()
                    .join(format!("{}-{rotate_output}", profile.name()));
                let source = Checkpoint::open(&plain).unwrap();
                let result = encrypt(&source, &out, &key(5), &options, &|_| ());
                if tanh && rotate_output {
                    let message = result.unwrap_err().to_string();
                    assert!(message.contains("--rotate-output"), "{message}");
                    continue;
                }
                let manifest = result.unwrap().manifest;
                let difference = difference(&plain, &out, &manifest, 5);
                assert!(difference < TOLERANCE, "{name} {head:?}: {difference:e}");
                let coordinates = moved_coordinates(&plain, &out, &manifest);
                assert_eq!(coordinates < 0.5, !rotate_output, "{name}: {coordinates}");
            }
        }
    }
}

/// How far the host's own coordinates are from being the plain ones in another order, signs aside.
fn moved_coordinates(plain: &Path, encrypted: &Path, manifest: &Manifest) -> f64 {
    let outputs = outputs(plain, manifest, 5);
    let ids = [1, 5, 9, 2];
    let cipher = outputs.vocabulary().encrypt(&ids).unwrap();
    let sizes = |dir: &Path, tokens: &[u32]| {
        let vector = run(dir, tokens, &[], Part::Answer).unwrap().to_f64();
        let mut sizes: Vec<f64> = vector.iter().map(|x| x.abs()).collect();
        sizes.sort_unstable_by(f64::total_cmp);
        sizes
    };
    let (ours, theirs) = (sizes(plain, &ids), sizes(encrypted, cipher.as_slice()));
    let largest = ours.iter().fold(0.0_f64, |a, b| a.max(*b));
    let off = ours.iter().zip(&theirs).map(|(a, b)| (a - b).abs());
    if off.fold(0.0, f64::max) / largest > 1e-6 {
        1.0
    } else {
        0.0
    }
}

/// A group that is not within the legal one breaks the model, on every axis whose operations could tell.
#[test]
fn every_illegal_group_breaks() {
    let groups = [
        Group::PERMUTATION,
        Group::SIGNED_PERMUTATION,
        Group::SCALED_PERMUTATION,
        Group::MONOMIAL,
        Group::PAIR_ROTATION,
        Group::MEAN_KEEPING,
        Group::ORTHOGONAL,
        Group::UNRESTRICTED,
    ];
    let axes = [
        Axis::Positions,
        Axis::TokenTypes,
        Axis::Distances,
        Axis::Hidden,
        Axis::Ffn,
        Axis::QkDim,
        Axis::Pooled,
    ];
    let mut broken = 0;
    for (name, json) in with_labels() {
        let dir = tempfile::tempdir().unwrap();
        let plain = model(&dir.path().join("plain"), &json, None, 3);
        let config = Checkpoint::open(&plain).unwrap().model_config().unwrap();
        let arch = config.architecture;
        for axis in axes.into_iter().filter(|a| arch.axes(&config).contains(a)) {
            if axis.size(&config) < 2 {
                continue;
            }
            let legal = arch.group(axis, &config, Profile::Rotate);
            for group in groups.into_iter().filter(|group| !group.is_within(legal)) {
                // Of two coordinates only the identity and the exchange keep the mean, and the latter is rare.
                if group == Group::MEAN_KEEPING && axis.size(&config) == 2 {
                    continue;
                }
                let worst = [3, 4, 5].map(|byte| difference_with(&plain, axis, group, byte));
                let worst = worst.into_iter().fold(0.0, f64::max);
                assert!(worst > BROKEN, "{name} {axis:?} {group:?}: {worst:e}");
                broken += 1;
            }
        }
    }
    assert!(broken > 60, "only {broken} tried");
}

#[test]
fn an_uncounted_id_that_moves_breaks() {
    let mut tried = 0;
    for (name, json) in first_of_each() {
        let dir = tempfile::tempdir().unwrap();
        let plain = model(&dir.path().join("plain"), &json, None, 3);
        let source = Checkpoint::open(&plain).unwrap();
        let plan = Plan::new(&source, &options(Profile::Permute), key(3).id()).unwrap();
        let Some(kept) = plan.manifest.kept_id else {
            continue;
        };
        let schedule = schedule(&key(3), &plan.manifest);
        let free = Vocabulary::derive(&schedule, plan.target.vocab_size, None);
        assert_ne!(free.encrypt(&[kept]).unwrap().as_slice(), [kept]);
        let secrets = Secrets::derive(&schedule, &plan.target, &plan.permits(), &free);
        let out = dir.path().join("moved");
        danger::encrypt_with(&source, &out, &plan, &secrets, &|_| ()).unwrap();
        let manifest = Manifest {
            kept_id: None,
            ..plan.manifest
        };
        assert!(difference(&plain, &out, &manifest, 3) > BROKEN, "{name}");
        tried += 1;
    }
    assert_eq!(tried, 3);
}

#[test]
fn distances_that_do_not_follow_their_heads_break() {
    let (_, json) = (first_of_each().into_iter())
        .find(|(name, _)| name.starts_with("mpnet"))
        .unwrap();
    let dir = tempfile::tempdir().unwrap();
    let plain = model(&dir.path().join("plain"), &json, None, 3);
    let out = dir.path().join("encrypted");
    let manifest = encrypted(&plain, &out, 3, &options(Profile::Rotate));
    let moved = dir.path().join("moved");
    tampered(&out, &moved, &mut |tensor, values| {
        if tensor.ends_with("relative_attention_bias.weight") {
            values.rotate_left(1);
        }
    });
    assert!(difference(&plain, &moved, &manifest, 3) > BROKEN);
}

#[test]
fn an_encrypted_folder_says_nothing_of_labels_tokens_and_texts() {
    let (_, mut config) = (with_labels().into_iter())
        .find(|(name, _)| name.starts_with("bert"))
        .unwrap();
    config["id2label"] = json!({ "0": "refund", "1": "praise", "2": "threat" });
    config["label2id"] = json!({ "refund": 0, "praise": 1, "threat": 2 });
    config["_name_or_path"] = json!("someone/secret-triage");
    let dir = tempfile::tempdir().unwrap();
    let plain = model(&dir.path().join("plain"), &config, None, 3);
    let out = dir.path().join("encrypted");
    encrypted(&plain, &out, 3, &options(Profile::Permute));
    let mut files: Vec<String> = (std::fs::read_dir(&out).unwrap())
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    files.sort_unstable();
    let expected = [
        "config.json",
        "equicrypt.json",
        "generation_config.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
    ];
    assert_eq!(files, expected);
    let written = read_json(&out.join("config.json")).unwrap();
    let names = json!({ "0": "LABEL_0", "1": "LABEL_1", "2": "LABEL_2" });
    assert_eq!(written["id2label"], names);
    assert_eq!(written["pad_token_id"], Value::Null);
    let all = written.to_string();
    for word in ["refund", "praise", "threat", "secret-triage"] {
        assert!(!all.contains(word), "{word}");
    }
    // Nothing that a stock engine could add ids with: they would be the plain vocabulary's.
    let tokenizer = read_json(&out.join("tokenizer.json")).unwrap();
    assert_eq!(tokenizer["post_processor"], Value::Null);
    assert_eq!(tokenizer["added_tokens"], json!([]));
    let tokenizer_config = read_json(&out.join("tokenizer_config.json")).unwrap();
    for field in ["bos_token", "cls_token", "sep_token", "eos_token"] {
        assert!(tokenizer_config.get(field).is_none_or(Value::is_null));
    }
}

#[test]
fn what_is_written_is_read_the_same() {
    for (name, json) in golden_configs() {
        let config = equicrypt_spec::ModelConfig::from_json(&json).unwrap();
        let written = config.to_json("bfloat16");
        let again = equicrypt_spec::ModelConfig::from_json(&written).unwrap();
        assert_eq!(again.to_json("bfloat16"), written, "{name}");
        let function = |config: &equicrypt_spec::ModelConfig| {
            let names = config.architecture.tensors(config);
            let shapes: Vec<_> = names.into_iter().map(|t| (t.name, t.shape)).collect();
            (
                shapes,
                format!("{:?}", config.layer_kinds),
                config.ropes.clone(),
                (config.task, config.labels, config.labels_from_mean),
                (config.first_position, config.head_activation),
                (config.activation, config.norm_epsilon.to_bits()),
            )
        };
        assert_eq!(function(&again), function(&config), "{name}");
    }
}

fn model(dir: &Path, config: &Value, head: Option<&SentenceHead>, seed: u64) -> PathBuf {
    random_sentence_model(dir, config, head, Dtype::F64, seed)
}

fn encrypted(plain: &Path, out: &Path, byte: u8, options: &Options) -> Manifest {
    let source = Checkpoint::open(plain).unwrap();
    let summary = encrypt(&source, out, &key(byte), options, &|_| ()).unwrap();
    summary.manifest
}

fn outputs(plain: &Path, manifest: &Manifest, byte: u8) -> Outputs {
    let source = Checkpoint::open(plain).unwrap().model_config().unwrap();
    Outputs::open(&key(byte), manifest, &source).unwrap()
}

fn run(dir: &Path, tokens: &[u32], token_types: &[u32], part: Part) -> Option<Vectors> {
    let encoder = Encoder::load(&Checkpoint::open(dir).unwrap(), Precision::F64).unwrap();
    let text = Text {
        tokens,
        token_types,
    };
    let answers = encoder.forward(&[text], part).ok()?;
    answers.into_iter().next()
}

/// The largest difference of any number that the model gives, after decryption, relative to the largest number.
fn difference(plain: &Path, encrypted: &Path, manifest: &Manifest, byte: u8) -> f64 {
    let config = Checkpoint::open(plain).unwrap().model_config().unwrap();
    let outputs = outputs(plain, manifest, byte);
    let mut ids = Random(byte.into()).ids(13.min(config.exact_context()), config.vocab_size);
    // Where an id is not counted, it must be met.
    if let Some(uncounted) = config.uncounted_id() {
        (ids[3], ids[4]) = (uncounted, uncounted);
    }
    let types = config.token_types.max(1) as u32;
    let token_types: Vec<u32> = (0..ids.len() as u32).map(|i| i * types / 13).collect();
    let cipher = outputs.vocabulary().encrypt(&ids).unwrap();
    let mut worst = 0.0_f64;
    for part in [Part::TokenVectors, Part::Pooled, Part::Answer] {
        let ours = run(plain, &ids, &token_types, part);
        let theirs = run(encrypted, cipher.as_slice(), &token_types, part);
        assert_eq!(ours.is_some(), theirs.is_some());
        let (Some(ours), Some(theirs)) = (ours, theirs) else {
            continue;
        };
        let (values, width) = (theirs.to_f64(), theirs.width());
        let decrypted = values.chunks_exact(width).flat_map(|row| {
            let row = match (part, config.task) {
                (Part::TokenVectors, _) => outputs.token_vector(row),
                (Part::Pooled, _) => outputs.pooled(row),
                (Part::Answer, Task::Features) => outputs.sentence(row),
                (Part::Answer, Task::MaskedToken) => outputs.tokens(row),
                (Part::Answer, _) => outputs.labels(row),
            };
            row.unwrap()
        });
        let ours = ours.to_f64();
        let largest = ours.iter().fold(0.0_f64, |a, b| a.max(b.abs()));
        assert!(largest > 0.01, "the model says nothing: {largest}");
        for (ours, theirs) in ours.iter().zip(decrypted) {
            worst = worst.max((ours - theirs).abs() / largest);
        }
    }
    worst
}

/// The [`difference`] if one axis' secret is drawn from a group of the test's choosing, all others legally.
fn difference_with(plain: &Path, axis: Axis, group: Group, byte: u8) -> f64 {
    let dir = tempfile::tempdir().unwrap();
    let source = Checkpoint::open(plain).unwrap();
    let plan = Plan::new(&source, &options(Profile::Rotate), key(byte).id()).unwrap();
    let axes = plan.target.architecture.axes(&plan.target);
    let others = (axes.into_iter()).filter(|other| ![axis, Axis::Vocab].contains(other));
    let mut permits: Vec<Permit> = others
        .map(|axis| Permit::legal(&plan.target, axis, Profile::Rotate, true))
        .collect();
    permits.push(danger::permit_anything(axis, group));
    let schedule = schedule(&key(byte), &plan.manifest);
    let vocabulary = Vocabulary::derive(&schedule, plan.target.vocab_size, plan.manifest.kept_id);
    let secrets = danger::derive_illegal(&schedule, &plan.target, &permits, &vocabulary);
    let out = dir.path().join("encrypted");
    danger::encrypt_with(&source, &out, &plan, &secrets, &|_| ()).unwrap();
    difference(plain, &out, &plan.manifest, byte)
}

/// The configurations of the tiny encoders of every architecture, with names.
fn golden_configs() -> Vec<(String, Value)> {
    let mut configs = Vec::new();
    for arch in ARCHITECTURES.iter().filter(|arch| arch.is_encoder()) {
        let root = env!("CARGO_MANIFEST_DIR");
        let path = format!("{root}/tests/golden/encoders/{}.json", arch.model_type);
        let file = read_json(Path::new(&path)).unwrap();
        for case in file["cases"].as_array().unwrap() {
            let mut config = case["config"].clone();
            config["architectures"] = json!([case["class"]]);
            let name = case["name"].as_str().unwrap();
            configs.push((format!("{} {name}", arch.model_type), config));
        }
    }
    configs
}

/// One configuration of each architecture, of the body alone.
fn first_of_each() -> Vec<(String, Value)> {
    one_of_each(|class| class.ends_with("Model"))
}

/// One configuration of each architecture, with labels of a text.
fn with_labels() -> Vec<(String, Value)> {
    one_of_each(|class| class.ends_with("ForSequenceClassification"))
}

fn one_of_each(wanted: impl Fn(&str) -> bool) -> Vec<(String, Value)> {
    let mut seen = Vec::new();
    let mut configs = golden_configs();
    configs.retain(|(_, config)| {
        let model_type = config["model_type"].clone();
        let class = config["architectures"][0].as_str().unwrap();
        let new = wanted(class) && !seen.contains(&model_type);
        if new {
            seen.push(model_type);
        }
        new
    });
    let encoders = ARCHITECTURES.iter().filter(|arch| arch.is_encoder());
    assert_eq!(configs.len(), encoders.count());
    configs
}
