//! Every architecture with its linear layers at two hosts, against the engine alone in f64 with the same rounded weights.
#![allow(clippy::unwrap_used, reason = "a test that fails may panic")]

mod support;

use std::sync::Arc;

use equicrypt_engine::{Part, Precision, Text};
use equicrypt_shares::{HeadPlace, RemoteOptions};
use support::{Host, Scene, config, configs, largest_difference, patient, run, tokens};

const TOLERANCE: f64 = 1e-9;

#[test]
fn decoders_at_two_hosts_are_the_decoder_of_the_rounded_weights() {
    for (arch, json) in configs(|arch| !arch.is_encoder()) {
        let scene = Scene::new(&json);
        let (a, b) = (scene.host("a"), scene.host("b"));
        let remote = scene.remote_with(&a.address, &b.address, patient());
        let (here, there) = (
            scene.rounded_decoder(),
            remote.decoder(Precision::F64).unwrap(),
        );
        let prompt = tokens(9, here.config().vocab_size, 1);
        let mut caches = (here.new_cache(), there.new_cache());
        // A prompt, and then tokens one by one.
        for tokens in [&prompt[..6], &prompt[6..7], &prompt[7..8], &prompt[8..]] {
            let expected = run(&here, &mut caches.0, tokens);
            let found = run(&there, &mut caches.1, tokens);
            let difference = largest_difference(&expected, &found);
            assert!(difference < TOLERANCE, "{arch}: {difference:e}");
        }
        let traffic = remote.traffic();
        assert_eq!((traffic.sessions, traffic.tokens), (1, 9), "{arch}");
    }
}

#[test]
fn encoders_at_two_hosts_are_the_encoder_of_the_rounded_weights() {
    for (arch, json) in configs(|arch| arch.is_encoder()) {
        let scene = Scene::new(&json);
        let (a, b) = (scene.host("a"), scene.host("b"));
        let options = RemoteOptions {
            stock: 0,
            ..patient()
        };
        let remote = scene.remote_with(&a.address, &b.address, options);
        let (here, there) = (
            scene.rounded_encoder(),
            remote.encoder(Precision::F64).unwrap(),
        );
        let long = tokens(9, here.config().vocab_size, 1);
        let texts = [&long[..], &long[3..7]].map(|tokens| Text {
            tokens,
            token_types: &[],
        });
        let mut compared = 0;
        for part in [Part::TokenVectors, Part::Pooled, Part::Answer] {
            let Ok(expected) = here.forward(&texts, part) else {
                continue;
            };
            let found = there.forward(&texts, part).unwrap();
            for (a, b) in expected.iter().zip(&found) {
                let difference = largest_difference(&a.to_f64(), &b.to_f64());
                assert!(difference < TOLERANCE, "{arch} {part:?}: {difference:e}");
            }
            compared += 1;
        }
        assert!(compared > 0, "{arch}");
    }
}

#[test]
fn sealed_connections_carry_the_same() {
    let scene = Scene::new(&config("llama"));
    let any = "127.0.0.1:0".parse().unwrap();
    let [a, b] = [(); 2].map(|()| Host::start(Arc::clone(&scene.model), &any));
    let remote = scene.remote_with(&a.address, &b.address, patient());
    let (here, there) = (
        scene.rounded_decoder(),
        remote.decoder(Precision::F64).unwrap(),
    );
    let prompt = tokens(11, here.config().vocab_size, 2);
    let expected = run(&here, &mut here.new_cache(), &prompt);
    let found = run(&there, &mut there.new_cache(), &prompt);
    assert!(largest_difference(&expected, &found) < TOLERANCE);
}

#[test]
fn a_head_may_stay_with_the_owner() {
    let untied = configs(|arch| !arch.is_encoder())
        .into_iter()
        .filter(|(_, json)| json["tie_word_embeddings"] == false)
        .take(3);
    for (arch, json) in untied {
        let remote = Scene::new(&json);
        let local = Scene::with_head(&json, HeadPlace::Local);
        let logits = |scene: &Scene| {
            let (a, b) = (scene.host("a"), scene.host("b"));
            let remote = scene.remote_with(&a.address, &b.address, patient());
            let decoder = remote.decoder(Precision::F64).unwrap();
            let prompt = tokens(5, decoder.config().vocab_size, 3);
            let logits = run(&decoder, &mut decoder.new_cache(), &prompt);
            (logits, remote.traffic().a.received)
        };
        let ((expected, more), (found, less)) = (logits(&remote), logits(&local));
        assert!(less < more, "{arch}");
        // The head that stays has its weights unrounded.
        assert!(largest_difference(&expected, &found) < 1e-2, "{arch}");
    }
}

#[test]
fn f32_decoders_are_near() {
    let scene = Scene::new(&config("qwen2"));
    let (a, b) = (scene.host("a"), scene.host("b"));
    let remote = scene.remote_with(&a.address, &b.address, patient());
    let (here, there) = (
        scene.rounded_decoder(),
        remote.decoder(Precision::F32).unwrap(),
    );
    let prompt = tokens(9, here.config().vocab_size, 4);
    let expected = run(&here, &mut here.new_cache(), &prompt);
    let found = run(&there, &mut there.new_cache(), &prompt);
    assert!(largest_difference(&expected, &found) < 1e-4);
}
