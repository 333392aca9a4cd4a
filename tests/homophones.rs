//! Homophones: every one of them has the plain id's logit, and plain ids are drawn as from the plain model.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

#[path = "cli_support/chat_model.rs"]
#[allow(dead_code, unreachable_pub, reason = "this test uses a part of it")]
mod chat_model;
mod support;

use std::path::{Path, PathBuf};

use equicrypt_checkpoint::{Checkpoint, Dtype};
use equicrypt_cipher::{Vocabulary, encrypt_with_homophones};
use equicrypt_engine::Sampler;
use equicrypt_gateway::{Owner, Sampling, Session};
use equicrypt_spec::Profile;
use equicrypt_spec::wire::SamplingParams;
use support::{
    GQA, difference, golden_configs, homophones, key, logits, options, random_model, tampered,
};

const TOLERANCE: f64 = 1e-9;
const BROKEN: f64 = 1e-2;
const SAMPLES: usize = 200_000;

fn encrypted(plain: &Path, out: &Path, byte: u8, profile: Profile, extra: usize) -> Vocabulary {
    let source = Checkpoint::open(plain).unwrap();
    let (key, options) = (key(byte), options(profile));
    let homophones = homophones(plain, extra);
    let summary = encrypt_with_homophones(&source, out, &key, &options, &homophones, &|_| ());
    Vocabulary::open(&key, &summary.unwrap().manifest).unwrap()
}

#[test]
fn every_homophone_has_the_plain_logit_in_every_architecture() {
    for (seed, (name, config)) in golden_configs().into_iter().enumerate() {
        let dir = tempfile::tempdir().unwrap();
        let plain = random_model(&dir.path().join("plain"), &config, Dtype::F64, seed as u64);
        for profile in [Profile::Permute, Profile::Rotate] {
            let out = dir.path().join(profile.name());
            let vocabulary = encrypted(&plain, &out, seed as u8, profile, 37);
            assert_eq!(vocabulary.size(), vocabulary.plain_size() + 37);
            let difference = difference(&plain, &out, &vocabulary, seed as u64);
            assert!(difference < TOLERANCE, "{name} {profile:?}: {difference:e}");
        }
    }
}

/// A homophone with the row of another id breaks the model, in the embedding as in the head.
#[test]
fn a_wrong_copy_breaks() {
    let dir = tempfile::tempdir().unwrap();
    let plain = random_model(&dir.path().join("plain"), &GQA.config(), Dtype::F64, 4);
    let out = dir.path().join("encrypted");
    let vocabulary = encrypted(&plain, &out, 4, Profile::Permute, 300);
    assert!(difference(&plain, &out, &vocabulary, 4) < TOLERANCE);
    let (_, class) = vocabulary.homophonic_classes().next().unwrap();
    let other = *vocabulary.class(60).unwrap().first().unwrap() as usize;
    for tensor in ["model.embed_tokens.weight", "lm_head.weight"] {
        let moved = dir.path().join(tensor);
        tampered(&out, &moved, &mut |name, values| {
            if name == tensor {
                for homophone in class {
                    let from = other * 24;
                    values.copy_within(from..from + 24, *homophone as usize * 24);
                }
            }
        });
        // The prompt has to use it.
        let worst = (0..20).map(|seed| difference(&plain, &moved, &vocabulary, seed));
        assert!(worst.fold(0.0, f64::max) > BROKEN, "{tensor}");
    }
}

/// A model with its encryption, and the logits of both behind the same text.
struct Pair {
    session: Session,
    vocabulary: Vocabulary,
    plain: Vec<f32>,
    cipher: Vec<f32>,
    _dir: tempfile::TempDir,
}

fn pair(extra: usize) -> Pair {
    let dir = tempfile::tempdir().unwrap();
    let plain: PathBuf = dir.path().join("plain");
    chat_model::write(&plain, 8);
    let out = dir.path().join("encrypted");
    let vocabulary = encrypted(&plain, &out, 8, Profile::Permute, extra);
    let manifest = std::fs::read(out.join("equicrypt.json")).unwrap();
    let manifest = equicrypt_spec::Manifest::parse(&manifest).unwrap();
    let session = Session::open(Owner::open(&plain).unwrap(), &key(8), &manifest).unwrap();
    let prompt = [3, 14, 15, 9, 26, 5];
    let last = |dir: &Path, ids: &[u32]| -> Vec<f32> {
        let logits = logits(dir, ids).pop().unwrap();
        logits.iter().map(|logit| *logit as f32).collect()
    };
    Pair {
        plain: last(&plain, &prompt),
        cipher: last(&out, vocabulary.encrypt(&prompt).unwrap().as_slice()),
        session,
        vocabulary,
        _dir: dir,
    }
}

fn draws(params: &SamplingParams, logits: &[f32], seed: u64, count: usize) -> Vec<u32> {
    let mut sampler = Sampler::new(params, &[], &[], seed, 0);
    (0..count)
        .map(|_| sampler.sample(logits).unwrap().id)
        .collect()
}

/// What a host is sent.
fn params(sampling: &Sampling) -> SamplingParams {
    SamplingParams {
        temperature: sampling.temperature,
        top_p: sampling.top_p,
        top_k: sampling.top_k as i64,
        min_p: sampling.min_p,
        presence_penalty: sampling.presence_penalty,
        frequency_penalty: sampling.frequency_penalty,
        logit_bias: sampling.bias.pairs().collect(),
        ..SamplingParams::default()
    }
}

/// Chi-square in units of its 0.1 % point, by Wilson and Hilferty's approximation: above 1 the draws are not of this
/// distribution. Values expected less than ten times are taken together.
fn misfit(draws: &[u32], probabilities: &[f64]) -> f64 {
    let mut counts = vec![0.0; probabilities.len()];
    draws.iter().for_each(|id| counts[*id as usize] += 1.0);
    let (mut bins, mut rest) = (Vec::new(), (0.0, 0.0));
    for (count, p) in counts.iter().zip(probabilities) {
        let expected = p * draws.len() as f64;
        if expected < 10.0 {
            rest = (rest.0 + count, rest.1 + expected);
        } else {
            bins.push((*count, expected));
        }
    }
    if rest.1 > 0.0 {
        bins.push(rest);
    }
    let square: f64 = bins.iter().map(|(n, e)| (n - e).powi(2) / e).sum();
    let degrees = bins.len() as f64 - 1.0;
    assert!(degrees > 20.0, "{degrees} degrees of freedom tell little");
    let spread = 2.0 / (9.0 * degrees);
    square / (degrees * (1.0 - spread + 3.09 * spread.sqrt()).powi(3))
}

fn softmax(logits: &[f32], temperature: f64) -> Vec<f64> {
    let weights: Vec<f64> = (logits
        .iter()
        .map(|logit| (f64::from(*logit) / temperature).exp()))
    .collect();
    let all: f64 = weights.iter().sum();
    weights.iter().map(|weight| weight / all).collect()
}

#[test]
fn two_hundred_thousand_draws_are_those_of_the_plain_model() {
    let pair = pair(40);
    let vocabulary = &pair.vocabulary;
    for (seed, temperature) in [(1, 0.5), (2, 1.0), (3, 1.5)] {
        let pure = || Sampling {
            temperature,
            ..Sampling::greedy()
        };
        let expected = softmax(&pair.plain, temperature);
        let sampling = pair.session.sampling(&[], pure()).unwrap();
        let cipher = draws(&params(&sampling), &pair.cipher, seed, SAMPLES);
        let plain = vocabulary.decrypt(&cipher).unwrap();
        let found = misfit(&plain, &expected);
        assert!(found < 1.0, "temperature {temperature}: {found}");
        // And every homophone comes as often as its siblings.
        let ids: Vec<u32> = (0..vocabulary.size() as u32).collect();
        let rows = vocabulary.decrypt(&ids).unwrap().into_iter();
        let shares =
            rows.map(|id| expected[id as usize] / vocabulary.class(id).unwrap().len() as f64);
        let found = misfit(&cipher, &shares.collect::<Vec<_>>());
        assert!(
            found < 1.0,
            "temperature {temperature}, homophones: {found}"
        );
        // Without the correction the test fails, or it would prove nothing.
        let cipher = draws(&params(&pure()), &pair.cipher, seed, SAMPLES);
        let found = misfit(&vocabulary.decrypt(&cipher).unwrap(), &expected);
        assert!(
            found > 10.0,
            "temperature {temperature}, uncorrected: {found}"
        );
    }
}

/// With filters and penalties one homophone of each id is left, and equal seeds draw equal plain ids.
#[test]
fn filters_penalties_and_biases_draw_the_plain_ids() {
    let pair = pair(40);
    let one = || Sampling {
        temperature: 1.2,
        ..Sampling::greedy()
    };
    let cases: [(Sampling, &[(u32, f64)]); 7] = [
        (
            Sampling {
                top_p: 0.8,
                ..one()
            },
            &[],
        ),
        (Sampling { top_k: 9, ..one() }, &[]),
        (
            Sampling {
                min_p: 0.1,
                ..one()
            },
            &[],
        ),
        (
            Sampling {
                presence_penalty: 1.5,
                ..one()
            },
            &[],
        ),
        (
            Sampling {
                frequency_penalty: 0.02,
                ..one()
            },
            &[],
        ),
        (
            Sampling {
                top_p: 0.9,
                ..one()
            },
            &[(0, 3.0), (7, -100.0), (1, 2.0)],
        ),
        (
            Sampling {
                presence_penalty: 0.5,
                ..Sampling::greedy()
            },
            &[(5, 4.0)],
        ),
    ];
    for (case, (sampling, bias)) in cases.into_iter().enumerate() {
        let mut plain = params(&sampling);
        plain.logit_bias = bias.iter().copied().collect();
        let sampling = pair.session.sampling(bias, sampling).unwrap();
        let ours = draws(&plain, &pair.plain, 5, 2000);
        let theirs = draws(&params(&sampling), &pair.cipher, 5, 2000);
        let theirs = pair.vocabulary.decrypt(&theirs).unwrap();
        let same = ours.iter().zip(&theirs).take_while(|(a, b)| a == b).count();
        assert_eq!(same, 2000, "case {case}");
        assert!(
            ours.iter().any(|id| *id != ours[0]) || case == 6,
            "case {case} draws one id only"
        );
    }
}

/// A bias on a plain id is one on all its homophones, beside the correction.
#[test]
fn biased_draws_at_a_temperature_are_those_of_the_plain_model() {
    let pair = pair(40);
    let bias = [(0, 2.5), (1, -1.0), (50, 3.0), (2, -100.0)];
    let mut logits = pair.plain.clone();
    bias.iter()
        .for_each(|(id, value)| logits[*id as usize] += *value as f32);
    let sampling = Sampling {
        temperature: 0.9,
        ..Sampling::greedy()
    };
    let sampling = pair.session.sampling(&bias, sampling).unwrap();
    let cipher = draws(&params(&sampling), &pair.cipher, 6, SAMPLES);
    let found = misfit(
        &pair.vocabulary.decrypt(&cipher).unwrap(),
        &softmax(&logits, 0.9),
    );
    assert!(found < 1.0, "{found}");
}
