//! The real SmolLM2-135M-Instruct at two hosts. Runs where EQUICRYPT_SMOLLM2 names its folder, and says so where it does not.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test may panic, and say what it saw"
)]

mod support;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use equicrypt_checkpoint::Checkpoint;
use equicrypt_engine::{Chunk, Decoder, Precision, Want};
use equicrypt_linear_host::LinearModel;
use equicrypt_ring::{MaskSeed, Residues, expand};
use equicrypt_sealed::Address;
use equicrypt_shares::{OwnerModel, PrepareOptions, Remote, prepare};
use serde_json::Value;
use support::tap::Tap;
use support::uniform::{deviation, histogram};
use support::{Host, patient, run};

const PROMPTS: usize = 20;
const GREEDY_TOKENS: usize = 12;

#[test]
fn answers_are_those_of_the_engine_alone() {
    let Some(folder) = std::env::var_os("EQUICRYPT_SMOLLM2").map(PathBuf::from) else {
        println!("not run: EQUICRYPT_SMOLLM2 names no folder");
        return;
    };
    let dir = tempfile::tempdir().unwrap();
    let checkpoint = Checkpoint::open(&folder).unwrap();
    let owner = dir.path().join("owner");
    prepare(&checkpoint, &owner, &PrepareOptions::default()).unwrap();
    let model = Arc::new(LinearModel::load(&checkpoint).unwrap());
    let [a, b] = ["a", "b"]
        .map(|name| Host::start(Arc::clone(&model), &Address::Unix(dir.path().join(name))));
    let owner = Arc::new(OwnerModel::open(&owner).unwrap());
    let hosts = [a.address.clone(), b.address.clone()];
    let remote = Remote::new(owner, hosts, patient()).unwrap();
    let here = Decoder::load(&checkpoint, Precision::F32).unwrap();
    let there = remote.decoder(Precision::F32).unwrap();

    let vocab = here.config().vocab_size;
    let (mut divergence, mut positions, mut agree) = (0.0, 0, 0);
    for prompt in prompts() {
        let [p, q] = [&here, &there].map(|decoder| run(decoder, &mut decoder.new_cache(), &prompt));
        for (p, q) in p.chunks_exact(vocab).zip(q.chunks_exact(vocab)) {
            divergence += kl(p, q);
            agree += usize::from(largest(p) == largest(q));
            positions += 1;
        }
        assert_eq!(greedy(&here, &prompt), greedy(&there, &prompt));
    }
    let mean = divergence / f64::from(positions);
    println!("{positions} positions: mean KL {mean:e}, top-1 agreement {agree}");
    assert!(mean < 1e-6, "{mean:e}");
    views_are_uniform(&remote_through(&a, &b, dir.path()));
}

/// Hosts behind taps.
struct Tapped {
    remote: Arc<Remote>,
    a: Tap,
    b: Tap,
}

fn remote_through(a: &Host, b: &Host, dir: &Path) -> Tapped {
    let tap = |name: &str, host: &Host| Tap::new(&dir.join(name), &host.address);
    let (a, b) = (tap("tap-a", a), tap("tap-b", b));
    let owner = Arc::new(OwnerModel::open(&dir.join("owner")).unwrap());
    let hosts = [a.address.clone(), b.address.clone()];
    let remote = Remote::new(owner, hosts, patient()).unwrap();
    Tapped { remote, a, b }
}

/// Ten million residues modulo each prime, of both hosts, for one token over and over: the least random prompt of all.
fn views_are_uniform(tapped: &Tapped) {
    let decoder = tapped.remote.decoder(Precision::F32).unwrap();
    run(&decoder, &mut decoder.new_cache(), &[5; 112]);
    let (a, b) = (tapped.a.view.lock().unwrap(), tapped.b.view.lock().unwrap());
    // B has the seed and counters, and makes the masks of them.
    let seed = MaskSeed::from_bytes(b.seeds[0].0);
    for which in [0, 1] {
        let (mut of_a, mut of_b) = ([0; 4096], [0; 4096]);
        (a.vectors.iter()).for_each(|(_, seen)| histogram(seen, which, &mut of_a));
        for (_, rows, first) in &b.masks {
            let mut masks = Residues::zeros(*rows as usize, 1_536);
            expand(&seed, *first..first + u64::from(*rows), &mut masks);
            histogram(&masks, which, &mut of_b);
        }
        for (name, counts) in [("A", of_a), ("B", of_b)] {
            let (residues, deviation) = (counts.iter().sum::<u64>(), deviation(&counts));
            println!("{name}, prime {which}: {residues} residues, chi-square {deviation:.2} off");
            assert!(residues >= 10_000_000 && deviation.abs() < 5.0);
        }
    }
}

/// The longest prompts of the golden files.
fn prompts() -> Vec<Vec<u32>> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden");
    let mut prompts = Vec::new();
    for (file, list) in [
        ("smollm2_logits.json", "prompts"),
        ("smollm2_chat.json", "cases"),
        ("smollm2_tokens.json", "cases"),
    ] {
        let json: Value = serde_json::from_slice(&std::fs::read(dir.join(file)).unwrap()).unwrap();
        for case in json[list].as_array().unwrap() {
            let ids = case["ids"].as_array().unwrap().iter();
            prompts.push(
                ids.map(|id| id.as_u64().unwrap() as u32)
                    .collect::<Vec<_>>(),
            );
        }
    }
    prompts.sort_by_key(Vec::len);
    let prompts = prompts.split_off(prompts.len() - PROMPTS);
    assert!(prompts.iter().all(|prompt| prompt.len() > 8));
    prompts
}

fn greedy(decoder: &Decoder, prompt: &[u32]) -> Vec<u32> {
    let mut cache = decoder.new_cache();
    let (mut next, mut ids) = (prompt.to_vec(), Vec::new());
    while ids.len() < GREEDY_TOKENS {
        let chunk = Chunk {
            tokens: &next,
            cache: &mut cache,
            want: Want::Last,
        };
        let logits = decoder.forward(&mut [chunk]).unwrap().remove(0);
        let id = largest(&logits.row_f64(0)) as u32;
        ids.push(id);
        next = vec![id];
    }
    ids
}

fn largest(logits: &[f64]) -> usize {
    let places = (0..logits.len()).max_by(|a, b| logits[*a].total_cmp(&logits[*b]));
    places.unwrap()
}

/// sum p (log p - log q)
fn kl(p: &[f64], q: &[f64]) -> f64 {
    let log_sum = |logits: &[f64]| {
        let most = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        most + logits.iter().map(|l| (l - most).exp()).sum::<f64>().ln()
    };
    let (of_p, of_q) = (log_sum(p), log_sum(q));
    let terms = p.iter().zip(q).map(|(p, q)| {
        let (p, q) = (p - of_p, q - of_q);
        p.exp() * (p - q)
    });
    terms.sum()
}
