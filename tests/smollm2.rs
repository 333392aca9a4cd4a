//! The real SmolLM2-135M-Instruct. Runs where EQUICRYPT_SMOLLM2 names its folder (`equicrypt fetch smollm2-135m-instruct
//! -o DIR`), and says so where it does not; `.ci/run` sets it.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test may panic, and say what it saw"
)]

mod support;

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use equicrypt_audit::{Fidelity, Limits, PROMPTS, compare};
use equicrypt_checkpoint::{Checkpoint, Dtype};
use equicrypt_cipher::{Options, Vocabulary, encrypt};
use equicrypt_engine::{Decoder, Precision};
use equicrypt_gateway::{Message, Owner};
use equicrypt_spec::{ModelConfig, Profile, Role};
use support::key;

const GREEDY_TOKENS: usize = 64;

fn smollm2() -> Option<PathBuf> {
    let dir = std::env::var_os("EQUICRYPT_SMOLLM2").map(PathBuf::from);
    if dir.is_none() {
        println!("not run: EQUICRYPT_SMOLLM2 names no folder");
    }
    dir
}

fn encrypted(dir: &Path, out: &Path, profile: Profile, dtype: Dtype) -> Vocabulary {
    let options = Options {
        profile,
        dtype: Some(dtype),
        epoch: 0,
        expand: 0,
        scales: true,
        rotate_output: false,
        noise: 0.0,
    };
    let source = Checkpoint::open(dir).unwrap();
    let summary = encrypt(&source, out, &key(11), &options, &|_| ()).unwrap();
    Vocabulary::open(&key(11), &summary.manifest).unwrap()
}

/// Every value of the encrypted model is, up to sign and a power of two, a value of the plain tensor, and as often as
/// there: the multisets of significands of both tensors are equal, zeros counted apart.
#[test]
fn permute_is_lossless() {
    let Some(dir) = smollm2() else { return };
    let scratch = tempfile::tempdir().unwrap();
    let out = scratch.path().join("encrypted");
    encrypted(&dir, &out, Profile::Permute, Dtype::Bf16);
    let (plain, encrypted) = (
        Checkpoint::open(&dir).unwrap(),
        Checkpoint::open(&out).unwrap(),
    );
    assert_eq!(plain.tensors().count(), encrypted.tensors().count());
    let (mut values, mut moved) = (0u64, 0u64);
    for tensor in plain.tensors() {
        let (ours, theirs) = (
            plain.read_f32(&tensor.name).unwrap(),
            encrypted.read_f32(&tensor.name).unwrap(),
        );
        assert_eq!(
            significands(&ours),
            significands(&theirs),
            "{}",
            tensor.name
        );
        let magnitudes: HashSet<u32> = ours.iter().map(|v| v.abs().to_bits()).collect();
        let known = |v: &&f32| {
            [0.25f32, 0.5, 1.0, 2.0, 4.0]
                .iter()
                .any(|s| magnitudes.contains(&(v.abs() * s).to_bits()))
        };
        assert_eq!(
            theirs.iter().filter(known).count(),
            theirs.len(),
            "{}",
            tensor.name
        );
        values += ours.len() as u64;
        moved += ours.iter().zip(&theirs).filter(|(a, b)| a != b).count() as u64;
    }
    println!("{values} values, {moved} changed place or sign or scale, all of them plain values");
    assert!(moved * 10 > values * 9);
}

/// How often each of the 128 significands of bf16 occurs, and zero.
fn significands(values: &[f32]) -> Vec<u64> {
    let mut counts = vec![0u64; 129];
    for value in values {
        let place = if *value == 0.0 {
            128
        } else {
            (value.to_bits() >> 16 & 0x7f) as usize
        };
        counts[place] += 1;
    }
    counts
}

fn fidelity(profile: Profile, dtype: Dtype) -> Option<(Fidelity, Limits)> {
    let dir = smollm2()?;
    let scratch = tempfile::tempdir().unwrap();
    let out = scratch.path().join("encrypted");
    let vocabulary = encrypted(&dir, &out, profile, dtype);
    let owner = Owner::open(&dir).unwrap();
    let prompt = |text: &&str| {
        let message = Message {
            role: "user".into(),
            content: (*text).into(),
        };
        owner.prompt(&[message]).unwrap()
    };
    let prompts: Vec<_> = PROMPTS.iter().map(prompt).collect();
    let load = |dir: &Path| Decoder::load(&Checkpoint::open(dir).unwrap(), Precision::F32).unwrap();
    let fidelity = compare(
        &load(&dir),
        &load(&out),
        &vocabulary,
        &prompts,
        GREEDY_TOKENS,
    )
    .unwrap();
    println!("{profile:?} {dtype:?}: {fidelity:?}");
    let manifest = std::fs::read(out.join("equicrypt.json")).unwrap();
    let limits = Limits::of(&equicrypt_spec::Manifest::parse(&manifest).unwrap());
    Some((fidelity, limits))
}

#[test]
fn permute_answers_like_the_plain_model() {
    let Some((fidelity, limits)) = fidelity(Profile::Permute, Dtype::Bf16) else {
        return;
    };
    assert!(limits.hold(&fidelity) && limits.mean_kl <= 1e-5 && limits.greedy_identical);
    assert_eq!(fidelity.greedy_match_lengths, [GREEDY_TOKENS; 20]);
    assert_eq!(fidelity.top1_agreement, 1.0);
}

#[test]
fn rotate_in_f32_answers_like_the_plain_model() {
    let Some((fidelity, limits)) = fidelity(Profile::Rotate, Dtype::F32) else {
        return;
    };
    assert!(limits.hold(&fidelity) && limits.mean_kl <= 1e-5 && limits.greedy_identical);
    assert_eq!(fidelity.greedy_match_lengths, [GREEDY_TOKENS; 20]);
}

#[test]
fn rotate_in_bf16_stays_near_the_plain_model() {
    let Some((fidelity, limits)) = fidelity(Profile::Rotate, Dtype::Bf16) else {
        return;
    };
    assert!(limits.hold(&fidelity));
    assert!(fidelity.mean_kl <= 1e-3 && fidelity.top1_agreement >= 0.98);
    assert!(
        fidelity.mean_kl > 1e-7,
        "rounding every weight cannot be free: is it rotated at all?"
    );
}

#[test]
fn the_encrypted_config_states_no_special_id() {
    let Some(dir) = smollm2() else { return };
    let scratch = tempfile::tempdir().unwrap();
    let out = scratch.path().join("encrypted");
    encrypted(&dir, &out, Profile::Rotate, Dtype::Bf16);
    let checkpoint = Checkpoint::open(&out).unwrap();
    let config = checkpoint.config();
    for field in ["bos_token_id", "eos_token_id", "pad_token_id"] {
        assert!(
            config.get(field).is_some_and(serde_json::Value::is_null),
            "{field}"
        );
    }
    let config = ModelConfig::from_json(config).unwrap();
    assert!(!config.tied_head);
    let head = config.architecture.row(Role::Head, &config, None).unwrap();
    assert!(checkpoint.tensor(head.name).is_some());
}
