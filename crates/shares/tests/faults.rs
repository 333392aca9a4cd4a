//! Hosts that are wrong, slow, dead, restarted, or have another model.
#![allow(clippy::unwrap_used, reason = "a test that fails may panic")]

mod support;

use std::collections::HashSet;
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::sync::Arc;
use std::time::{Duration, Instant};

use equicrypt_engine::{Decoder, Precision};
use equicrypt_linear_host::LinearModel;
use equicrypt_sealed::Address;
use equicrypt_shares::{OwnerModel, Remote, RemoteOptions};
use serde_json::json;
use support::tap::{Meddle, Tap};
use support::{Host, Scene, config, folder, largest_difference, patient, run, try_run};

const PROMPT: [u32; 5] = [3, 1, 4, 1, 5];

/// What a failing request says.
fn failure(decoder: &Decoder) -> String {
    let mut cache = decoder.new_cache();
    let error = try_run(decoder, &mut cache, &PROMPT).unwrap_err();
    assert_eq!(cache.len(), 0);
    error.to_string()
}

fn small() -> Scene {
    Scene::new(&json!({
        "model_type": "llama", "vocab_size": 31, "hidden_size": 8, "intermediate_size": 12,
        "num_hidden_layers": 1, "num_attention_heads": 2, "num_key_value_heads": 1,
        "max_position_embeddings": 64, "tie_word_embeddings": true,
    }))
}

#[test]
fn every_kind_of_flipped_bit_is_caught_and_its_host_named() {
    let scene = small();
    let (a, b) = (scene.host("a"), scene.host("b"));
    let tap_a = Tap::new(&scene.socket("tap-a"), &a.address);
    let tap_b = Tap::new(&scene.socket("tap-b"), &b.address);
    let options = RemoteOptions {
        stock: 0,
        lookahead: 0,
        ..patient()
    };
    let remote = scene.remote_with(&tap_a.address, &tap_b.address, options);
    let decoder = remote.decoder(Precision::F64).unwrap();
    let expected = run(&decoder, &mut decoder.new_cache(), &PROMPT);
    // All four layers, and a row of the answer: of both primes each bit of the first and the last number.
    let widths = [16, 8, 24, 8];
    let mut caught = 0;
    for (tap, name) in [(&tap_a, "A"), (&tap_b, "B")] {
        for (answer, width) in widths.into_iter().enumerate() {
            for number in [0, width - 1, width, 2 * width - 1, 10 * width - 1] {
                for bit in [0, 1, 15, 29, 30, 31] {
                    remote.connect().unwrap();
                    tap.set(Meddle::Flip {
                        answer,
                        bit: 32 * number + bit,
                    });
                    let message = failure(&decoder);
                    assert!(
                        message.contains(&format!("host {name} (unix:")),
                        "{message}"
                    );
                    caught += 1;
                    tap.set(Meddle::Nothing);
                }
            }
        }
    }
    assert_eq!(caught, 2 * 4 * 5 * 6);
    let found = run(&decoder, &mut decoder.new_cache(), &PROMPT);
    assert!(largest_difference(&expected, &found) < 1e-9);
    assert_eq!(tap_b.view.lock().unwrap().repeated, 0);
}

#[test]
fn answers_that_were_not_asked_for_are_refused() {
    let scene = small();
    let (a, b) = (scene.host("a"), scene.host("b"));
    let tap_a = Tap::new(&scene.socket("tap-a"), &a.address);
    let remote = scene.remote_with(&tap_a.address, &b.address, patient());
    let decoder = remote.decoder(Precision::F64).unwrap();
    for (meddle, expected) in [
        (Meddle::Renumber { answer: 1 }, "the answer to question"),
        (Meddle::Shorten { answer: 2 }, "found 5 vectors of 23"),
    ] {
        tap_a.set(meddle);
        let message = failure(&decoder);
        assert!(
            message.contains("host A") && message.contains(expected),
            "{message}"
        );
        tap_a.set(Meddle::Nothing);
        run(&decoder, &mut decoder.new_cache(), &PROMPT);
    }
}

/// Each host is cut off in the middle of each answer of a conversation, and the conversation goes on with a new session.
#[test]
fn no_mask_is_used_twice_whoever_dies_and_when() {
    let scene = Scene::new(&config("qwen3"));
    let (a, b) = (scene.host("a"), scene.host("b"));
    let tap_a = Tap::new(&scene.socket("tap-a"), &a.address);
    let tap_b = Tap::new(&scene.socket("tap-b"), &b.address);
    let options = RemoteOptions {
        stock: 2,
        ..patient()
    };
    let remote = scene.remote_with(&tap_a.address, &tap_b.address, options);
    let decoder = remote.decoder(Precision::F64).unwrap();
    let expected = run(&decoder, &mut decoder.new_cache(), &PROMPT);
    let mut failed = 0;
    for (tap, name) in [(&tap_a, "A"), (&tap_b, "B")] {
        for answer in 0..8 {
            // A conversation that is open.
            let mut cache = decoder.new_cache();
            let mut logits = run(&decoder, &mut cache, &PROMPT[..2]);
            tap.set(Meddle::Cut { answer });
            for token in &PROMPT[2..] {
                let before = cache.len();
                let mut next = try_run(&decoder, &mut cache, &[*token]);
                if let Err(error) = &next {
                    assert!(
                        error.to_string().contains(&format!("host {name}")),
                        "{error}"
                    );
                    assert_eq!(cache.len(), before);
                    tap.set(Meddle::Nothing);
                    next = try_run(&decoder, &mut cache, &[*token]);
                    failed += 1;
                }
                logits.extend(next.unwrap());
            }
            tap.set(Meddle::Nothing);
            assert!(largest_difference(&expected, &logits) < 1e-9);
        }
    }
    let (seen_a, seen_b) = (tap_a.view.lock().unwrap(), tap_b.view.lock().unwrap());
    // That B is gone is sometimes seen before it is asked again: then nothing fails.
    assert!(failed >= 8, "{failed}");
    assert!(seen_b.seeds.len() >= 16, "{}", seen_b.seeds.len());
    let seeds: HashSet<_> = seen_b.seeds.iter().map(|(seed, _)| *seed).collect();
    assert_eq!(seeds.len(), seen_b.seeds.len());
    assert_eq!(seen_b.repeated, 0);
    let rows = seen_a
        .vectors
        .iter()
        .flat_map(|(_, seen)| (0..seen.rows()).map(|row| seen.row(row)));
    let mut distinct = HashSet::new();
    assert!(
        rows.into_iter().all(|row| distinct.insert(row)),
        "a vector came twice"
    );
}

#[test]
fn a_host_may_be_restarted_between_and_within_requests() {
    let scene = Scene::new(&config("llama"));
    let (mut a, mut b) = (scene.host("a"), scene.host("b"));
    let (tap_a, tap_b) = (
        Tap::new(&scene.socket("tap-a"), &a.address),
        Tap::new(&scene.socket("tap-b"), &b.address),
    );
    let remote = scene.remote_with(&tap_a.address, &tap_b.address, patient());
    let decoder = remote.decoder(Precision::F64).unwrap();
    let expected = run(&decoder, &mut decoder.new_cache(), &PROMPT);
    for round in 0..4 {
        // A host that is gone is seen before it is asked, or when it is: then one request fails and names it.
        let name = if round % 2 == 0 {
            drop(a);
            a = scene.host("a");
            "A"
        } else {
            drop(b);
            b = scene.host("b");
            "B"
        };
        let mut cache = decoder.new_cache();
        let found = try_run(&decoder, &mut cache, &PROMPT).unwrap_or_else(|error| {
            assert!(
                error.to_string().contains(&format!("host {name}")),
                "{error}"
            );
            run(&decoder, &mut cache, &PROMPT)
        });
        assert!(largest_difference(&expected, &found) < 1e-9);
    }
    drop((a, b));
    let message = failure(&decoder);
    assert!(
        message.contains("host A") || message.contains("host B"),
        "{message}"
    );
    let seen = tap_b.view.lock().unwrap();
    assert!(seen.seeds.len() >= 5 && seen.repeated == 0);
}

#[test]
fn a_host_that_is_not_there_is_named() {
    let scene = small();
    let a = scene.host("a");
    let missing = format!("unix:{}", scene.socket("b").display());
    let remote = scene.remote_with(&a.address, &missing.parse().unwrap(), patient());
    let message = failure(&remote.decoder(Precision::F64).unwrap());
    assert!(message.contains("host B (unix:"), "{message}");
}

#[test]
fn a_slow_host_is_waited_for_as_long_as_agreed() {
    let scene = small();
    let (a, b) = (scene.host("a"), scene.host("b"));
    for (slow, name) in [("a", "A"), ("b", "B")] {
        let host = if slow == "a" { &a } else { &b };
        let tap = Tap::new(&scene.socket(&format!("tap-{slow}")), &host.address);
        let options = RemoteOptions {
            timeout: Duration::from_millis(1500),
            ..RemoteOptions::default()
        };
        let hosts = match slow {
            "a" => [&tap.address, &b.address],
            _ => [&a.address, &tap.address],
        };
        let remote = scene.remote_with(hosts[0], hosts[1], options);
        let decoder = remote.decoder(Precision::F64).unwrap();
        let by = Duration::from_secs(20);
        tap.set(Meddle::Delay { answer: 1, by });
        let start = Instant::now();
        let message = failure(&decoder);
        assert!(start.elapsed() < Duration::from_secs(15));
        let expected = format!("host {name}");
        assert!(
            message.contains(&expected) && message.contains("1.5s"),
            "{message}"
        );
        tap.set(Meddle::Nothing);
        run(&decoder, &mut decoder.new_cache(), &PROMPT);
    }
}

#[test]
fn another_model_is_refused_by_its_digest() {
    let scene = small();
    let a = scene.host("a");
    let other = folder(&scene.dir.path().join("other"), &config("qwen2"));
    let other = Arc::new(LinearModel::load(&other).unwrap());
    let digest = other.digest();
    let b = Host::start(other, &Address::Unix(scene.socket("b")));
    let remote = scene.remote_with(&a.address, &b.address, patient());
    let message = failure(&remote.decoder(Precision::F64).unwrap());
    assert!(message.contains("host B"), "{message}");
    for digest in [digest, scene.owner.digest()] {
        assert!(message.contains(&digest.to_string()), "{message}");
    }
}

#[test]
fn another_version_is_named() {
    let scene = small();
    let a = scene.host("a");
    let listener = UnixListener::bind(scene.socket("old")).unwrap();
    let old = std::thread::spawn(move || {
        let (mut owner, _) = listener.accept().unwrap();
        owner.read_exact(&mut [0; 40]).unwrap();
        owner.write_all(&[0, 0, 0, 0, 9, 17, 0, 0]).unwrap();
    });
    let old_address = format!("unix:{}", scene.socket("old").display());
    let remote = scene.remote_with(&a.address, &old_address.parse().unwrap(), patient());
    let message = remote.connect().unwrap_err().to_string();
    assert!(
        message.contains("host B") && message.contains("found 9"),
        "{message}"
    );
    old.join().unwrap();
}

#[test]
fn one_host_for_both_is_refused() {
    let scene = small();
    let a = scene.host("a");
    let both = [a.address.clone(), a.address.clone()];
    let owner = Arc::clone(&scene.owner);
    let error = Remote::new(owner, both, patient()).err().unwrap();
    assert!(error.to_string().contains("do not collude"), "{error}");
}

#[test]
fn check_vectors_that_others_can_read_or_that_are_damaged_are_refused() {
    let scene = small();
    let dir = scene.dir.path().join("owner");
    let file = dir.join("check-vectors.bin");
    let mode = file.metadata().unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let open = || OwnerModel::open(&dir).err().unwrap().to_string();
    let set = |mode| std::fs::set_permissions(&file, PermissionsExt::from_mode(mode)).unwrap();
    set(0o644);
    assert!(open().contains("644"));
    set(0o600);
    let bytes = std::fs::read(&file).unwrap();
    for bad in [&bytes[..bytes.len() - 1], &bytes[1..], &[]] {
        std::fs::write(&file, bad).unwrap();
        let message = open();
        assert!(message.contains("check-vectors.bin"), "{message}");
    }
    std::fs::write(&file, &bytes).unwrap();
    OwnerModel::open(&dir).unwrap();
}
