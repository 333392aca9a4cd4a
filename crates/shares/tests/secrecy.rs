//! What each host sees.
#![allow(clippy::unwrap_used, reason = "a test that fails may panic")]

mod support;

use std::collections::{BTreeMap, HashSet};
use std::sync::{Arc, Mutex};

use equicrypt_engine::Precision;
use equicrypt_ring::{MaskSeed, Modulus, PRIMES, Residues, expand};
use serde_json::json;
use support::tap::Tap;
use support::uniform::{deviation, histogram};
use support::{Scene, config, configs, patient, run, tokens};

/// A host's view of a conversation over a small field, with masks that run through all of it: two linear layers with something
/// in between that is not linear, so that the second question depends on the answer to the first one.
fn views_of_a(prime: Modulus, prompt: [u32; 2]) -> BTreeMap<[u32; 3], usize> {
    let p = prime.get();
    let mut views = BTreeMap::new();
    for masks in 0..p.pow(3) {
        let mask = [masks % p, masks / p % p, masks / p / p];
        let first = [0, 1].map(|i| prime.subtract(prompt[i], mask[i]));
        let weights = [2 % p, 3 % p];
        let dot = |x: [u32; 2]| {
            prime.add(
                prime.multiply(weights[0], x[0]),
                prime.multiply(weights[1], x[1]),
            )
        };
        let y = prime.add(dot(first), dot([mask[0], mask[1]]));
        assert_eq!(y, dot(prompt));
        let between = prime.add(prime.multiply(y, y), 1 % p);
        let second = prime.subtract(between, mask[2]);
        *views.entry([first[0], first[1], second]).or_insert(0) += 1;
    }
    views
}

/// Exhaustively: each view of A is as frequent for one prompt as for any other, and for each prompt and each view there is a mask
/// that explains it.
#[test]
fn a_sees_the_same_whatever_the_prompt_is() {
    for prime in [2, 3, 5, 7].map(Modulus::new) {
        let p = prime.get();
        let of_zeros = views_of_a(prime, [0, 0]);
        assert_eq!(of_zeros.len(), p.pow(3) as usize);
        assert!(of_zeros.values().all(|count| *count == 1));
        for prompt in 0..p * p {
            assert_eq!(views_of_a(prime, [prompt % p, prompt / p]), of_zeros);
        }
    }
}

fn wide() -> serde_json::Value {
    json!({
        "model_type": "llama", "vocab_size": 97, "hidden_size": 192, "intermediate_size": 512,
        "num_hidden_layers": 4, "num_attention_heads": 4, "num_key_value_heads": 2,
        "max_position_embeddings": 700, "tie_word_embeddings": true,
    })
}

/// 1.7 million residues of A for each prime, 200 thousand of B, and the same prompt over and over: the least random of all.
#[test]
fn what_both_hosts_see_is_uniform() {
    let scene = Scene::new(&wide());
    let (a, b) = (scene.host("a"), scene.host("b"));
    let tap_a = Tap::new(&scene.socket("tap-a"), &a.address);
    let tap_b = Tap::new(&scene.socket("tap-b"), &b.address);
    let remote = scene.remote_with(&tap_a.address, &tap_b.address, patient());
    let decoder = remote.decoder(Precision::F32).unwrap();
    run(&decoder, &mut decoder.new_cache(), &[5; 400]);

    let view = tap_a.view.lock().unwrap();
    assert!(view.seeds.is_empty() && view.masks.is_empty());
    let view_b = tap_b.view.lock().unwrap();
    assert!(view_b.vectors.is_empty() && view_b.seeds.len() == 1);
    let mut masks = Residues::zeros(400, 512);
    expand(&MaskSeed::from_bytes(view_b.seeds[0].0), 0..400, &mut masks);
    for which in [0, 1] {
        let mut counts = [0; 1024];
        view.vectors
            .iter()
            .for_each(|(_, seen)| histogram(seen, which, &mut counts));
        assert!(counts.iter().sum::<u64>() > 1_700_000);
        assert!(
            deviation(&counts).abs() < 5.0,
            "A, {which}: {}",
            deviation(&counts)
        );
        let mut counts = [0; 1024];
        histogram(&masks, which, &mut counts);
        assert!(
            deviation(&counts).abs() < 5.0,
            "B, {which}: {}",
            deviation(&counts)
        );
    }
    // What is masked is far from uniform, by the same measure.
    let mut plain = Residues::zeros(400, 192);
    let x = vec![0.25; 192];
    for row in 0..400 {
        equicrypt_ring::Scaled::quantise(&x, plain.row_mut(row)).unwrap();
    }
    let mut counts = [0; 1024];
    histogram(&plain, 0, &mut counts);
    assert!(deviation(&counts) > 1e3);
    // No vector that A saw came twice, though the prompt is one token, four hundred times.
    let rows = view
        .vectors
        .iter()
        .flat_map(|(_, seen)| (0..seen.rows()).map(|row| seen.row(row)));
    let mut distinct = HashSet::new();
    assert!(rows.into_iter().all(|row| distinct.insert(row)));
}

/// The lengths, layers and order of all that both hosts see depend on the number of tokens alone.
#[test]
fn the_shape_of_a_conversation_does_not_depend_on_the_prompt() {
    for (arch, json) in configs(|arch| !arch.is_encoder()) {
        let scene = Scene::new(&json);
        let (a, b) = (scene.host("a"), scene.host("b"));
        let shapes = [1, 2].map(|seed| {
            let tap_a = Tap::new(&scene.socket(&format!("a{seed}")), &a.address);
            let tap_b = Tap::new(&scene.socket(&format!("b{seed}")), &b.address);
            let remote = scene.remote_with(&tap_a.address, &tap_b.address, patient());
            let decoder = remote.decoder(Precision::F64).unwrap();
            let prompt = tokens(8, decoder.config().vocab_size, seed);
            let mut cache = decoder.new_cache();
            run(&decoder, &mut cache, &prompt[..6]);
            run(&decoder, &mut cache, &prompt[6..7]);
            run(&decoder, &mut cache, &prompt[7..]);
            let (a, b) = (tap_a.view.lock().unwrap(), tap_b.view.lock().unwrap());
            let vectors = a
                .vectors
                .iter()
                .map(|(layer, seen)| (*layer, seen.rows(), seen.width()));
            assert_eq!(b.repeated, 0);
            (vectors.collect::<Vec<_>>(), b.masks.clone())
        });
        assert_eq!(shapes[0], shapes[1], "{arch}");
    }
}

/// Whatever A sees of one session tells nothing of another one's masks: seeds differ.
#[test]
fn every_session_has_masks_of_its_own() {
    let scene = Scene::new(&config("llama"));
    let (a, b) = (scene.host("a"), scene.host("b"));
    let tap_b = Tap::new(&scene.socket("tap-b"), &b.address);
    for _ in 0..4 {
        let remote = scene.remote_with(&a.address, &tap_b.address, patient());
        let decoder = remote.decoder(Precision::F64).unwrap();
        run(&decoder, &mut decoder.new_cache(), &[1, 2, 3]);
    }
    let view = tap_b.view.lock().unwrap();
    let seeds: HashSet<_> = view.seeds.iter().map(|(seed, _)| *seed).collect();
    assert_eq!((seeds.len(), view.repeated), (4, 0));
}

/// What an attacker is given of tokens, and which they are: a vector each.
struct Vectors {
    tokens: Vec<u32>,
    rows: Vec<Vec<f64>>,
}

impl Vectors {
    fn of(tokens: &[u32], residues: &[Residues]) -> Self {
        let half = f64::from(PRIMES[0].get()) / 2.0;
        let centred = |value: &u32| match f64::from(*value) {
            value if value > half => value - 2.0 * half,
            value => value,
        };
        let rows = residues.iter().flat_map(|residues| {
            let row = |row| residues.row(row)[0].iter().map(centred).collect();
            (0..residues.rows()).map(row).collect::<Vec<Vec<f64>>>()
        });
        let rows: Vec<_> = rows.collect();
        assert_eq!(tokens.len(), rows.len());
        Self {
            tokens: tokens.to_vec(),
            rows,
        }
    }

    /// `embedding-inversion`: each vector is named after the nearest one that is known, by cosine.
    fn named_rightly(&self, known: &Self) -> usize {
        let cosine = |a: &[f64], b: &[f64]| {
            let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
            dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()
        };
        let nearest = |row: &Vec<f64>| {
            let places = 0..known.rows.len();
            let near = |place: &usize| cosine(row, &known.rows[*place]);
            let place = places.max_by(|a, b| near(a).total_cmp(&near(b))).unwrap();
            known.tokens[place]
        };
        let pairs = self.rows.iter().zip(&self.tokens);
        pairs.filter(|(row, token)| nearest(row) == **token).count()
    }
}

/// What A was sent, and which masks were on it.
type Views = Vec<(Residues, Vec<u64>)>;

/// The attacks that a host's view admits: there are no ids to count, no weights but public ones, so what is left is to compare vectors
/// with those of known tokens, computed from the public weights or seen before under known prompts. Both read everything from what the
/// two hosts have together, and guess blindly at what one has.
#[test]
fn attacks_on_one_host_guess_blindly_and_on_both_read_everything() {
    let scene = Scene::new(&wide());
    let (a, b) = (scene.host("a"), scene.host("b"));
    let tap_b = Tap::new(&scene.socket("tap-b"), &b.address);
    let remote = scene.remote_with(&a.address, &tap_b.address, patient());
    let views: Arc<Mutex<Views>> = Arc::default();
    let seen_by = Arc::clone(&views);
    remote.watch(move |seen| {
        if seen.layer == 0 {
            let view = (seen.to_a.clone(), seen.to_b.to_vec());
            seen_by.lock().unwrap().push(view);
        }
    });
    let decoder = remote.decoder(Precision::F32).unwrap();
    let vocab = decoder.config().vocab_size as u32;
    // Every token once, in a prompt that is known; then a secret one.
    let known: Vec<u32> = (0..vocab).collect();
    let secret = tokens(400, vocab as usize, 7);
    let mut of_a = Vec::new();
    let mut of_both = Vec::new();
    for prompt in [&known, &secret] {
        views.lock().unwrap().clear();
        run(&decoder, &mut decoder.new_cache(), prompt);
        let seed = MaskSeed::from_bytes(tap_b.view.lock().unwrap().seeds[0].0);
        let (mut sent, mut unmasked) = (Vec::new(), Vec::new());
        for (to_a, counters) in views.lock().unwrap().drain(..) {
            let mut masks = Residues::zeros(to_a.rows(), to_a.width());
            expand(&seed, counters.iter().copied(), &mut masks);
            masks.add(&to_a).unwrap();
            sent.push(to_a);
            unmasked.push(masks);
        }
        of_a.push(Vectors::of(prompt, &sent));
        of_both.push(Vectors::of(prompt, &unmasked));
    }
    assert_eq!(of_both[1].named_rightly(&of_both[0]), secret.len());
    // Blindly: 400 / 97, give or take 2.
    let chance = 400.0 / f64::from(vocab);
    let likely = chance - 5.0 * chance.sqrt()..chance + 5.0 * chance.sqrt();
    for known in [&of_a[0], &of_both[0]] {
        let right = of_a[1].named_rightly(known) as f64;
        assert!(likely.contains(&right), "{right} of 400");
    }
}
