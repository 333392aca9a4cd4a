//! `equicrypt serve` and `equicrypt ask` as two processes.

#![allow(clippy::unwrap_used, reason = "a test may fail")]

mod cli_support;
mod support;

use std::ffi::OsStr;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::time::Duration;

use cli_support::chat_model::{self, CONTEXT};
use cli_support::server::{Server, http, soon};
use cli_support::{KEY, OTHER_KEY, Place, Ran, args, edit_json, equicrypt};
use equicrypt_spec::MANIFEST_FILE;
use serde_json::{Value, json};
use support::key;

const GENERATE: &str = "/inference/v1/generate";

/// `ask` with at most 24 tokens of answer.
fn ask(place: &Place, url: &str, question: &str, more: &[&OsStr]) -> Ran {
    let (model, key) = (place.model(), place.key());
    ask_as(&model, &key, url, question, more)
}

fn ask_as(model: &Path, key: &Path, url: &str, question: &str, more: &[&OsStr]) -> Ran {
    let args = args![
        "ask",
        question,
        "--model",
        model,
        "--key",
        key,
        "--host",
        url,
        "--max-tokens",
        "24"
    ];
    equicrypt(args.iter().chain(more))
}

#[test]
fn the_answer_is_the_plain_models() {
    let place = Place::new();
    let server = Server::start(&place.encrypted());
    for question in ["What is the sky?", "Count!"] {
        let expected = chat_model::answer(&place.model(), question, 24);
        assert!(
            expected.len() > 10,
            "a question without an answer: {expected:?}"
        );
        for _ in 0..2 {
            let ran = ask(&place, &server.url(), question, &[]);
            assert_eq!(ran.succeeds(), format!("{expected}\n"));
        }
    }
    let drawn = |seed: &str| {
        let more = args!["--temperature", "1", "--seed", seed];
        ask(&place, &server.url(), "What?", &more)
            .succeeds()
            .to_owned()
    };
    assert_eq!(drawn("5"), drawn("5"));
    assert_ne!(drawn("5"), drawn("6"));
    assert_eq!(server.metric("requests_total{result=\"finished\"}"), 8);
    assert_eq!(
        server.kill(),
        "",
        "the server says nothing of what it answers"
    );
}

#[test]
fn nothing_is_sent_unless_key_model_and_manifest_belong_together() {
    let place = Place::new();
    let folder = place.encrypted();
    let server = Server::start(&folder);
    let before = server.generate_counts();
    let (url, model, key_file) = (server.url(), place.model(), place.key());
    let ids = [KEY, OTHER_KEY].map(|byte| key(byte).id().to_string());

    let ran = ask_as(&model, &place.other_key(), &url, "What?", &[]);
    ran.fails_saying(&["wrong key", &ids[0], &ids[1]]);
    let other = place.path("other");
    chat_model::write(&other, 2);
    let ran = ask_as(&other, &key_file, &url, "What?", &[]);
    ran.fails_saying(&["other", "source_fingerprint"]);
    let ran = ask_as(&folder, &key_file, &url, "What?", &[]);
    ran.fails_saying(&["is an encrypted folder", "original"]);
    let manifest = place.path("manifest.json");
    fs::copy(folder.join(MANIFEST_FILE), &manifest).unwrap();
    edit_json(&manifest, |manifest| {
        manifest["plain_vocab_size"] = json!(60)
    });
    let ran = ask(&place, &url, "What?", &args!["--manifest", &manifest]);
    ran.fails_saying(&["manifest", "plain_vocab_size"]);
    let ran = ask(&place, &url, "What?", &args!["--temperature=-1"]);
    ran.fails_saying(&["temperature", "-1"]);

    assert_eq!(server.generate_counts(), before, "the host saw a prompt");
    ask(&place, &url, "What?", &[]).succeeds();
    assert_ne!(server.generate_counts(), before, "the counters count");
}

#[test]
fn prompts_that_do_not_fit_are_refused_before_they_are_sent() {
    let place = Place::new();
    let server = Server::start(&place.encrypted());
    let before = server.generate_counts();
    let long = "a".repeat(CONTEXT);
    let words = ["4096 tokens", "room for 4095", "shorten"];
    ask(&place, &server.url(), &long, &[]).fails_saying(&words);
    ask(&place, &server.url(), "", &[]).fails_saying(&["prompt has no tokens"]);
    assert_eq!(server.generate_counts(), before);
    let whole = "a".repeat(CONTEXT - 2);
    ask(&place, &server.url(), &whole, &[]).succeeds();
    let generated = server.metric("generated_tokens_total");
    assert!(generated <= 2, "{generated} tokens where two fit");
}

#[test]
fn hosts_that_cannot_answer_are_named() {
    let place = Place::new();
    // A privileged port that nothing has used for decades.
    let url = "http://127.0.0.1:1";
    ask(&place, url, "What?", &[]).fails_saying(&[url, "Connection refused", "address"]);
    let ran = ask(&place, "https://127.0.0.1:1", "What?", &[]);
    ran.fails_saying(&["https://127.0.0.1:1", "TLS"]);
    ask(&place, "127.0.0.1", "What?", &[]).fails_saying(&["127.0.0.1", "http://"]);

    let plain = Server::start(&place.model());
    let ran = ask(&place, &plain.url(), "What?", &[]);
    ran.fails_saying(&[&plain.url(), "--manifest"]);
    let counts = plain.generate_counts();
    assert!(counts.iter().all(|count| *count == 0), "{counts:?}");
}

#[test]
fn a_host_with_a_bearer_token_demands_it() {
    let place = Place::new();
    let (right, wrong) = (place.path("right"), place.path("wrong"));
    fs::write(&right, "open-sesame\n").unwrap();
    fs::write(&wrong, "open-barley\n").unwrap();
    let server = Server::start_with(&place.encrypted(), args!["--api-key-file", &right]);
    let url = server.url();
    ask(&place, &url, "What?", &[]).fails_saying(&[&url, "401", "API key"]);
    let ran = ask(&place, &url, "What?", &args!["--api-key-file", &wrong]);
    ran.fails_saying(&[&url, "401", "API key"]);
    assert!(!ran.err.contains("barley"), "{ran:?}");
    ask(&place, &url, "What?", &args!["--api-key-file", &right]).succeeds();
    assert_eq!(server.get("/metrics").0, 401);
    assert_eq!(server.get("/health").0, 200);
}

#[test]
fn answers_come_from_weights_kept_in_any_way() {
    let place = Place::new();
    let folder = place.encrypted();
    for dtype in ["f32", "bf16", "q8_0"] {
        let server = Server::start_with(&folder, ["--dtype", dtype]);
        let ran = ask(&place, &server.url(), "What is the sky?", &[]);
        assert!(!ran.succeeds().trim().is_empty(), "{dtype}");
    }
    equicrypt(args!["serve", &folder, "--dtype", "q4_k"]).is_misused_saying(&["q4_k", "q8_0"]);
}

#[test]
fn a_server_that_cannot_start_says_why() {
    let place = Place::new();
    let folder = place.encrypted();
    let server = Server::start(&folder);
    let address = server.address();
    let ran = equicrypt(args!["serve", &folder, "--listen", address]);
    ran.fails_saying(&["cannot listen on", address, "--listen"]);
    assert_eq!(server.get("/health").0, 200);

    let serve = |folder: &Path| equicrypt(args!["serve", folder, "--listen", "127.0.0.1:0"]);
    serve(&place.path("made")).fails_saying(&["made", "config.json is missing"]);
    serve(&place.path("none")).fails_saying(&["none", "does not exist"]);
    serve(&place.key()).fails_saying(&["owner.key", "not a folder"]);
    edit_json(&folder.join(MANIFEST_FILE), |m| m["vocab_size"] = json!(62));
    serve(&folder).fails_saying(&["equicrypt.json", "vocab_size", "found 62"]);
    fs::write(folder.join(MANIFEST_FILE), "{").unwrap();
    serve(&folder).fails_saying(&["equicrypt.json"]);
    let empty = place.path("empty");
    fs::write(&empty, "\n").unwrap();
    let model = place.model();
    let args = args![
        "serve",
        &model,
        "--listen",
        "127.0.0.1:0",
        "--api-key-file",
        &empty
    ];
    equicrypt(args).fails_saying(&["API key", "nothing", empty.to_str().unwrap()]);
}

#[test]
fn sigterm_ends_a_server_within_seconds() {
    let place = Place::new();
    let folder = place.encrypted();
    let (status, took) = Server::start(&folder).terminate();
    assert_eq!(status.code(), Some(0));
    assert!(took < Duration::from_secs(5), "{took:?}");

    // As browsers and pools of connections do: one that was never used, one that waits for its next request.
    let server = Server::start(&folder);
    let _unused = server.connect();
    let mut waiting = server.connect();
    let request = "GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n";
    waiting.write_all(request.as_bytes()).unwrap();
    let mut line = String::new();
    BufReader::new(&waiting).read_line(&mut line).unwrap();
    assert!(line.starts_with("HTTP/1.1 200"), "{line}");
    let (status, took) = server.terminate();
    assert_eq!(status.code(), Some(0));
    assert!(took < Duration::from_secs(5), "{took:?}");
}

fn prompt(ids: &[u32], more: Value) -> String {
    let mut sampling = json!({ "max_tokens": 3, "ignore_eos": true, "temperature": 0.0 });
    let more = more.as_object().unwrap().clone();
    sampling.as_object_mut().unwrap().extend(more);
    json!({ "token_ids": ids, "sampling_params": sampling }).to_string()
}

fn ids_of(body: &str) -> Vec<u32> {
    let body: Value = serde_json::from_str(body).unwrap();
    serde_json::from_value(body["choices"][0]["token_ids"].clone()).unwrap()
}

#[test]
fn requests_that_cannot_be_answered_get_400_and_the_next_an_answer() {
    let place = Place::new();
    let server = Server::start(&place.encrypted());
    let none = json!({});
    for (body, word) in [
        (prompt(&[3, 48151], none.clone()), "token_ids"),
        (prompt(&[3, 61], none.clone()), "token_ids"),
        (prompt(&[], none.clone()), "token_ids"),
        (prompt(&vec![3; CONTEXT], none.clone()), "context"),
        (
            prompt(&[3], json!({ "stop_token_ids": [48151] })),
            "stop_token_ids",
        ),
        (prompt(&[3], json!({ "max_tokens": 0 })), "max_tokens"),
        (prompt(&[3], json!({ "temperature": -1 })), "temperature"),
        ("{\"token_ids\": [3".to_owned(), "JSON"),
        ("[3]".to_owned(), "JSON object"),
        (
            "{\"token_ids\": [-3], \"sampling_params\": {}}".to_owned(),
            "token_ids",
        ),
    ] {
        let (status, answer) = server.post(GENERATE, &body);
        assert_eq!(status, 400, "{answer}");
        let error: Value = serde_json::from_str(&answer).unwrap();
        let message = error["error"]["message"].as_str().unwrap();
        assert!(message.contains(word), "no {word:?} in {message}");
    }
    assert_eq!(server.post("/v1/chat/completions", "{}").0, 404);
    assert_eq!(server.get(GENERATE).0, 405);
    let (status, answer) = server.post(GENERATE, &prompt(&[3, 4], none));
    assert_eq!((status, ids_of(&answer).len()), (200, 3), "{answer}");
    assert_eq!(server.metric("requests_total{result=\"finished\"}"), 1);
    let err = server.kill();
    assert!(!err.contains("48151") && !err.contains("panicked"), "{err}");
}

#[test]
fn a_client_that_leaves_stops_its_answer_and_nobody_elses() {
    let place = Place::new();
    let server = Server::start(&place.encrypted());
    let most = CONTEXT - 10;
    let mut body: Value =
        serde_json::from_str(&prompt(&[3, 4], json!({ "max_tokens": most }))).unwrap();
    body["stream"] = json!(true);
    let mut stream = server.connect();
    let request = http("POST", GENERATE, &body.to_string());
    stream.write_all(request.as_bytes()).unwrap();
    let mut lines = BufReader::new(stream).lines().map(Result::unwrap);
    assert!(lines.next().unwrap().starts_with("HTTP/1.1 200"));
    assert!(lines.any(|line| line.starts_with("data: ")), "no event");
    drop(lines);

    let (status, answer) = server.post(GENERATE, &prompt(&[5], json!({})));
    assert_eq!((status, ids_of(&answer).len()), (200, 3), "{answer}");
    soon("no answer is running", || {
        server.metric("answers_running") == 0
    });
    soon("the request is cancelled", || {
        server.metric("requests_total{result=\"cancelled\"}") == 1
    });
    let generated = server.metric("generated_tokens_total");
    assert!(generated < most as u64, "{generated} tokens for nobody");
    assert_eq!(server.metric("requests_waiting"), 0);
}
