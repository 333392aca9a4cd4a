//! Real encoders: all-MiniLM-L6-v2, and a classifier that was trained on its body. Needs their folders in EQUICRYPT_MINILM (which
//! `equicrypt fetch minilm-l6-v2` makes) and EQUICRYPT_CLASSIFIER (tools/train/minilm_classifier.py; its held-out sentences
//! in EQUICRYPT_CLASSIFIER_TEXTS).

#![allow(clippy::unwrap_used, reason = "a test may panic")]
#![allow(clippy::print_stdout, reason = "what was measured")]

mod support;

use std::ffi::OsString;
use std::path::Path;

use equicrypt_audit::{EncoderFidelity, EncoderLimits, compare_encoders};
use equicrypt_checkpoint::{Checkpoint, Dtype, read_json};
use equicrypt_cipher::{Options, Outputs, encrypt};
use equicrypt_engine::{Encoder, Part, Precision, Text};
use equicrypt_spec::Profile;
use serde_json::Value;
use support::{key, options};

#[test]
fn embeddings_are_those_of_the_plain_model() {
    let Some(dir) = variable("EQUICRYPT_MINILM") else {
        return;
    };
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/minilm_tokens.json");
    let golden = read_json(&golden).unwrap();
    let texts = texts(golden["cases"].as_array().unwrap());
    assert_eq!(texts.len(), 200);
    for (profile, rotate_output, dtype) in [
        (Profile::Permute, false, Dtype::F32),
        (Profile::Permute, true, Dtype::F32),
        (Profile::Rotate, false, Dtype::F32),
        (Profile::Rotate, true, Dtype::Bf16),
    ] {
        let options = Options {
            rotate_output,
            dtype: Some(dtype),
            ..options(profile)
        };
        let found = fidelity(Path::new(&dir), &options, &texts);
        assert_eq!(found.compared, "sentence embeddings");
    }
}

#[test]
fn labels_and_probabilities_are_those_of_the_plain_model() {
    let (Some(dir), Some(file)) = (
        variable("EQUICRYPT_CLASSIFIER"),
        variable("EQUICRYPT_CLASSIFIER_TEXTS"),
    ) else {
        return;
    };
    let held_out = read_json(Path::new(&file)).unwrap();
    let sentences = held_out["sentences"].as_array().unwrap();
    let texts = texts(sentences);
    assert!(texts.len() >= 500);

    // transformers' own logits, f32.
    let encoder = Encoder::load(&Checkpoint::open(Path::new(&dir)).unwrap(), Precision::F32);
    let encoder = encoder.unwrap();
    let mut worst = 0.0_f64;
    for (sentence, (tokens, token_types)) in sentences.iter().zip(&texts) {
        let text = Text {
            tokens,
            token_types,
        };
        let found = encoder.forward(&[text], Part::Answer).unwrap()[0].to_f64();
        let expected: Vec<f64> = serde_json::from_value(sentence["logits"].clone()).unwrap();
        for (found, expected) in found.iter().zip(&expected) {
            worst = worst.max((found - expected).abs());
        }
    }
    println!("largest difference of a logit from transformers: {worst:e}");
    assert!(worst < 1e-4, "{worst:e}");

    for profile in [Profile::Permute, Profile::Rotate] {
        let found = fidelity(Path::new(&dir), &options(profile), &texts);
        assert_eq!(found.agreement, Some(1.0));
        assert!(found.max_probability_difference.unwrap() < 1e-5);
    }
}

/// Encrypts the folder, compares, and checks the limits that are promised.
fn fidelity(plain: &Path, options: &Options, texts: &[(Vec<u32>, Vec<u32>)]) -> EncoderFidelity {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("encrypted");
    let source = Checkpoint::open(plain).unwrap();
    let manifest = encrypt(&source, &out, &key(9), options, &|_| ())
        .unwrap()
        .manifest;
    let outputs = Outputs::open(&key(9), &manifest, &source.model_config().unwrap()).unwrap();
    let load = |dir: &Path| Encoder::load(&Checkpoint::open(dir).unwrap(), Precision::F32).unwrap();
    let found = compare_encoders(&load(plain), &load(&out), &outputs, texts).unwrap();
    println!("{:?} {:?}: {found:?}", options.profile, options.dtype);
    assert!(EncoderLimits::of(&manifest).hold(&found), "{found:?}");
    found
}

fn texts(cases: &[Value]) -> Vec<(Vec<u32>, Vec<u32>)> {
    let ids = |case: &Value| serde_json::from_value(case["ids"].clone()).unwrap();
    cases.iter().map(|case| (ids(case), Vec::new())).collect()
}

fn variable(name: &str) -> Option<OsString> {
    let value = std::env::var_os(name);
    if value.is_none() {
        println!("{name} is not set: nothing compared");
    }
    value
}
