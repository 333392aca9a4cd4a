//! `--noise`: on embedding and head only, as large as asked for, and nowhere else.

#![allow(clippy::unwrap_used, reason = "a test may fail")]

mod support;

use std::path::Path;

use equicrypt_checkpoint::{Checkpoint, Dtype};
use equicrypt_cipher::{Error, Options, Vocabulary, encrypt};
use equicrypt_spec::{Manifest, Profile, Role};
use serde_json::json;
use support::{GQA, Shape};

const NOISE: f64 = 0.3;

/// Every table, tied or not, plans with noise, and gives a model that runs and says nearly what it said.
#[test]
fn every_decoder_runs_with_a_little_noise() {
    for (number, (name, config)) in support::golden_configs().into_iter().enumerate() {
        let dir = tempfile::tempdir().unwrap();
        let plain = dir.path().join("plain");
        support::random_model(&plain, &config, Dtype::F64, number as u64);
        for profile in [Profile::Permute, Profile::Rotate] {
            let out = dir.path().join(profile.name());
            let vocabulary = noisy(&plain, &out, profile, 1e-7);
            let difference = support::difference(&plain, &out, &vocabulary, 3);
            assert!(difference < 1e-3, "{name}, {profile:?}: {difference}");
            assert!(difference > 1e-12, "{name}, {profile:?}: no noise at all");
            let config = Checkpoint::open(&out).unwrap().model_config().unwrap();
            assert!(!config.tied_head, "{name}");
        }
    }
}

#[test]
fn it_is_as_large_as_asked_for_and_nowhere_else() {
    let dir = tempfile::tempdir().unwrap();
    let plain = dir.path().join("plain");
    let config = Shape { tied: true, ..GQA }.config();
    support::random_model(&plain, &config, Dtype::F64, 5);
    let source = Checkpoint::open(&plain).unwrap();
    for profile in [Profile::Permute, Profile::Rotate] {
        let (clean, noise) = (dir.path().join("clean"), dir.path().join("noisy"));
        support::encrypted(&plain, &clean, &support::key(1), profile);
        noisy(&plain, &noise, profile, NOISE);
        let (clean, noisy) = (
            Checkpoint::open(&clean).unwrap(),
            Checkpoint::open(&noise).unwrap(),
        );
        let config = noisy.model_config().unwrap();
        let mut added = Vec::new();
        for tensor in config.architecture.tensors(&config) {
            let found = noisy.read_f64(&tensor.name).unwrap();
            // A head that was tied is the embedding's rows, with the last gain folded in where the profile folds.
            let is_new = clean.tensor(&tensor.name).is_none();
            let before = match is_new {
                true => clean.read_f64("model.embed_tokens.weight").unwrap(),
                false => clean.read_f64(&tensor.name).unwrap(),
            };
            let differences: Vec<f64> = found.iter().zip(&before).map(|(a, b)| a - b).collect();
            match tensor.row.role {
                Role::Embed | Role::Head => added.push(differences),
                _ => assert!(differences.iter().all(|d| *d == 0.0), "{}", tensor.name),
            }
        }
        let embedding = source.read_f64("model.embed_tokens.weight").unwrap();
        let expected = NOISE * deviation(&embedding);
        // With the gain folded in, the head's noise is larger or smaller with each coordinate.
        let head_tolerance = if profile == Profile::Rotate {
            0.5
        } else {
            0.06
        };
        for (noise, tolerance) in added.iter().zip([0.06, head_tolerance]) {
            let ratio = deviation(noise) / expected;
            assert!((ratio - 1.0).abs() < tolerance, "{profile:?}: {ratio}");
        }
        assert_eq!(added.len(), 2);
        let correlation = product(&added[0], &added[1])
            / (product(&added[0], &added[0]) * product(&added[1], &added[1])).sqrt();
        assert!(correlation.abs() < 0.1, "{correlation}");
        std::fs::remove_dir_all(clean.dir()).unwrap();
        std::fs::remove_dir_all(noisy.dir()).unwrap();
    }
}

#[test]
fn what_is_no_noise_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let plain = support::random_model(&dir.path().join("plain"), &GQA.config(), Dtype::F32, 5);
    let source = Checkpoint::open(&plain).unwrap();
    for noise in [-0.1, f64::NAN, f64::INFINITY, 1e3] {
        let options = Options {
            noise,
            ..support::options(Profile::Permute)
        };
        let out = dir.path().join("out");
        let made = encrypt(&source, &out, &support::key(1), &options, &|_| ());
        assert!(matches!(made.err(), Some(Error::Noise { .. })), "{noise}");
        assert!(!out.exists());
    }
}

/// Manifests without noise are what they were.
#[test]
fn the_manifest_says_how_much() {
    let dir = tempfile::tempdir().unwrap();
    let plain = support::random_model(&dir.path().join("plain"), &GQA.config(), Dtype::F32, 5);
    let read = |folder: &Path| std::fs::read_to_string(folder.join("equicrypt.json")).unwrap();
    support::encrypted(
        &plain,
        &dir.path().join("a"),
        &support::key(1),
        Profile::Permute,
    );
    assert!(!read(&dir.path().join("a")).contains("noise"));
    noisy(&plain, &dir.path().join("b"), Profile::Permute, NOISE);
    let text = read(&dir.path().join("b"));
    let manifest = Manifest::parse(text.as_bytes()).unwrap();
    assert_eq!(manifest.noise, NOISE);
    let mut value: serde_json::Value = serde_json::from_str(&text).unwrap();
    value["noise"] = json!(-1.0);
    assert!(Manifest::parse(value.to_string().as_bytes()).is_err());
}

fn noisy(plain: &Path, out: &Path, profile: Profile, noise: f64) -> Vocabulary {
    let key = support::key(1);
    let options = Options {
        noise,
        ..support::options(profile)
    };
    let source = Checkpoint::open(plain).unwrap();
    let summary = encrypt(&source, out, &key, &options, &|_| ()).unwrap();
    Vocabulary::open(&key, &summary.manifest).unwrap()
}

fn deviation(values: &[f64]) -> f64 {
    let count = values.len() as f64;
    let mean = values.iter().sum::<f64>() / count;
    (values.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / count).sqrt()
}

fn product(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}
