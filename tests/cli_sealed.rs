//! Sealed requests between `gateway` and `serve`, with somebody on the way who records and changes what passes.

#![allow(clippy::unwrap_used, reason = "a test that fails may panic")]

mod cli_support;
mod support;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use cli_support::middle::Middle;
use cli_support::server::{Server, gateway_command, soon};
use cli_support::wire::{Spellings, assert_noise, chi_square, sealed_in_log};
use cli_support::{Place, Ran, args, chat_model};
use serde_json::{Value, json};

const CHAT: &str = "/v1/chat/completions";

fn serve(place: &Place, folder: &Path, key: &str, more: &[&str]) -> Server {
    let key = place.path(key);
    let mut options = vec!["--transport-key", key.to_str().unwrap()];
    options.extend(more);
    Server::start_with(folder, options)
}

/// What the server prints as its fingerprint.
fn fingerprint(server: &mut Server) -> String {
    let line = server.next_line();
    let rest = line.strip_prefix("sealed requests: ");
    let (fingerprint, _) = rest
        .and_then(|rest| rest.split_once(", "))
        .unwrap_or_else(|| panic!("{line}"));
    fingerprint.to_owned()
}

fn chat(tokens: usize, more: Value) -> String {
    let content = "What is the sky? ".repeat(8);
    let mut body = json!({
        "messages": [{ "role": "user", "content": content }], "max_tokens": tokens, "temperature": 0,
        "logit_bias": { "0": -100, "1": -100, "2": -100 },
    });
    body.as_object_mut()
        .unwrap()
        .extend(more.as_object().unwrap().clone());
    body.to_string()
}

#[test]
fn who_is_on_the_way_sees_noise_and_the_log_has_counts() {
    let place = Place::new();
    let host = serve(&place, &place.encrypted(), "t.key", &["--log-requests"]);
    let middle = Middle::before(host.address());
    let prompt = "What is the sky? Count! ".repeat(160);
    let ask = |gateway: &Server| {
        let (status, answer) = gateway.post(CHAT, &chat(300, json!({ "stream": true })));
        assert!(status == 200 && answer.contains("[DONE]"), "{answer}");
        for _ in 0..6 {
            let body = json!({ "prompt": prompt, "max_tokens": 2, "temperature": 0 }).to_string();
            assert_eq!(gateway.post("/v1/completions", &body).0, 200);
        }
    };
    let bodies = |middle: &Middle| {
        let posts = middle.posts();
        assert_eq!(posts.len(), 7);
        posts
    };
    // In the open: what the tests below would find.
    let open = Server::gateway(&place, args!["--upstream", &middle.url(), "--unsealed"]);
    ask(&open);
    let seen = bodies(&middle);
    let sent: Value = serde_json::from_slice(&seen[1].request).unwrap();
    let ids: Vec<u32> = serde_json::from_value(sent["token_ids"].clone()).unwrap();
    assert_eq!(ids.len(), prompt.len());
    let all: Vec<u8> = seen
        .iter()
        .flat_map(|post| [&post.request[..], &post.response].concat())
        .collect();
    assert!(chi_square(&all) > 100_000.0);
    let spellings = Spellings::of([&ids[..]]);
    assert!(spellings.are_in(&all));
    middle.forget();

    let sealed = Server::gateway(&place, args!["--upstream", &middle.url()]);
    ask(&sealed);
    let seen = bodies(&middle);
    assert!(
        seen.iter()
            .all(|post| post.head.contains("application/x-equicrypt-sealed"))
    );
    let requests: Vec<u8> = seen
        .iter()
        .flat_map(|post| post.request[1..].to_vec())
        .collect();
    // Frames without their lengths, which anybody may count.
    let responses: Vec<u8> = seen
        .iter()
        .flat_map(|post| post.frames().concat_without_lengths())
        .collect();
    for bytes in [&requests, &responses] {
        assert!(bytes.len() > 64 << 10, "{} bytes", bytes.len());
        assert_noise(bytes);
    }
    let all: Vec<u8> = seen
        .iter()
        .flat_map(|post| [&post.request[..], &post.response].concat())
        .collect();
    assert!(!spellings.are_in(&all), "ids are on the wire");

    let (out, log) = host.kill_saying_all();
    assert!(!spellings.are_in(out.as_bytes()), "{out}");
    assert!(!spellings.are_in(log.as_bytes()), "{log}");
    assert!(log.lines().count() > 12, "{log}");
    assert_eq!(sealed_in_log(&log, &["/inference/v1/generate"]), 7);
}

#[test]
fn a_replay_is_refused_and_after_a_restart_too() {
    let place = Place::new();
    let folder = place.encrypted();
    let host = serve(&place, &folder, "t.key", &[]);
    let middle = Middle::before(host.address());
    let gateway = Server::gateway(&place, args!["--upstream", &middle.url()]);
    assert_eq!(gateway.post(CHAT, &chat(3, json!({}))).0, 200);
    let post = middle.posts().remove(0);
    let replay = |host: &Server| post.send_again(host.address(), "/inference/v1/generate");
    for _ in 0..2 {
        let answer = replay(&host);
        assert!(
            answer.starts_with("HTTP/1.1 409") && answer.contains("received before"),
            "{answer}"
        );
    }
    let address = host.address().to_owned();
    host.kill();
    let host = serve(&place, &folder, "t.key", &["--listen", &address]);
    let answer = replay(&host);
    assert!(
        answer.starts_with("HTTP/1.1 409") && answer.contains("another process"),
        "{answer}"
    );
    // The key is the same, so the gateway only has to take the new window.
    soon("back", || gateway.post(CHAT, &chat(3, json!({}))).0 == 200);
}

#[test]
fn an_answer_that_was_changed_on_the_way_is_an_error() {
    let place = Place::new();
    let host = serve(&place, &place.encrypted(), "t.key", &[]);
    let middle = Middle::before(host.address());
    let gateway = Server::gateway(&place, args!["--upstream", &middle.url()]);
    let expected = chat_model::answer(&place.model(), "Count!", 12);
    let asked = json!({
        "messages": [{ "role": "user", "content": "Count!" }], "max_tokens": 12, "temperature": 0,
    });
    let ask = |stream: bool| {
        let mut asked = asked.clone();
        asked["stream"] = stream.into();
        gateway.post(CHAT, &asked.to_string())
    };
    let well = || soon("well", || gateway.get("/health").0 == 200);
    for (tamper, words) in [
        (cut as fn(&mut Vec<Vec<u8>>), "cut off"),
        (swap, "another order"),
        (repeat, "came again"),
        (append, "added behind"),
    ] {
        well();
        middle.tamper(Some(tamper));
        let (_, stream) = ask(true);
        assert!(
            stream.contains("\"error\"") && !stream.contains("[DONE]"),
            "{words}: {stream}"
        );
        assert!(stream.contains(words), "{words}: {stream}");
        well();
        let (status, whole) = ask(false);
        assert!(
            status >= 500 && whole.contains(words),
            "{words}: {status} {whole}"
        );
        middle.tamper(None);
    }
    well();
    let (status, answer) = ask(false);
    let answer: Value = serde_json::from_str(&answer).unwrap();
    assert_eq!(
        (status, answer["choices"][0]["message"]["content"].as_str()),
        (200, Some(expected.as_str()))
    );
}

fn cut(frames: &mut Vec<Vec<u8>>) {
    frames.pop();
}

fn swap(frames: &mut Vec<Vec<u8>>) {
    let frame = frames.remove(4);
    frames.insert(5, frame);
}

fn repeat(frames: &mut Vec<Vec<u8>>) {
    frames.insert(5, frames[4].clone());
}

fn append(frames: &mut Vec<Vec<u8>>) {
    frames.push(frames[1].clone());
}

#[test]
fn a_changed_key_is_refused_until_the_owner_says_so() {
    let place = Place::new();
    let folder = place.encrypted();
    let mut host = serve(&place, &folder, "one.key", &[]);
    let address = host.address().to_owned();
    let first = fingerprint(&mut host);
    let mode = fs::metadata(place.path("one.key"))
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
    let mut gateway = Server::gateway(&place, args!["--upstream", &host.url()]);
    assert!(gateway.next_line().contains(&first));
    let state: Value = serde_json::from_str(&gateway.get("/state").1).unwrap();
    assert_eq!(state["hosts"][0]["sealed_to"], first.as_str());
    let pins = place.path("state/equicrypt/hosts.json");
    let kept = fs::read_to_string(&pins).unwrap();
    assert!(kept.contains(&host.url()), "{kept}");
    host.kill();

    let mut host = serve(&place, &folder, "two.key", &["--listen", &address]);
    let second = fingerprint(&mut host);
    assert_ne!(first, second);
    let fault = || {
        let state: Value = serde_json::from_str(&gateway.get("/state").1).unwrap();
        state["hosts"][0]["fault"]
            .as_str()
            .unwrap_or_default()
            .to_owned()
    };
    assert_eq!(gateway.post(CHAT, &chat(2, json!({}))).0, 503);
    soon("noticed", || {
        fault().contains(&second) && fault().contains("hosts.json")
    });
    assert_eq!(gateway.post(CHAT, &chat(2, json!({}))).0, 503);
    let ends = |more: &[&str]| {
        let mut command = gateway_command(&place, &place.key());
        command
            .args(["--upstream", &format!("http://{address}")])
            .args(more);
        Ran::from(command.output().unwrap())
    };
    ends(&[]).fails_saying(&[&first, &second, "hosts.json", "reads along"]);
    ends(&["--seal-to", &first]).fails_saying(&[&first, &second, "--seal-to"]);
    ends(&["--seal-to", &second, "--engine", "vllm"])
        .fails_saying(&["--seal-to", "equicrypt's server"]);
    ends(&["--seal-to", &second, "--seal-to", &first]).fails_saying(&["--seal-to", "found 2"]);
    ends(&["--seal-to", "no key"]).is_misused_saying(&["fingerprint"]);
    ends(&["--seal-to", &second, "--unsealed"]).is_misused_saying(&["--unsealed"]);
    assert_eq!(fs::read_to_string(&pins).unwrap(), kept);

    let told = Server::gateway(
        &place,
        args!["--upstream", &host.url(), "--seal-to", &second],
    );
    assert_eq!(told.post(CHAT, &chat(2, json!({}))).0, 200);
    // Or they take its line out of the file.
    fs::remove_file(&pins).unwrap();
    soon("believed again", || gateway.get("/health").0 == 200);
    assert_eq!(gateway.post(CHAT, &chat(2, json!({}))).0, 200);
}

#[test]
fn each_host_has_its_own_seal_and_another_takes_over() {
    let place = Place::new();
    let folder = place.encrypted();
    let mut hosts =
        ["one.key", "two.key"].map(|key| serve(&place, &folder, key, &["--sealed-only"]));
    let urls = hosts.each_ref().map(Server::url);
    let prints = hosts.each_mut().map(fingerprint);
    let gateway = Server::gateway(
        &place,
        args![
            "--upstream",
            &urls[0],
            "--upstream",
            &urls[1],
            "--seal-to",
            &prints[0],
            "--seal-to",
            &prints[1]
        ],
    );
    let [first, second] = hosts;
    assert_eq!(gateway.post(CHAT, &chat(2, json!({}))).0, 200);
    first.kill();
    assert_eq!(gateway.post(CHAT, &chat(2, json!({}))).0, 200);
    assert_eq!(gateway.post(CHAT, &chat(2, json!({}))).0, 200);
    assert!(second.metric("prompt_tokens_total") > 0);
    // Nothing goes unsealed to a host that insists.
    let mut open = Server::gateway(&place, args!["--upstream", &urls[1], "--unsealed"]);
    assert!(open.next_line().contains("not sealed"));
    let (status, answer) = open.post(CHAT, &chat(2, json!({})));
    assert!(
        status >= 400 && answer.contains("sealed requests only"),
        "{status} {answer}"
    );
}

#[test]
fn without_a_place_for_it_the_key_is_new_with_every_start_and_the_host_says_so() {
    let place = Place::new();
    let folder = place.encrypted();
    let nowhere: PathBuf = place.key().join("state");
    let start = || {
        let mut command = cli_support::command(args!["serve", &folder, "--listen", "127.0.0.1:0"]);
        command.env("XDG_STATE_HOME", &nowhere);
        let mut server = Server::run(command, &folder);
        server.next_line()
    };
    let lines = [start(), start()];
    assert!(
        lines
            .iter()
            .all(|line| line.contains("new with every start")),
        "{lines:?}"
    );
    assert_ne!(lines[0], lines[1]);
    // One that was asked for by name must be there.
    let ran = cli_support::equicrypt(args![
        "serve",
        &folder,
        "--transport-key",
        &nowhere.join("key")
    ]);
    ran.fails_saying(&["transport key file", "owner.key"]);
    let state = place.path("kept");
    let kept = || {
        let mut command = cli_support::command(args!["serve", &folder, "--listen", "127.0.0.1:0"]);
        command.env("XDG_STATE_HOME", &state);
        Server::run(command, &folder).next_line()
    };
    assert_eq!(kept(), kept());
    let key = state.join("equicrypt/transport.key");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).unwrap();
    let mut command = cli_support::command(args!["serve", &folder]);
    command.env("XDG_STATE_HOME", &state);
    Ran::from(command.output().unwrap()).fails_saying(&["transport.key", "644"]);
}
