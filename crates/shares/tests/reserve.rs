//! Masks that host B computes while nothing is asked.
#![allow(clippy::unwrap_used, reason = "a test that fails may panic")]

mod support;

use std::collections::HashSet;
use std::thread::sleep;
use std::time::{Duration, Instant};

use equicrypt_engine::Precision;
use equicrypt_shares::{Remote, RemoteOptions};
use support::tap::{Meddle, Tap};
use support::{Scene, config, largest_difference, patient, run};

const PROMPT: [u32; 5] = [3, 1, 4, 1, 5];
const RESERVE: usize = 7;

fn wait_for_reserve(remote: &Remote) {
    let start = Instant::now();
    while remote.reserved() < RESERVE {
        assert!(start.elapsed() < Duration::from_secs(60), "no reserve");
        sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_prompt_takes_from_the_reserve_and_it_is_filled_again() {
    let scene = Scene::new(&config("qwen3"));
    let (a, b) = (scene.host("a"), scene.host("b"));
    let tap = Tap::new(&scene.socket("tap-b"), &b.address);
    let options = RemoteOptions {
        stock: 0,
        reserve: RESERVE,
        ..patient()
    };
    let remote = scene.remote_with(&a.address, &tap.address, options);
    let decoder = remote.decoder(Precision::F64).unwrap();
    let expected = scene.rounded_decoder();
    let expected = run(&expected, &mut expected.new_cache(), &PROMPT);
    assert_eq!(remote.reserved(), 0);
    remote.connect().unwrap();
    wait_for_reserve(&remote);
    // The head is not among them: of a prompt it sees one vector.
    let asked = tap.view.lock().unwrap().masks.clone();
    let layers: HashSet<u32> = asked.iter().map(|(layer, ..)| *layer).collect();
    let masks = || -> usize {
        let asked = tap.view.lock().unwrap().masks.clone();
        let asked = asked.iter().filter(|(layer, ..)| layers.contains(layer));
        asked.map(|(_, rows, _)| *rows as usize).sum()
    };
    for round in 1..4 {
        let found = run(&decoder, &mut decoder.new_cache(), &PROMPT);
        assert!(largest_difference(&expected, &found) < 1e-9);
        wait_for_reserve(&remote);
        // As many masks as were taken, and not one more.
        let expected = (RESERVE + round * PROMPT.len()) * layers.len();
        while masks() < expected {
            sleep(Duration::from_millis(5));
        }
        assert_eq!(masks(), expected);
    }
    assert_eq!(tap.view.lock().unwrap().repeated, 0);
}

#[test]
fn a_reserve_ends_with_its_session() {
    let scene = Scene::new(&config("llama"));
    let (a, b) = (scene.host("a"), scene.host("b"));
    let tap = Tap::new(&scene.socket("tap-b"), &b.address);
    let options = RemoteOptions {
        reserve: RESERVE,
        ..patient()
    };
    let remote = scene.remote_with(&a.address, &tap.address, options);
    let decoder = remote.decoder(Precision::F64).unwrap();
    // B goes while it is asked about the reserve, and is connected to anew.
    tap.set(Meddle::Cut { answer: 1 });
    while tap.view.lock().unwrap().connections < 2 {
        remote.connect().unwrap();
        sleep(Duration::from_millis(5));
    }
    run(&decoder, &mut decoder.new_cache(), &PROMPT);
    wait_for_reserve(&remote);
    let view = tap.view.lock().unwrap();
    assert_eq!((view.seeds.len(), view.repeated), (2, 0));
}
