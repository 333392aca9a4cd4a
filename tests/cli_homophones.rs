//! `encrypt --homophones`, and every command on what it makes.

#![allow(clippy::unwrap_used, reason = "a test may fail")]

mod cli_support;
mod support;

use std::path::PathBuf;

use cli_support::chat_model;
use cli_support::server::Server;
use cli_support::{Place, Ran, args, equicrypt, equicrypt_reading};
use equicrypt_spec::MANIFEST_FILE;
use serde_json::{Value, json};

const CHAT: &str = "/v1/chat/completions";

/// `encrypt` with these options.
fn encrypt(place: &Place, options: &[&str]) -> Ran {
    let (model, out, key) = (place.model(), place.out(), place.key());
    let mut all = vec!["encrypt".as_ref(), model.as_os_str(), "-o".as_ref()];
    all.extend([out.as_os_str(), "--key".as_ref(), key.as_os_str()]);
    all.extend(options.iter().map(std::ffi::OsStr::new));
    equicrypt(all)
}

fn encrypted(place: &Place) -> PathBuf {
    encrypt(place, &["--homophones", "50"]).succeeds();
    place.out()
}

fn post(server: &Server, body: &Value) -> Value {
    let (status, answer) = server.post(CHAT, &body.to_string());
    assert_eq!(status, 200, "{answer}");
    serde_json::from_str(&answer).unwrap()
}

fn question(text: &str, more: Value) -> Value {
    let mut body = json!({ "messages": [{ "role": "user", "content": text }], "temperature": 0, "max_tokens": 24 });
    body.as_object_mut()
        .unwrap()
        .extend(more.as_object().unwrap().clone());
    body
}

fn content(answer: &Value) -> &str {
    answer["choices"][0]["message"]["content"].as_str().unwrap()
}

#[test]
fn a_folder_counts_its_homophones_and_the_manifest_tells_nothing_else() {
    let place = Place::new();
    let text = place.path("text");
    std::fs::write(&text, "eeeeeee eeee aaa t\n").unwrap();
    let text = text.to_str().unwrap();
    let given = [
        "--homophones",
        "50",
        "--allocation",
        "square-root",
        "--homophones-text",
        text,
        "--json",
    ];
    let made = encrypt(&place, &given).succeeds_with_json();
    assert_eq!(made["homophones"], 50);
    // e, a, t and the space.
    assert_eq!(made["biased_ids"], 54);
    let manifest = &made["manifest"];
    assert_eq!(
        (&manifest["vocab_size"], &manifest["plain_vocab_size"]),
        (&json!(111), &json!(61))
    );
    let table = manifest["homophone_table"].as_str().unwrap();
    assert_eq!(table.len(), (12usize + 4 * 50 + 16).div_ceil(3) * 4);
    let shown = equicrypt(args!["inspect", &place.out()]);
    // 24 numbers of 4 bytes in embedding and head.
    let shown = shown.succeeds();
    assert!(shown.contains("111 cipher ids for 61 plain ids"), "{shown}");
    assert!(
        shown.contains("50 more rows than plain ids, 10 KB"),
        "{shown}"
    );
    let shown = equicrypt(args!["inspect", &place.out(), "--json"]).succeeds_with_json();
    assert_eq!(
        (&shown["homophones"], &shown["homophone_bytes"]),
        (&json!(50), &json!(50 * 2 * 24 * 4))
    );
}

#[test]
fn what_cannot_be_is_refused() {
    let place = Place::new();
    let empty = place.path("empty");
    std::fs::write(&empty, "\n").unwrap();
    let empty = empty.to_str().unwrap();
    encrypt(&place, &["--homophones", "5", "--homophones-text", empty])
        .fails_saying(&["--homophones", "no token"]);
    encrypt(
        &place,
        &["--homophones", "5", "--homophones-text", "/nowhere"],
    )
    .fails_saying(&["--homophones-text", "/nowhere"]);
    encrypt(&place, &["--homophones", "-1"]).is_misused_saying(&["-1"]);
    encrypt(&place, &["--homophones", "9999999"]).is_misused_saying(&["--homophones"]);
    encrypt(&place, &["--allocation", "square-root"]).is_misused_saying(&["--homophones"]);
    place.holds_nothing_made();
}

#[test]
fn tokens_go_there_and_back_and_prefixes_stay() {
    let place = Place::new();
    let manifest = encrypted(&place).join(MANIFEST_FILE);
    let run = |direction: &str, ids: &[u32]| -> Vec<u32> {
        let (key, input) = (place.key(), serde_json::to_string(ids).unwrap());
        let all = args!["tokens", direction, "--key", &key, "--manifest", &manifest];
        serde_json::from_str(equicrypt_reading(&input, all).succeeds()).unwrap()
    };
    let plain: Vec<u32> = (0..61).chain([7; 40]).chain(0..61).collect();
    let cipher = run("encrypt", &plain);
    assert_eq!(run("decrypt", &cipher), plain);
    assert_eq!(run("encrypt", &plain[..80]), cipher[..80]);
    let all = run("decrypt", &(0..111).collect::<Vec<u32>>());
    assert!((0..61).all(|id| all.contains(&id)));
    let (model, key, out) = (place.model(), place.key(), place.path("made/tokenizer"));
    equicrypt(args![
        "tokenizer",
        &model,
        "--key",
        &key,
        "--manifest",
        &manifest,
        "-o",
        &out
    ])
    .fails_saying(&["homophones"]);
}

#[test]
fn verify_finds_the_same_model() {
    let place = Place::new();
    let (model, out, key) = (place.model(), encrypted(&place), place.key());
    let found = equicrypt(args![
        "verify",
        &model,
        &out,
        "--key",
        &key,
        "--greedy-tokens",
        "8",
        "--json"
    ]);
    let found = found.succeeds_with_json();
    assert_eq!(found["pass"], true, "{found}");
    assert!(
        found["fidelity"]["max_logit_difference"].as_f64().unwrap() < 1e-3,
        "{found}"
    );
}

/// The attacks on weights find rows that are equal as well as others.
#[test]
fn an_audit_marks_guesses_for_every_homophone() {
    let place = Place::new();
    let (model, out, key) = (place.model(), encrypted(&place), place.key());
    let found = equicrypt(args![
        "audit", &model, &out, "--key", &key, "--keys", "2", "--json", "-"
    ]);
    let found = found.succeeds_with_json();
    let audited = &found["audited"][0];
    assert_eq!(audited["scheme"], "permute, 50 homophones");
    let verdicts = audited["verdicts"].as_array().unwrap();
    let types = |verdict: &Value| verdict["recovered_types"].as_f64().unwrap_or(0.0);
    assert!(
        verdicts.iter().any(|verdict| types(verdict) > 0.95),
        "{found}"
    );
}

#[test]
fn answers_log_probabilities_and_caches_are_the_plain_models() {
    let place = Place::new();
    let host = Server::start(&encrypted(&place));
    let gateway = Server::gateway(&place, args!["--upstream", &host.url(), "--hide-stops"]);
    for text in ["What is the sky?", "Count!"] {
        let expected = chat_model::answer(&place.model(), text, 24);
        assert_eq!(
            content(&post(&gateway, &question(text, json!({})))),
            expected
        );
    }
    let (model, key, url) = (place.model(), place.key(), host.url());
    let asked = args![
        "ask",
        "Count!",
        "--model",
        &model,
        "--key",
        &key,
        "--host",
        &url,
        "--max-tokens",
        "24"
    ];
    let expected = chat_model::answer(&place.model(), "Count!", 24);
    assert_eq!(
        equicrypt(asked).succeeds().trim_end_matches('\n'),
        expected.trim_end_matches('\n')
    );

    let asked = json!({ "logprobs": true, "top_logprobs": 5, "max_tokens": 1 });
    let answer = post(&gateway, &question("abc", asked));
    let first = &answer["choices"][0]["logprobs"]["content"][0];
    let logits = support::logits(&place.model(), &[3, 4, 5]).pop().unwrap();
    let total = logits.iter().map(|logit| logit.exp()).sum::<f64>().ln();
    let mut expected: Vec<f64> = logits.iter().map(|logit| logit - total).collect();
    expected.sort_by(|a, b| b.total_cmp(a));
    let top = first["top_logprobs"].as_array().unwrap();
    assert_eq!(top.len(), 5);
    for (entry, expected) in top.iter().zip(&expected) {
        let off = (entry["logprob"].as_f64().unwrap() - expected).abs();
        assert!(off < 0.05, "{off}: {first}");
    }
    // Drawn answers come too, and the next turn finds them in the host's cache.
    let long = "What is the sky? ".repeat(4);
    for more in [
        json!({ "temperature": 1.0, "seed": 3 }),
        json!({ "temperature": 1.0, "top_p": 0.9, "seed": 3 }),
    ] {
        let mut first = more.clone();
        first["logit_bias"] = json!({ "0": -100, "1": -100, "2": -100 });
        let said = content(&post(&gateway, &question(&long, first))).to_owned();
        assert_eq!(said.len(), 24);
        let mut next = more.clone();
        next["messages"] = json!([
            { "role": "user", "content": long }, { "role": "assistant", "content": said },
            { "role": "user", "content": "And why?" },
        ]);
        let second = post(&gateway, &question("", next));
        let cached = second["usage"]["prompt_tokens_details"]["cached_tokens"].as_u64();
        assert!(
            cached.unwrap() as usize >= long.len() + said.len() - 1,
            "{more}: {second}"
        );
    }
    let (status, answer) = gateway.post(
        CHAT,
        &question("a", json!({ "repetition_penalty": 1.2 })).to_string(),
    );
    assert!(status == 400 && answer.contains("homophones"), "{answer}");
}
