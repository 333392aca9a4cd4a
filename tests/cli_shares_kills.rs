//! Each party of shares is killed in the middle of an answer and started again: the next answer is right, and no mask was used
//! twice.

#![allow(clippy::unwrap_used, reason = "a test may fail")]

mod cli_support;
mod support;
#[path = "../crates/shares/tests/support/tap.rs"]
#[allow(
    dead_code,
    unreachable_pub,
    reason = "another crate's tests use all of it"
)]
mod tap;

use std::collections::HashSet;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::thread;

use cli_support::linear_host::{LinearHost, gateway, prepared};
use cli_support::server::{http, soon};
use cli_support::{Place, chat_model};
use serde_json::{Value, json};
use tap::Tap;

/// Somebody who can be killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Party {
    HostA,
    HostB,
    Owner,
}

/// The answer; none if it did not come.
fn ask(gateway: &str, text: &str) -> Option<String> {
    let body = json!({
        "messages": [{ "role": "user", "content": text }], "temperature": 0, "max_tokens": 24,
    });
    let mut stream = TcpStream::connect(gateway).ok()?;
    let request = http("POST", "/v1/chat/completions", &body.to_string());
    stream.write_all(request.as_bytes()).ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    let answer: Value = serde_json::from_str(body).ok()?;
    let content = answer["choices"][0]["message"]["content"].as_str();
    content
        .filter(|_| head.starts_with("HTTP/1.1 200"))
        .map(str::to_owned)
}

#[test]
fn no_mask_is_used_twice_whoever_is_killed() {
    let place = Place::new();
    let owner = prepared(&place);
    let names = ["a", "b"];
    let start = |index: usize| {
        let name = names[index];
        let socket = format!("unix:{}", place.path(&format!("{name}.sock")).display());
        LinearHost::start(&place.model(), &socket, &place.path(&format!("{name}.key")))
    };
    let mut hosts = [Some(start(0)), Some(start(1))];
    let taps = [0, 1].map(|index| {
        let address = &hosts[index].as_ref().unwrap().address;
        let tapped = place.path(&format!("tap-{}.sock", names[index]));
        Tap::new(&tapped, &address.parse().unwrap())
    });
    let addresses = taps.each_ref().map(|tap| tap.address.to_string());
    let open = || gateway(&owner, [&addresses[0], &addresses[1]]);
    let mut gateway = open();
    let expected = chat_model::answer(&place.model(), "Count!", 24);
    let vectors = || taps[0].view.lock().unwrap().vectors.len();
    for victim in [Party::HostA, Party::HostB, Party::Owner] {
        for later in [1, 7, 30] {
            let begun = vectors();
            let address = gateway.address().to_owned();
            let asking = thread::spawn(move || ask(&address, "Count!"));
            soon("the answer is on its way", || vectors() >= begun + later);
            match victim {
                Party::HostA => hosts[0] = None,
                Party::HostB => hosts[1] = None,
                Party::Owner => {
                    drop(gateway);
                    gateway = open();
                }
            }
            // It may have been ready before.
            if let Some(answer) = asking.join().unwrap() {
                assert_eq!(answer, expected);
            }
            for (index, host) in hosts.iter_mut().enumerate() {
                host.get_or_insert_with(|| start(index));
            }
            soon("all parties are there", || {
                ask(gateway.address(), "Count!").is_some_and(|answer| answer == expected)
            });
        }
    }
    let [seen_a, seen_b] = taps.each_ref().map(|tap| tap.view.lock().unwrap());
    let seeds: HashSet<_> = seen_b.seeds.iter().map(|(seed, _)| *seed).collect();
    assert!(seeds.len() >= 4, "{}", seeds.len());
    assert_eq!((seeds.len(), seen_b.repeated), (seen_b.seeds.len(), 0));
    let mut distinct = HashSet::new();
    for (_, vectors) in &seen_a.vectors {
        assert!((0..vectors.rows()).all(|row| distinct.insert(vectors.row(row))));
    }
}
