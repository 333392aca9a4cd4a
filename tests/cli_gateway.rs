//! `equicrypt gateway` as a process between a client and `equicrypt serve`.

#![allow(clippy::unwrap_used, reason = "a test may fail")]

mod cli_support;
mod support;

use std::fs;
use std::io::{Read, Write};
use std::sync::atomic::{AtomicUsize, Ordering};

use cli_support::chat_model::{self, CONTEXT};
use cli_support::recorder::Recorder;
use cli_support::server::{Server, gateway_command, http, soon};
use cli_support::{Place, Ran, args, edit_json};
use equicrypt_spec::MANIFEST_FILE;
use serde_json::{Value, json};

const CHAT: &str = "/v1/chat/completions";

fn question(text: &str, more: Value) -> Value {
    let mut body = json!({
        "model": "any", "messages": [{ "role": "user", "content": text }], "temperature": 0,
        "max_tokens": 24,
    });
    let fields = more.as_object().unwrap().clone();
    body.as_object_mut().unwrap().extend(fields);
    body
}

#[track_caller]
fn post(server: &Server, path: &str, body: &Value) -> Value {
    let (status, answer) = server.post(path, &body.to_string());
    assert_eq!(status, 200, "{answer}");
    serde_json::from_str(&answer).unwrap()
}

fn content(answer: &Value) -> &str {
    answer["choices"][0]["message"]["content"].as_str().unwrap()
}

/// The events of a stream.
fn events(stream: &str) -> Vec<Value> {
    let data = stream
        .split("data: ")
        .skip(1)
        .filter(|data| !data.starts_with("[DONE]"));
    let text = |data: &str| data[..=data.rfind('}').unwrap()].to_owned();
    data.map(|data| serde_json::from_str(&text(data)).unwrap())
        .collect()
}

/// The same, of a gateway's answer as it came, chunk sizes and all.
fn deltas(stream: &str) -> String {
    let events = events(stream);
    let deltas = events
        .iter()
        .filter_map(|event| event["choices"][0]["delta"]["content"].as_str());
    deltas.collect()
}

#[test]
fn answers_are_the_plain_models() {
    let place = Place::new();
    let host = Server::start(&place.encrypted());
    let gateway = Server::gateway(&place, args!["--upstream", &host.url()]);
    for text in ["What is the sky?", "Count!"] {
        let expected = chat_model::answer(&place.model(), text, 24);
        let answer = post(&gateway, CHAT, &question(text, json!({})));
        assert_eq!(content(&answer), expected);
        assert_eq!(answer["usage"]["prompt_tokens"], text.len());
        let (status, stream) =
            gateway.post(CHAT, &question(text, json!({ "stream": true })).to_string());
        assert_eq!((status, deltas(&stream)), (200, expected.clone()));
        assert!(stream.contains("data: [DONE]"), "{stream}");
        let several = post(&gateway, CHAT, &question(text, json!({ "n": 3 })));
        let texts = several["choices"].as_array().unwrap().iter();
        let texts: Vec<_> = texts.map(|choice| &choice["message"]["content"]).collect();
        assert_eq!(texts, [expected.as_str(); 3]);

        // A stop string in the middle of the answer.
        let stop: String = expected.chars().skip(5).take(3).collect();
        let place = expected.find(&stop).unwrap();
        for more in [
            json!({ "stop": stop }),
            json!({ "stop": ["never so", stop] }),
        ] {
            let answer = post(&gateway, CHAT, &question(text, more));
            assert_eq!(content(&answer), &expected[..place]);
            assert_eq!(answer["choices"][0]["finish_reason"], "stop");
        }

        let body = json!({ "prompt": text, "temperature": 0, "max_tokens": 24, "echo": true });
        let completion = post(&gateway, "/v1/completions", &body);
        assert_eq!(
            completion["choices"][0]["text"],
            format!("{text}{expected}")
        );
        let body = json!({ "input": text, "temperature": 0, "max_output_tokens": 24 });
        let response = post(&gateway, "/v1/responses", &body);
        assert_eq!(response["output"][0]["content"][0]["text"], expected);
    }
}

#[test]
fn sampling_is_the_plain_models_and_log_probabilities_are_decrypted() {
    let place = Place::new();
    let host = Server::start(&place.encrypted());
    let gateway = Server::gateway(&place, args!["--upstream", &host.url(), "--hide-stops"]);
    let asked = json!({ "logprobs": true, "top_logprobs": 5, "max_tokens": 3 });
    let answer = post(&gateway, CHAT, &question("abc", asked));
    let first = &answer["choices"][0]["logprobs"]["content"][0];
    let prompt: Vec<u32> = vec![3, 4, 5];
    let logits = support::logits(&place.model(), &prompt).pop().unwrap();
    let total = logits.iter().map(|logit| logit.exp()).sum::<f64>().ln();
    let mut expected: Vec<f64> = logits.iter().map(|logit| logit - total).collect();
    let best = (0..expected.len())
        .max_by(|a, b| expected[*a].total_cmp(&expected[*b]))
        .unwrap();
    expected.sort_by(|a, b| b.total_cmp(a));
    let top = first["top_logprobs"].as_array().unwrap();
    assert_eq!(top.len(), 5);
    for (entry, expected) in top.iter().zip(&expected) {
        assert!(
            (entry["logprob"].as_f64().unwrap() - expected).abs() < 1e-4,
            "{first}"
        );
    }
    assert_eq!(first["token"], content(&answer)[..1]);

    // A bias on the likeliest plain id takes it away, and only it.
    let biased = post(
        &gateway,
        CHAT,
        &question(
            "abc",
            json!({ "logit_bias": { best.to_string(): -100 }, "max_tokens": 1 }),
        ),
    );
    assert_ne!(content(&biased), &content(&answer)[..1]);
    assert_eq!(content(&biased), top[1]["token"].as_str().unwrap());
    // A seed draws the same again.
    let drawn = |seed: u64| {
        let more = json!({ "seed": seed, "temperature": 2.0 });
        content(&post(&gateway, CHAT, &question("abc", more))).to_owned()
    };
    assert_eq!(drawn(1), drawn(1));
    assert_ne!(drawn(1), drawn(2));
}

#[test]
fn nothing_readable_passes_the_wire() {
    let place = Place::new();
    let host = Server::start(&place.encrypted());
    let wire = Recorder::before(host.address());
    let gateway = Server::gateway(&place, args!["--upstream", &wire.url(), "--unsealed"]);
    let secret = "Whoever reads this knows too much";
    let tools = json!([{ "type": "function", "function": {
        "name": "launchRocket", "description": "Starts it", "parameters": { "type": "object" },
    }}]);
    for more in [
        json!({ "stop": ["halting problem"], "stream": true }),
        json!({ "tools": tools, "n": 2 }),
        json!({ "logprobs": true, "top_logprobs": 3 }),
        json!({ "logit_bias": { "7": 3 } }),
    ] {
        let (status, answer) = gateway.post(CHAT, &question(secret, more).to_string());
        assert_eq!(status, 200, "{answer}");
    }
    post(
        &gateway,
        "/v1/completions",
        &json!({ "prompt": secret, "max_tokens": 3 }),
    );
    let seen = String::from_utf8_lossy(&wire.bytes()).into_owned();
    assert!(
        seen.contains("\"token_ids\":[") && seen.len() > 2000,
        "nothing was recorded"
    );
    let mut words: Vec<&str> = secret.split(' ').collect();
    words.extend([
        "halting problem",
        "halting",
        "launchRocket",
        "Starts",
        "messages",
        "role",
    ]);
    for word in words.into_iter().filter(|word| word.len() > 3) {
        assert!(!seen.contains(word), "{word:?} is on the wire");
    }
    // The plain ids: letters of this tokenizer count from 3.
    let letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ \n.,?!";
    let ids: Vec<String> = secret
        .chars()
        .map(|letter| (letters.find(letter).unwrap() + 3).to_string())
        .collect();
    for few in ids.windows(4) {
        assert!(
            !seen.contains(&format!(",{},", few.join(","))),
            "plain ids are on the wire"
        );
    }
    let key = fs::read_to_string(place.key()).unwrap();
    let key = key
        .lines()
        .find(|line| line.starts_with("EQUICRYPT"))
        .unwrap();
    for start in 0..key.len() - 12 {
        let part = &key[start..start + 12];
        assert!(!seen.to_uppercase().contains(part) || "EQUICRYPT-SECRET-KEY-1".contains(part));
    }
}

#[test]
fn a_second_turn_finds_the_first_in_the_hosts_cache() {
    let place = Place::new();
    let host = Server::start(&place.encrypted());
    let gateway = Server::gateway(&place, args!["--upstream", &host.url()]);
    let long = "What is the sky? ".repeat(4);
    // A random model writes special tokens too, and a conversation with those is not the client's.
    let no_special = json!({ "logit_bias": { "0": -100, "1": -100, "2": -100 } });
    let first = post(&gateway, CHAT, &question(&long, no_special));
    let said = content(&first);
    assert_eq!(first["usage"]["completion_tokens"], said.len());
    let next = json!({ "messages": [
        { "role": "user", "content": long }, { "role": "assistant", "content": said },
        { "role": "user", "content": "And why?" },
    ]});
    let second = post(&gateway, CHAT, &question("", next));
    let cached = second["usage"]["prompt_tokens_details"]["cached_tokens"]
        .as_u64()
        .unwrap();
    // All but the last id of what the host has seen: it was never fed to the model.
    assert!(cached as usize >= long.len() + said.len() - 1, "{second}");
    assert!(
        gateway
            .get("/metrics")
            .1
            .contains("cached_prompt_tokens_total")
    );
}

#[test]
fn what_does_not_belong_together_sends_nothing() {
    let place = Place::new();
    let encrypted = place.encrypted();
    let host = Server::start(&encrypted);
    let wire = Recorder::before(host.address());
    let ends = |key: &std::path::Path, more: &[&std::ffi::OsStr]| {
        let mut command = gateway_command(&place, key);
        command.args(["--upstream", &wire.url()]).args(more);
        Ran::from(command.output().unwrap())
    };
    ends(&place.other_key(), &[]).fails_saying(&["key"]);
    let manifest = place.path("manifest.json");
    for (field, value) in [
        ("source_fingerprint", json!("ab".repeat(32))),
        ("epoch", json!(7)),
        ("plain_vocab_size", json!(60)),
        ("architecture", json!("gpt2")),
    ] {
        fs::copy(encrypted.join(MANIFEST_FILE), &manifest).unwrap();
        edit_json(&manifest, |manifest| manifest[field] = value.clone());
        ends(&place.key(), args!["--manifest", &manifest].as_slice()).fails_saying(&[field]);
    }
    ends(&place.key(), args!["--tool-format", "smoke"].as_slice()).fails_saying(&["smoke"]);
    let seen = String::from_utf8(wire.bytes()).unwrap();
    assert!(!seen.contains("POST"), "{seen}");

    let mut nobody = gateway_command(&place, &place.key());
    nobody.args(["--upstream", "http://127.0.0.1:1"]);
    Ran::from(nobody.output().unwrap()).fails_saying(&["127.0.0.1:1", "refused"]);
}

#[test]
fn a_host_that_goes_away_is_taken_out_and_comes_back() {
    let place = Place::new();
    let encrypted = place.encrypted();
    let host = Server::start(&encrypted);
    let address = host.address().to_owned();
    let gateway = Server::gateway(&place, args!["--upstream", &host.url()]);
    let ask = || gateway.post(CHAT, &question("Count!", json!({})).to_string());
    assert_eq!(ask().0, 200);
    host.kill();
    let (status, answer) = ask();
    assert_eq!(status, 503, "{answer}");
    assert!(answer.contains("host_unavailable"), "{answer}");
    soon("out", || gateway.get("/health").0 == 503);
    let again = Server::start_with(&encrypted, args!["--listen", &address]);
    soon("back", || gateway.get("/health").0 == 200);
    assert_eq!(ask().0, 200);
    drop(again);
}

#[test]
fn a_prompt_that_is_too_long_is_refused_by_name() {
    let place = Place::new();
    let host = Server::start(&place.encrypted());
    let gateway = Server::gateway(&place, args!["--upstream", &host.url()]);
    let (status, answer) =
        gateway.post(CHAT, &question(&"a".repeat(CONTEXT), json!({})).to_string());
    assert_eq!(status, 400);
    assert!(answer.contains("context_length_exceeded"), "{answer}");
    let most = post(
        &gateway,
        CHAT,
        &question(&"a".repeat(CONTEXT - 3), json!({ "max_tokens": 1000 })),
    );
    assert!(most["usage"]["total_tokens"].as_u64().unwrap() as usize <= CONTEXT);
}

/// 200 clients at once, of which some leave early, while the network cuts every ninth connection.
#[test]
fn many_clients_leave_nothing_behind() {
    let place = Place::new();
    let options = args!["--max-queue", "400"];
    let encrypted = place.encrypted();
    let hosts = [
        Server::start_with(&encrypted, options),
        Server::start_with(&encrypted, options),
    ];
    let wires = [0, 1].map(|place: usize| Recorder::before(hosts[place].address()));
    let gateway = Server::gateway(
        &place,
        args!["--upstream", &wires[0].url(), "--upstream", &wires[1].url()],
    );
    let texts: Vec<String> = (0..8)
        .map(|n| format!("What is {}?", "abcdefgh".split_at(n).1))
        .collect();
    let expected: Vec<String> = texts
        .iter()
        .map(|text| chat_model::answer(&place.model(), text, 24))
        .collect();
    post(&gateway, CHAT, &question(&texts[0], json!({})));
    let before = gateway.open_files();
    wires[0].cut_every(9);
    let (whole, broken, left) = (
        AtomicUsize::new(0),
        AtomicUsize::new(0),
        AtomicUsize::new(0),
    );
    let mut random = support::Random(5);
    let plans: Vec<(usize, usize)> = (0..200)
        .map(|_| (random.below(8), random.below(4)))
        .collect();
    std::thread::scope(|scope| {
        for (which, plan) in plans {
            let (gateway, texts, expected) = (&gateway, &texts, &expected);
            let (whole, broken, left) = (&whole, &broken, &left);
            scope.spawn(move || {
                let streams = plan != 1;
                let body = question(&texts[which], json!({ "stream": streams }));
                if plan == 0 {
                    let mut socket = gateway.connect();
                    socket
                        .write_all(http("POST", CHAT, &body.to_string()).as_bytes())
                        .unwrap();
                    let _ = socket.read(&mut [0; 600]);
                    left.fetch_add(1, Ordering::Relaxed);
                    return;
                }
                let (status, answer) = gateway.post(CHAT, &body.to_string());
                let found = match (status, streams) {
                    (200, true) if !answer.contains("\"error\"") => Some(deltas(&answer)),
                    (200, false) => {
                        let answer: Value = serde_json::from_str(&answer).unwrap();
                        Some(content(&answer).to_owned())
                    }
                    _ => None,
                };
                match found {
                    Some(found) => {
                        assert_eq!(found, expected[which]);
                        whole.fetch_add(1, Ordering::Relaxed);
                    }
                    None => {
                        assert!(answer.contains("\"error\""), "{status} {answer}");
                        broken.fetch_add(1, Ordering::Relaxed);
                    }
                }
            });
        }
    });
    let (whole, broken, left) = (whole.into_inner(), broken.into_inner(), left.into_inner());
    assert_eq!(whole + broken + left, 200);
    assert!(
        whole > 100 && left > 20,
        "{whole} whole, {broken} broken, {left} left"
    );
    for host in &hosts {
        soon("idle hosts", || {
            host.metric("answers_running") + host.metric("requests_waiting") == 0
        });
    }
    let metrics = || gateway.get("/metrics").1;
    soon("no answers", || {
        !metrics().contains("host_answers_running{host=\"0\"} 1")
            && metrics().contains("host_answers_running{host=\"0\"} 0")
            && metrics().contains("host_answers_running{host=\"1\"} 0")
    });
    wires[0].cut_every(0);
    soon("back", || metrics().contains("host_up{host=\"0\"} 1"));
    // Connections to hosts are kept for a while for the next request, a few of each.
    soon("no open connections", || {
        gateway.open_files() <= before + KEPT
    });
    assert_eq!(
        content(&post(&gateway, CHAT, &question(&texts[3], json!({})))),
        expected[3]
    );
}

/// Idle connections to two hosts.
const KEPT: usize = 2 * 8;
