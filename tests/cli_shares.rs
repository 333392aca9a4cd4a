//! `equicrypt shares` as processes: two hosts, and a gateway in front of them.

#![allow(clippy::unwrap_used, reason = "a test may fail")]

mod cli_support;
mod support;

use std::path::PathBuf;

use cli_support::encoder::{Served, three_labels, unchanged};
use cli_support::linear_host::{LinearHost, gateway, prepared};
use cli_support::server::{Server, soon};
use cli_support::{Place, args, chat_model, command, equicrypt};
use equicrypt_spec::Profile;
use serde_json::{Value, json};

const CHAT: &str = "/v1/chat/completions";

fn ask(gateway: &Server, text: &str) -> (u16, Value) {
    let body = json!({
        "model": "any", "messages": [{ "role": "user", "content": text }], "temperature": 0,
        "max_tokens": 24,
    });
    let (status, answer) = gateway.post(CHAT, &body.to_string());
    (status, serde_json::from_str(&answer).unwrap())
}

#[track_caller]
fn answers(gateway: &Server, place: &Place, text: &str) {
    let (status, answer) = ask(gateway, text);
    assert_eq!(status, 200, "{answer}");
    let expected = chat_model::answer(&place.model(), text, 24);
    assert_eq!(answer["choices"][0]["message"]["content"], expected);
}

#[test]
fn answers_are_the_plain_models() {
    let place = Place::new();
    let owner = prepared(&place);
    let socket = |name: &str| format!("unix:{}", place.path(name).display());
    let keys = ["a.key", "b.key"].map(|name| place.path(name));
    let a = LinearHost::start(&place.model(), &socket("a.sock"), &keys[0]);
    // Over TCP it is sealed, to the key whose fingerprint the host prints.
    let b = LinearHost::start(&place.model(), "tcp://127.0.0.1:0", &keys[1]);
    assert!(b.address.contains('#'), "{}", b.address);
    let mut gateway = gateway(&owner, [&a.address, &b.address]);
    assert!(gateway.next_line().contains("host A"));
    for text in ["What is the sky?", "Count!"] {
        answers(&gateway, &place, text);
    }
}

#[test]
fn a_host_that_went_is_named_and_may_come_back() {
    let place = Place::new();
    let owner = prepared(&place);
    let socket = |name: &str| format!("unix:{}", place.path(name).display());
    let keys = ["a.key", "b.key"].map(|name| place.path(name));
    let start = |index: usize| {
        let name = ["a.sock", "b.sock"][index];
        LinearHost::start(&place.model(), &socket(name), &keys[index])
    };
    let (a, b) = (start(0), start(1));
    let gateway = gateway(&owner, [&a.address, &b.address]);
    answers(&gateway, &place, "Count!");
    drop(b);
    let (status, answer) = ask(&gateway, "What is the sky?");
    assert!(status >= 500, "{answer}");
    let b = start(1);
    soon("the host is back", || ask(&gateway, "Count!").0 == 200);
    answers(&gateway, &place, "What is the sky?");
    drop(b);
}

/// The owner's folder of an encoder, and hosts A and B.
fn over_two_hosts(served: &Served) -> (PathBuf, [LinearHost; 2]) {
    let owner = served.path("owner");
    equicrypt(args!["shares", "prepare", &served.model(), "-o", &owner]).succeeds();
    let hosts = ["a", "b"].map(|name| {
        let socket = format!("unix:{}", served.path(name).display());
        let key = served.path(&format!("{name}.key"));
        LinearHost::start(&served.model(), &socket, &key)
    });
    (owner, hosts)
}

/// Embeddings, and what the commands print, over two hosts and by the plain model.
#[test]
fn encoders_answer_as_the_plain_model() {
    let served = Served::new("BertModel", Profile::Permute, unchanged);
    let (owner, hosts) = over_two_hosts(&served);
    let texts = ["the cat sat on the mat", "Where is the bright red bank?"];
    let near = |found: &Value, text: &str| {
        let found: Vec<f64> = serde_json::from_value(found["embedding"].clone()).unwrap();
        let plain = served.plain(&served.prepared(text)).remove(0);
        assert_eq!(found.len(), plain.len());
        let off = found.iter().zip(&plain).map(|(a, b)| (a - b).abs());
        let off = off.fold(0.0, f64::max);
        // What 16 bits of weights cost.
        assert!(off < 1e-3, "{off}");
    };
    let addresses = format!("{},{}", hosts[0].address, hosts[1].address);
    let shares = args!["--model", &owner, "--shares", &addresses];
    let embed = args!["embed", texts[0], texts[1]];
    let ran = equicrypt(embed.into_iter().chain(shares));
    let lines: Vec<&str> = ran.succeeds().lines().collect();
    assert_eq!(lines.len(), texts.len());
    for (line, text) in lines.iter().zip(texts) {
        near(&serde_json::from_str(line).unwrap(), text);
    }
    let gateway = gateway(&owner, [&hosts[0].address, &hosts[1].address]);
    let body = json!({ "model": "any", "input": texts });
    let (status, answer) = gateway.post("/v1/embeddings", &body.to_string());
    assert_eq!(status, 200, "{answer}");
    let answer: Value = serde_json::from_str(&answer).unwrap();
    let data = answer["data"].as_array().unwrap();
    assert_eq!(data.len(), texts.len());
    for (item, text) in data.iter().zip(texts) {
        near(item, text);
    }
    for wrong in [
        &["--encrypted"][..],
        &["--as-host"],
        &["--host", "http://127.0.0.1:1"],
    ] {
        let embed = args!["embed", "x"].into_iter().chain(shares);
        let ran = equicrypt(embed.chain(wrong.iter().map(std::ffi::OsStr::new)));
        ran.is_misused_saying(&[wrong[0]]);
    }
}

/// Ids have throw-away names inside the owner's process; logits of ids come back under their own.
#[test]
fn masked_words_and_labels_are_found_over_two_hosts() {
    for (class, change) in [
        ("BertForMaskedLM", unchanged as fn(&mut Value)),
        ("BertForSequenceClassification", three_labels),
    ] {
        let served = Served::new(class, Profile::Permute, change);
        let (owner, hosts) = over_two_hosts(&served);
        let addresses = format!("{},{}", hosts[0].address, hosts[1].address);
        let (command, text) = match class {
            "BertForMaskedLM" => ("fill-mask", "the cat sat on the [MASK]."),
            _ => ("classify", "the cat sat on the mat"),
        };
        let rest = ["--model", owner.to_str().unwrap(), "--shares", &addresses];
        let found = equicrypt([&[command, text][..], &rest].concat());
        let encrypted = served.run(command, &[text]);
        let words = |ran: &str| -> Vec<String> {
            let is_word = |c: char| c.is_alphabetic() || c == '_' || c == '#';
            let words = ran.split(|c| !is_word(c)).filter(|word| !word.is_empty());
            words.map(str::to_owned).collect()
        };
        assert_eq!(words(found.succeeds()), words(encrypted.succeeds()));
    }
}

#[test]
fn the_page_is_told_what_each_host_sees() {
    let place = Place::new();
    let owner = prepared(&place);
    let socket = |name: &str| format!("unix:{}", place.path(name).display());
    let start = |name: &str| {
        let key = place.path(&format!("{name}.key"));
        LinearHost::start(&place.model(), &socket(name), &key)
    };
    let hosts = [start("a"), start("b")];
    let gateway = gateway(&owner, [&hosts[0].address, &hosts[1].address]);
    let (_, state) = gateway.get("/state");
    let state: Value = serde_json::from_str(&state).unwrap();
    assert_eq!(state["shares"], json!([socket("a"), socket("b")]));
}

#[test]
fn the_demo_shows_two_hosts() {
    let place = Place::new();
    let demo = equicrypt(args![
        "demo",
        "--shares",
        "--json",
        "--model",
        &place.model(),
        "--max-tokens",
        "8",
        "Count!"
    ]);
    let report: Value = serde_json::from_str(demo.succeeds()).unwrap();
    assert_eq!(report["identical"], true);
    assert_eq!(
        report["answer"],
        chat_model::answer(&place.model(), "Count!", 8)
    );
    let seen = |host: &str| report[host]["sent"].as_str().unwrap().to_owned();
    assert!(seen("host_a_saw").contains("pairs of residues"));
    assert!(seen("host_b_saw").contains("masks 0 to"));
}

/// What a command has started ends with it, however it ends.
#[test]
fn hosts_of_a_benchmark_that_is_killed_are_gone() {
    let place = Place::new();
    let model = place.model();
    let mut command = command(args![
        "bench", "shares", &model, "--prompt", "4", "--rounds", "60000"
    ]);
    let mut bench = command.spawn().unwrap();
    let (marked, own) = (model.to_str().unwrap(), bench.id());
    let hosts = || -> Vec<String> {
        let processes = std::fs::read_dir("/proc").unwrap();
        let ids = processes.map(|process| process.unwrap().file_name());
        ids.filter_map(|id| id.into_string().ok())
            .filter(|id| id.parse::<u32>().is_ok_and(|id| id != own))
            .filter(|id| {
                let line = std::fs::read(format!("/proc/{id}/cmdline")).unwrap_or_default();
                String::from_utf8_lossy(&line).contains(marked)
            })
            .collect()
    };
    soon("both hosts are there", || hosts().len() == 2);
    bench.kill().unwrap();
    soon("they are gone", || hosts().is_empty());
    bench.wait().unwrap();
}

#[test]
fn the_benchmark_counts_bytes() {
    let place = Place::new();
    let json = place.path("shares.json");
    let options = [
        "--round-trip",
        "1",
        "--prompt",
        "4",
        "--tokens",
        "2",
        "--rounds",
        "1",
    ];
    let model = place.model();
    let first = args!["bench", "shares", &model, "--json", &json];
    let bench = equicrypt(first.into_iter().chain(options.map(std::ffi::OsStr::new)));
    let table = bench.succeeds();
    assert!(table.contains("shares, 1 ms"), "{table}");
    let report: Value = serde_json::from_slice(&std::fs::read(json).unwrap()).unwrap();
    assert_eq!(report["ids_per_second"].as_array().unwrap().len(), 3);
    for way in report["bytes_per_token"].as_array().unwrap() {
        let (found, formula) = (way["found"].as_f64(), way["of_vectors"].as_f64());
        // The head sees the last token of a prompt only.
        assert!(found.unwrap() > 0.9 * formula.unwrap(), "{way}");
    }
    let none = equicrypt(args![
        "bench",
        "shares",
        &place.model(),
        "--prompt",
        "100000"
    ]);
    none.fails_saying(&["--prompt", "context"]);
}

#[test]
fn what_cannot_be_is_refused() {
    let place = Place::new();
    let owner = prepared(&place);
    let again = equicrypt(args!["shares", "prepare", &place.model(), "-o", &owner]);
    again.fails_saying(&["owner"]);
    let gateway = |shares: &str, more: &[&str]| {
        let first = args!["gateway", "--model", &owner, "--shares", shares];
        let listen = args!["--listen", "127.0.0.1:0"];
        let more = more.iter().map(std::ffi::OsStr::new);
        equicrypt(first.into_iter().chain(listen).chain(more))
    };
    // An address in use is named, and why is said once.
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("tcp://{}", taken.local_addr().unwrap());
    let key = place.path("host.key");
    let model = place.model();
    let serve = args![
        "shares",
        "serve",
        &model,
        "--listen",
        &address,
        "--transport-key",
        &key
    ];
    let refused = equicrypt(serve);
    refused.fails_saying(&[&address, "choose another address"]);
    assert_eq!(
        refused.err.matches("in use (").count(),
        1,
        "{}",
        refused.err
    );
    let no_plain = equicrypt(args![
        "shares",
        "prepare",
        &owner,
        "-o",
        &place.path("twice")
    ]);
    no_plain.fails_saying(&["q_proj", "missing"]);
    assert!(!place.path("twice").exists());
    let model = place.model();
    let shares = args!["--model", &model, "--shares", "unix:/a,unix:/b"];
    let listen = args!["gateway", "--listen", "127.0.0.1:0"];
    let original = equicrypt(listen.into_iter().chain(shares));
    original.fails_saying(&["shares.json", "equicrypt shares prepare"]);
    gateway("unix:/a,unix:/a", &[]).fails_saying(&["collude"]);
    gateway("unix:/a", &[]).fails_saying(&["expected two hosts"]);
    gateway("unix:/nobody/a,unix:/nobody/b", &[]).fails_saying(&["host A"]);
    gateway("tcp://127.0.0.1:1,unix:/b", &[]).is_misused_saying(&["fingerprint"]);
    gateway("unix:/a,unix:/b", &["--upstream", "http://127.0.0.1:1"])
        .is_misused_saying(&["--upstream"]);
    gateway("unix:/a,unix:/b", &["--reserve", "131073"]).is_misused_saying(&["--reserve"]);
    // Where nobody computes ahead, a reserve would be forgotten silently.
    let key = place.key();
    let encrypted = args![
        "gateway",
        "--model",
        &model,
        "--key",
        &key,
        "--reserve",
        "4"
    ];
    equicrypt(encrypted).is_misused_saying(&["--reserve", "--key"]);
}
