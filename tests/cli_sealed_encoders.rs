//! Sealed requests for encoders, from the commands and through the gateway: what passes is noise, what the host writes are
//! counts, and nothing that passed can be sent again.

#![allow(clippy::unwrap_used, reason = "a test that fails may panic")]

mod cli_support;
mod support;

use cli_support::encoder::{Served, one_label, three_labels, unchanged};
use cli_support::middle::{Middle, Post};
use cli_support::recorder::Recorder;
use cli_support::server::Server;
use cli_support::wire::{Spellings, assert_noise, chi_square, sealed_in_log};
use equicrypt_cipher::Vocabulary;
use equicrypt_gateway::{Long, Prepared};
use equicrypt_spec::Profile;
use serde_json::{Value, json};
use support::key;

#[test]
fn embeddings_of_the_command() {
    Case {
        class: "BertModel",
        change: unchanged,
        route: "/v1/embeddings",
        prepared: |served, text| served.prepared(text),
        ask: |served, url, more| command(served, url, &[&["embed", "--batch", "100"], more]),
        least: 64 << 10,
    }
    .passes();
}

#[test]
fn embeddings_through_the_gateway() {
    Case {
        class: "BertModel",
        change: unchanged,
        route: "/v1/embeddings",
        prepared: |served, text| served.prepared(text),
        ask: |served, url, more| {
            let gateway = served.gateway(&[&["--upstream", url], more].concat());
            let texts = texts();
            let answers = texts.chunks(100).map(|texts| {
                let asked = json!({ "input": texts }).to_string();
                let (status, answer) = gateway.post("/v1/embeddings", &asked);
                assert_eq!(status, 200, "{answer}");
                let answer: Value = serde_json::from_str(&answer).unwrap();
                assert_eq!(answer["data"].as_array().unwrap().len(), texts.len());
                answer["data"].to_string()
            });
            answers.collect()
        },
        least: 64 << 10,
    }
    .passes();
}

#[test]
fn labels() {
    Case {
        class: "BertForSequenceClassification",
        change: three_labels,
        route: "/classify",
        prepared: |served, text| served.prepared(text),
        ask: |served, url, more| command(served, url, &[&["classify", "--batch", "100"], more]),
        least: 32 << 10,
    }
    .passes();
}

#[test]
fn relevance() {
    Case {
        class: "BertForSequenceClassification",
        change: one_label,
        route: "/rerank",
        prepared: |served, text| {
            let pair = served.owner().encode_pair(QUERY, text, Long::Truncate);
            pair.unwrap()
        },
        ask: |served, url, more| {
            command(served, url, &[&["rerank", QUERY, "--batch", "100"], more])
        },
        least: 16 << 10,
    }
    .passes();
}

/// A way to ask an encoder.
struct Case {
    class: &'static str,
    change: fn(&mut Value),
    /// Where the host is asked.
    route: &'static str,
    /// A text's ids, as the owner has them.
    prepared: fn(&Served, &str) -> Prepared,
    /// Asks for all texts, by way of an address; returns the answer.
    ask: fn(&Served, &str, &[&str]) -> Vec<String>,
    /// Bytes that pass each way, at least.
    least: usize,
}

impl Case {
    fn passes(&self) {
        let logging = ["--log-requests"];
        let served = Served::serving(self.class, Profile::Permute, self.change, &logging);
        let ids = self.cipher_ids(&served);
        let spellings = Spellings::of(ids.iter().map(Vec::as_slice));
        let middle = Middle::before(served.server.address());

        // In the open: what the tests below would find.
        let recorder = Recorder::before(middle.address());
        let plain = (self.ask)(&served, &recorder.url(), &["--unsealed"]);
        let open = middle.posts();
        let bytes = bodies(&open);
        assert!(chi_square(&bytes) > 50_000.0);
        assert!(spellings.are_in(&recorder.bytes()));
        let text = String::from_utf8(bytes).unwrap();
        assert!(ids.iter().all(|ids| text.contains(&json!(ids).to_string())));
        middle.forget();

        let recorder = Recorder::before(middle.address());
        assert_eq!((self.ask)(&served, &recorder.url(), &[]), plain);
        let seen = middle.posts();
        assert_eq!(seen.len(), open.len());
        let sealed = |post: &Post| post.head.contains("application/x-equicrypt-sealed");
        assert!(seen.iter().all(sealed));
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
            assert!(bytes.len() > self.least, "{} bytes", bytes.len());
            assert_noise(bytes);
        }
        assert!(recorder.bytes().len() > requests.len() + responses.len());
        assert!(!spellings.are_in(&recorder.bytes()), "ids are on the wire");
        self.is_never_taken_again(served, &seen, &spellings);
    }

    /// Not now, not at another route, not after a restart. All that the host wrote are counts.
    fn is_never_taken_again(&self, served: Served, seen: &[Post], spellings: &Spellings) {
        let other = if self.route == "/classify" {
            "/pooling"
        } else {
            "/classify"
        };
        for post in seen {
            let answer = post.send_again(served.server.address(), self.route);
            assert!(
                answer.starts_with("HTTP/1.1 409") && answer.contains("received before"),
                "{answer}"
            );
            let answer = post.send_again(served.server.address(), other);
            assert!(
                answer.starts_with("HTTP/1.1 400") && answer.contains("cannot be opened"),
                "{answer}"
            );
        }
        let folder = served.path("encrypted");
        let (out, log) = served.server.kill_saying_all();
        assert!(!spellings.are_in(out.as_bytes()), "{out}");
        assert!(!spellings.are_in(log.as_bytes()), "{log}");
        let sealed = sealed_in_log(&log, &[self.route, other]);
        assert_eq!(sealed, 3 * seen.len(), "{log}");

        let again = Server::start(&folder);
        let answer = seen[0].send_again(again.address(), self.route);
        assert!(
            answer.starts_with("HTTP/1.1 409") && answer.contains("another process"),
            "{answer}"
        );
    }

    /// What the host is sent for each text, computed from the key.
    fn cipher_ids(&self, served: &Served) -> Vec<Vec<u32>> {
        let vocabulary = Vocabulary::open(&key(cli_support::KEY), &served.manifest()).unwrap();
        let owner_ids = texts()
            .into_iter()
            .map(|text| (self.prepared)(served, &text));
        let encrypt = |text: Prepared| vocabulary.encrypt(text.ids()).unwrap();
        owner_ids
            .map(|text| encrypt(text).as_slice().to_vec())
            .collect()
    }
}

fn command(served: &Served, url: &str, words: &[&[&str]]) -> Vec<String> {
    let words = words.concat();
    let (name, rest) = words.split_first().unwrap();
    let ran = served.run_at(url, &texts().join("\n"), name, rest);
    let lines: Vec<String> = ran.succeeds().lines().map(str::to_owned).collect();
    assert_eq!(lines.len(), TEXTS);
    lines
}

fn bodies(posts: &[Post]) -> Vec<u8> {
    let bodies = posts
        .iter()
        .flat_map(|post| [&post.request[..], &post.response].concat());
    bodies.collect()
}

/// As many different ones, of about thirty words.
fn texts() -> Vec<String> {
    let word = |text: usize, place: usize| {
        let step = text / WORDS.len() + 1;
        WORDS[(text + place * step) % WORDS.len()]
    };
    let words = |text| (0..30).map(move |place| word(text, place));
    (0..TEXTS)
        .map(|text| words(text).collect::<Vec<_>>().join(" "))
        .collect()
}

const TEXTS: usize = 700;

const QUERY: &str = "where is the cat?";

/// A prime number of them, each a token.
const WORDS: [&str; 37] = [
    "the", "a", "cat", "dog", "sat", "on", "mat", "and", "ran", "far", "away", "red", "bright",
    "river", "bank", "where", "what", "is", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l",
    "m", "n", "o", "p", "q", "r", "s", "t",
];
