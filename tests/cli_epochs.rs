//! `equicrypt gateway` before hosts of several epochs, and what it counts.

#![allow(clippy::unwrap_used, reason = "a test may fail")]

mod cli_support;
mod support;

use std::fs;
use std::io::Read;
use std::io::Write;
use std::path::{Path, PathBuf};

use cli_support::server::{Server, gateway_command, http, soon};
use cli_support::{Place, Ran, args, chat_model, edit_json, entries, equicrypt};
use equicrypt_gateway::BUDGETS;
use equicrypt_spec::MANIFEST_FILE;
use serde_json::{Value, json};

const CHAT: &str = "/v1/chat/completions";

fn question(text: &str, more: Value) -> String {
    let mut body = json!({
        "messages": [{ "role": "user", "content": text }], "temperature": 0, "max_tokens": 24,
    });
    let fields = more.as_object().unwrap().clone();
    body.as_object_mut().unwrap().extend(fields);
    body.to_string()
}

#[track_caller]
fn said(gateway: &Server, body: &str) -> String {
    let (status, answer) = gateway.post(CHAT, body);
    assert_eq!(status, 200, "{answer}");
    let answer: Value = serde_json::from_str(&answer).unwrap();
    let content = &answer["choices"][0]["message"]["content"];
    content.as_str().unwrap().to_owned()
}

fn state(gateway: &Server) -> Value {
    serde_json::from_str(&gateway.get("/state").1).unwrap()
}

/// The encrypted folder with another vocabulary.
fn rekeyed(place: &Place, folder: &Path, name: &str) -> PathBuf {
    let (out, key) = (place.path(name), place.key());
    equicrypt(args!["rekey", folder, "-o", &out, "--key", &key]).succeeds();
    out
}

/// The file with the counts, where nobody says where.
fn state_file(place: &Place) -> PathBuf {
    let folder = place.path("state/equicrypt");
    let names = entries(&folder);
    let name = names.iter().find(|name| name.ends_with(".json"));
    folder.join(name.unwrap())
}

fn counted(file: &Path, epoch: u32) -> u64 {
    let state: Value = serde_json::from_slice(&fs::read(file).unwrap()).unwrap();
    state["tokens"][epoch.to_string()].as_u64().unwrap_or(0)
}

#[test]
fn hosts_of_two_epochs_are_served_and_one_stands_in_for_the_other() {
    let place = Place::new();
    let first = place.encrypted();
    let second = rekeyed(&place, &first, "second");
    let (old, new) = (Server::start(&first), Server::start(&second));
    let upstreams = ["--upstream", &old.url(), "--upstream", &new.url()].map(str::to_owned);
    let gateway = Server::gateway(&place, &upstreams);
    let text = "What is the sky?";
    let expected = chat_model::answer(&place.model(), text, 24);
    assert_eq!(said(&gateway, &question(text, json!({}))), expected);
    let before = state(&gateway);
    assert_eq!(before["epoch"], 1);
    assert_eq!(before["hosts"][0]["epoch"], 0);
    assert_eq!(before["epochs"].as_array().unwrap().len(), 1, "{before}");

    drop(new);
    // The conversation goes on under the other epoch.
    let messages = json!({ "messages": [
        { "role": "user", "content": text }, { "role": "assistant", "content": expected },
        { "role": "user", "content": "And why?" },
    ]});
    let whole = format!("{text}{expected}And why?");
    let expected = chat_model::answer(&place.model(), &whole, 24);
    assert_eq!(said(&gateway, &question("", messages)), expected);
    let after = state(&gateway);
    assert_eq!(after["epoch"], 0);
    assert_eq!(after["epochs"].as_array().unwrap().len(), 2, "{after}");
    assert!(
        gateway
            .get("/metrics")
            .1
            .contains("epoch_tokens{epoch=\"1\"}")
    );
}

#[test]
fn a_host_that_changes_over_is_followed() {
    let place = Place::new();
    let first = place.encrypted();
    let second = rekeyed(&place, &first, "second");
    let host = Server::start(&first);
    let address = host.address().to_owned();
    let gateway = Server::gateway(&place, args!["--upstream", &host.url()]);
    let body = question("Count!", json!({}));
    let expected = chat_model::answer(&place.model(), "Count!", 24);
    assert_eq!(said(&gateway, &body), expected);
    assert_eq!(state(&gateway)["epoch"], 0);
    host.kill();
    let _host = Server::start_with(&second, args!["--listen", &address]);
    // Whenever there is an answer, it is the right one.
    soon("changed over", || {
        let (status, answer) = gateway.post(CHAT, &body);
        let right = answer.contains(&serde_json::to_string(&expected).unwrap());
        assert!(status == 503 || (status == 200 && right), "{answer}");
        status == 200
    });
    assert_eq!(state(&gateway)["epoch"], 1);
}

#[test]
fn manifests_given_for_hosts_are_binding() {
    let place = Place::new();
    let first = place.encrypted();
    let second = rekeyed(&place, &first, "second");
    let (old, new) = (Server::start(&first), Server::start(&second));
    let manifests = [&first, &second].map(|folder| folder.join(MANIFEST_FILE));
    let (old_url, new_url) = (old.url(), new.url());
    let both = args!["--upstream", &old_url, "--upstream", &new_url];
    let with = |given: &[&PathBuf]| {
        let given = given.iter().flat_map(|path| args!["--manifest", path]);
        both.into_iter()
            .chain(given)
            .map(ToOwned::to_owned)
            .collect::<Vec<_>>()
    };
    let gateway = Server::gateway(&place, with(&[&manifests[0], &manifests[1]]));
    assert_eq!(state(&gateway)["epoch"], 1);
    drop(gateway);
    // One for all: the other host serves what it must not.
    let gateway = Server::gateway(&place, with(&[&manifests[0]]));
    let state = state(&gateway);
    assert_eq!(state["hosts"][0]["epoch"], 0);
    assert!(
        state["hosts"][1]["fault"]
            .as_str()
            .unwrap()
            .contains("epoch"),
        "{state}"
    );
    drop(gateway);
    let refused = |given: &[&PathBuf], words: &[&str]| {
        let mut command = gateway_command(&place, &place.key());
        Ran::from(command.args(with(given)).output().unwrap()).fails_saying(words);
    };
    let three = [&manifests[0], &manifests[1], &manifests[1]];
    refused(&three, &["--manifest", "found 3"]);
    refused(&[&manifests[1], &manifests[0]], &["epoch"]);
    edit_json(&manifests[1], |manifest| {
        manifest["profile"] = json!("rotate")
    });
    refused(&[&manifests[0], &manifests[1]], &["profile"]);
}

#[test]
fn the_budget_warns_refuses_and_outlives_the_gateway() {
    let place = Place::new();
    let first = place.encrypted();
    let host = Server::start(&first);
    let url = host.url();
    let options = args!["--upstream", &url, "--budget", "200"];
    let gateway = Server::gateway(&place, options);
    let body = question("What is the sky?", json!({ "max_tokens": 9 }));
    let mut answered = 0;
    let refusal = loop {
        let (status, answer) = gateway.post(CHAT, &body);
        match status {
            200 => answered += 1,
            _ => break (status, answer),
        }
    };
    assert_eq!(refusal.0, 403, "{}", refusal.1);
    for word in ["epoch_budget_exhausted", "equicrypt rekey", "--budget"] {
        assert!(refusal.1.contains(word), "{}", refusal.1);
    }
    let spent = state(&gateway)["epoch_tokens"].as_u64().unwrap();
    assert!(
        (16 * answered..220).contains(&spent) && answered > 5,
        "{spent}"
    );
    let (status, err) = gateway.terminate_saying();
    assert!(status.success());
    let warning = "of the 200 tokens of its budget";
    assert_eq!(err.matches(warning).count(), 1, "{err}");
    let file = state_file(&place);
    assert_eq!(
        counted(&file, 0),
        spent,
        "a good end leaves the exact count"
    );
    let text = fs::read_to_string(&file).unwrap();
    assert!(!text.contains("sky") && text.len() < 400, "{text}");

    let gateway = Server::gateway(&place, options);
    assert_eq!(gateway.post(CHAT, &body).0, 403);
    // A new epoch has all of its budget.
    let second = rekeyed(&place, &first, "second");
    let new = Server::start(&second);
    let new_url = new.url();
    let both = args![
        "--upstream",
        &url,
        "--upstream",
        &new_url,
        "--budget",
        "200"
    ];
    let gateway_of_both = Server::gateway(&place, both);
    assert_eq!(gateway_of_both.post(CHAT, &body).0, 200);
    assert_eq!(state(&gateway_of_both)["epoch"], 1);
    drop(gateway);
    let unlimited = Server::gateway(&place, args!["--upstream", &url, "--budget", "off"]);
    assert_eq!(unlimited.post(CHAT, &body).0, 200);
    assert_eq!(state(&unlimited)["budget"], serde_json::Value::Null);
    drop(unlimited);
    let measured = Server::gateway(&place, args!["--upstream", &url, "--budget", "measured"]);
    let help = equicrypt(args!["gateway", "--help"]);
    let (_, one_to_one) = BUDGETS.last().unwrap();
    assert_eq!(state(&measured)["budget"], *one_to_one);
    let figures: String = help.out.chars().filter(|letter| *letter != ',').collect();
    for (homophones, tokens) in BUDGETS {
        assert!(figures.contains(&tokens.to_string()), "{figures}");
        assert!(
            *homophones == 0 || figures.contains(&homophones.to_string()),
            "{figures}"
        );
    }
    drop(measured);
    for budget in ["0", "-3", "many"] {
        let mut command = gateway_command(&place, &place.key());
        let ran = Ran::from(command.args(["--budget", budget]).output().unwrap());
        assert_eq!(ran.code, Some(2), "{ran:?}");
    }
}

#[test]
fn a_damaged_state_file_is_no_new_beginning() {
    let place = Place::new();
    let host = Server::start(&place.encrypted());
    let url = host.url();
    let file = place.path("counts.json");
    let options = args!["--upstream", &url, "--state", &file];
    let gateway = Server::gateway(&place, options);
    gateway.post(CHAT, &question("Count!", json!({})));
    let text = fs::read_to_string(&file).unwrap();
    let ends = |words: &[&str]| {
        let mut command = gateway_command(&place, &place.key());
        Ran::from(command.args(options).output().unwrap()).fails_saying(words);
    };
    for damaged in ["", "{}", &text[..text.len() / 2]] {
        fs::write(&file, damaged).unwrap();
        ends(&["counts.json", "damaged", "--state"]);
        assert_eq!(fs::read_to_string(&file).unwrap(), damaged);
    }
    let other = text.replacen("source_fingerprint\": \"", "source_fingerprint\": \"0", 1);
    fs::write(&file, other).unwrap();
    ends(&["counts.json", "another key or model"]);
    // The running one cannot count any longer, so it does not send.
    let long = question(&"a".repeat(1500), json!({}));
    let (status, answer) = gateway.post(CHAT, &long);
    assert_eq!(status, 500, "{answer}");
    assert!(answer.contains("state_file"), "{answer}");
}

/// Killed in the middle of an answer: no fewer tokens are counted than went out, and not many more.
#[test]
fn a_gateway_that_is_killed_has_counted_what_went_out() {
    let place = Place::new();
    let host = Server::start(&place.encrypted());
    let gateway = Server::gateway(
        &place,
        args!["--upstream", &host.url(), "--budget", "50000"],
    );
    let endless = json!({
        "stream": true, "max_tokens": 3000, "logit_bias": { "0": -100, "1": -100, "2": -100 },
    });
    let mut socket = gateway.connect();
    let body = question("Count!", endless);
    socket
        .write_all(http("POST", CHAT, &body).as_bytes())
        .unwrap();
    let (mut stream, mut buffer) = (Vec::new(), [0; 4096]);
    let tokens = |stream: &[u8]| {
        String::from_utf8_lossy(stream)
            .matches("\"content\":\"")
            .count()
    };
    while tokens(&stream) < 700 {
        let read = socket.read(&mut buffer).unwrap();
        assert!(read > 0, "ended after {} tokens", tokens(&stream));
        stream.extend_from_slice(&buffer[..read]);
    }
    gateway.kill();
    let _ = socket.read_to_end(&mut stream);
    // All but the empty text at the beginning is one token or more.
    let went_out = (tokens(&stream) - 1 + "Count!".len()) as u64;
    let counted = counted(&state_file(&place), 0);
    assert!(
        counted >= went_out,
        "{counted} counted, {went_out} went out"
    );
    let block = 500;
    let host_gave: u64 = host.metric("generated_tokens_total") + 6;
    assert!(
        counted <= host_gave.max(went_out) + 3 * block,
        "{counted} of {host_gave}"
    );
}
