//! What the gateway costs: `cargo bench --bench gateway`.
//!
//! A host that emits ids as fast as it can, or at a steady pace, is asked directly and through the gateway, which runs as
//! a process of its own. Printed as one JSON object:
//! - `added_microseconds`: how much later an id arrives through the gateway than directly, at the median and at the 99th
//!   percentile, of one stream at different rates; of a slow one most is the time that idle processors take to wake;
//! - `relayed_per_core_second`: ids that the gateway relays for each second of processor time that it takes, 32 streams;
//! - `sealed`: the same two with sealed requests, beside unsealed ones, in turn; of `relayed_per_core_second` also the middle
//!   ratio, and microseconds of a whole request for one id;
//! - `memory_mb`: its resident memory after 1,000 requests and after 10,000 more;
//! - `of_direct`: with a folder of SmolLM2 in `EQUICRYPT_SMOLLM2`, tokens a second of 4 concurrent answers through the
//!   gateway, as a share of those of the same requests to `equicrypt serve` itself.
//!
//! The tokenizer is SmolLM2's if the folder is given, else that of a tiny test model.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    missing_docs,
    reason = "a benchmark"
)]

#[path = "../tests/cli_support/mod.rs"]
mod cli_support;
#[path = "../tests/support/mod.rs"]
mod support;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use cli_support::server::{Server, http};
use cli_support::{Place, args, equicrypt};
use equicrypt_sealed::{CONTENT_TYPE, Head, SealedRequest, StreamSealer, TransportSecret, Window};
use serde_json::{Value, json};

const STREAMS: usize = 32;
const TOKENS: usize = 4000;

fn main() {
    let folder = std::env::var_os("EQUICRYPT_SMOLLM2").map(PathBuf::from);
    let place = Place::new();
    let model = folder.clone().unwrap_or_else(|| place.model());
    let (key, encrypted) = (place.key(), place.out());
    equicrypt(args!["encrypt", &model, "-o", &encrypted, "--key", &key]).succeeds();
    let manifest = std::fs::read_to_string(encrypted.join("equicrypt.json")).unwrap();
    let manifest: Value = serde_json::from_str(&manifest).unwrap();
    let mock = Mock::start(manifest);
    let gateway = Gateway::start(&place, &model, &mock.url(), &["--unsealed"]);
    let mut report = json!({ "tokenizer": if folder.is_some() { "SmolLM2" } else { "tiny" } });

    for rate in [200, 1000, 5000] {
        mock.pace(1_000_000 / rate);
        let direct = delays(&mock, &mock.address, GENERATE, &generate());
        let through = delays(&mock, &gateway.address, COMPLETIONS, &completion());
        let added = |share: f64| 1e6 * (percentile(&through, share) - percentile(&direct, share));
        report["added_microseconds"][format!("{rate} ids a second")] = json!({
            "median": added(0.5).round(), "p99": added(0.99).round(),
            "median_of_direct": (1e6 * percentile(&direct, 0.5)).round(),
        });
    }

    mock.pace(0);
    ask(&gateway.address, CHAT, &chat(TOKENS));
    let (per_core, per_second) = relayed(&gateway);
    report["relayed_per_core_second"] = json!(per_core.round());
    report["relayed_per_second"] = json!(per_second.round());

    let sealing = Gateway::start(&place, &model, &mock.url(), &[]);
    report["sealed"] = sealed(&mock, &gateway, &sealing);

    let requests = |count: usize| {
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    (0..count / 4).for_each(|_| drop(ask(&gateway.address, CHAT, &chat(8))))
                });
            }
        });
        gateway.memory_mb()
    };
    report["memory_mb"] =
        json!({ "after_1000": requests(1000), "after_10000_more": requests(10_000) });

    if folder.is_some() {
        report["of_direct"] = json!(real(&place, &model, &encrypted));
    }
    println!("{}", serde_json::to_string_pretty(&report).unwrap());
}

/// Ids a second of the gateway's processor time, and of time.
fn relayed(gateway: &Gateway) -> (f64, f64) {
    let (before, start) = (gateway.cpu_seconds(), Instant::now());
    std::thread::scope(|scope| {
        for _ in 0..STREAMS {
            scope.spawn(|| ask(&gateway.address, CHAT, &chat(TOKENS)));
        }
    });
    let cpu = gateway.cpu_seconds() - before;
    let relayed = (STREAMS * TOKENS) as f64;
    (relayed / cpu, relayed / start.elapsed().as_secs_f64())
}

/// What sealing costs, both ends together but for processor time.
fn sealed(mock: &Mock, open: &Gateway, sealing: &Gateway) -> Value {
    let mut ratios = Vec::new();
    let (mut plain, mut with) = (Vec::new(), Vec::new());
    for _ in 0..5 {
        plain.push(relayed(open).0);
        with.push(relayed(sealing).0);
        ratios.extend(
            with.last()
                .zip(plain.last())
                .map(|(with, plain)| with / plain),
        );
    }
    let request = |gateway: &Gateway| {
        let once = |_| {
            let start = Instant::now();
            ask(&gateway.address, CHAT, &chat(1));
            start.elapsed().as_secs_f64()
        };
        middle((0..400).map(once).collect())
    };
    let pairs: Vec<_> = (0..5).map(|_| (request(open), request(sealing))).collect();
    let micros = |values: Vec<f64>| (1e6 * middle(values)).round();
    mock.pace(1000);
    let delay = |gateway: &Gateway| {
        percentile(
            &delays(mock, &gateway.address, COMPLETIONS, &completion()),
            0.5,
        )
    };
    let waits: Vec<_> = (0..5).map(|_| (delay(open), delay(sealing))).collect();
    mock.pace(0);
    let both = |pairs: &[(f64, f64)]| {
        let (open, sealed) = pairs.iter().copied().unzip();
        json!({ "unsealed": micros(open), "sealed": micros(sealed) })
    };
    json!({
        "relayed_per_core_second": {
            "unsealed": middle(plain).round(), "sealed": middle(with).round(),
            "ratio": (1000.0 * middle(ratios)).round() / 1000.0,
        },
        "request_microseconds": both(&pairs),
        "microseconds_behind_the_host": both(&waits),
    })
}

fn middle(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Tokens a second of 4 answers at once, through a gateway, as a share of those of the host itself: the middle of 5 pairs.
fn real(place: &Place, model: &Path, encrypted: &Path) -> f64 {
    let host = Server::start(encrypted);
    let gateway = Gateway::start(place, model, &host.url(), &[]);
    let rate = |address: &str, route: &str, body: &dyn Fn(usize) -> Value| {
        let start = Instant::now();
        let count = AtomicU64::new(0);
        std::thread::scope(|scope| {
            for number in 0..4 {
                let (count, body) = (&count, body(number));
                scope.spawn(move || {
                    let events = ask(address, route, &body).len();
                    count.fetch_add(events as u64, Ordering::Relaxed);
                });
            }
        });
        assert!(count.into_inner() > 4 * 100, "answers ended early");
        1.0 / start.elapsed().as_secs_f64()
    };
    // Both fill the context with as many ids, of which no stop id ends the answer.
    let direct = |number: usize| {
        json!({ "token_ids": vec![number + 5; 40], "stream": true,
            "sampling_params": { "max_tokens": 128, "temperature": 0.0, "ignore_eos": true } })
    };
    let through = |number: usize| {
        json!({ "prompt": vec![number + 5; 40], "stream": true, "max_tokens": 128, "temperature": 0,
            "logit_bias": { "2": -100, "0": -100 } })
    };
    let mut shares: Vec<f64> = (0..5)
        .map(|_| {
            let direct = rate(host.address(), GENERATE, &direct);
            rate(&gateway.address, COMPLETIONS, &through) / direct
        })
        .collect();
    shares.sort_by(f64::total_cmp);
    (shares[2] * 1000.0).round() / 1000.0
}

/// Seconds from the moment at which the mock sent each id to that at which it was read.
fn delays(mock: &Mock, address: &str, route: &str, body: &Value) -> Vec<f64> {
    mock.sent.lock().unwrap().clear();
    let read = ask(address, route, body);
    let sent = mock.sent.lock().unwrap();
    assert_eq!(sent.len(), read.len(), "an event for each id");
    // Behind the first ids, which also carry the connection's start.
    let pairs = sent.iter().zip(&read).skip(20);
    let mut delays: Vec<f64> = pairs
        .map(|(sent, read)| (*read - *sent).as_secs_f64())
        .collect();
    assert!(delays.len() > 300, "{} ids", delays.len());
    delays.sort_by(f64::total_cmp);
    delays
}

fn percentile(sorted: &[f64], share: f64) -> f64 {
    sorted[((sorted.len() - 1) as f64 * share) as usize]
}

/// One id, which the mock repeats: each of the answer has a text of its own.
fn generate() -> Value {
    json!({ "token_ids": [LETTER], "stream": true, "sampling_params": { "max_tokens": 400 } })
}

fn completion() -> Value {
    json!({ "prompt": [LETTER], "stream": true, "max_tokens": 400 })
}

fn chat(tokens: usize) -> Value {
    json!({ "messages": [{ "role": "user", "content": "abc" }], "stream": true, "max_tokens": tokens })
}

/// When each event with new text was read.
fn ask(address: &str, route: &str, body: &Value) -> Vec<Instant> {
    let mut socket = TcpStream::connect(address).unwrap();
    socket.set_nodelay(true).unwrap();
    socket
        .write_all(http("POST", route, &body.to_string()).as_bytes())
        .unwrap();
    let mut times = Vec::new();
    let mut whole = String::new();
    for line in BufReader::with_capacity(1 << 16, socket).lines() {
        let line = line.unwrap();
        let text = line.contains("\"content\":\"") && !line.contains("\"content\":\"\"");
        if text || line.contains("\"token_ids\":[") || line.contains("\"text\":\"") {
            times.push(Instant::now());
        }
        if times.is_empty() {
            whole.push_str(&line);
        }
    }
    assert!(!times.is_empty(), "{whole}");
    times
}

/// A host that says ids without computing them.
struct Mock {
    address: String,
    pace: Arc<AtomicU64>,
    sent: Arc<Mutex<Vec<Instant>>>,
}

impl Mock {
    fn start(manifest: Value) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mock = Self {
            address: listener.local_addr().unwrap().to_string(),
            pace: Arc::default(),
            sent: Arc::default(),
        };
        let (pace, sent) = (Arc::clone(&mock.pace), Arc::clone(&mock.sent));
        let size = manifest["vocab_size"].as_u64().unwrap();
        let models = json!({ "data": [{ "id": "mock", "equicrypt": manifest }] }).to_string();
        let secret = Arc::new(TransportSecret::generate().unwrap());
        std::thread::spawn(move || {
            for socket in listener.incoming() {
                let (pace, sent, models) = (Arc::clone(&pace), Arc::clone(&sent), models.clone());
                let secret = Arc::clone(&secret);
                // A client that leaves is no error.
                std::thread::spawn(move || {
                    drop(answer(
                        socket.unwrap(),
                        &models,
                        &secret,
                        size,
                        &pace,
                        &sent,
                    ))
                });
            }
        });
        mock
    }

    fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Microseconds between ids.
    fn pace(&self, microseconds: u64) {
        self.pace.store(microseconds, Ordering::Relaxed);
    }
}

fn answer(
    mut socket: TcpStream,
    models: &str,
    secret: &TransportSecret,
    size: u64,
    pace: &AtomicU64,
    sent: &Mutex<Vec<Instant>>,
) -> std::io::Result<()> {
    socket.set_nodelay(true)?;
    let mut reader = BufReader::new(socket.try_clone()?);
    loop {
        let (mut head, mut length) = (String::new(), 0);
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line)? == 0 {
                return Ok(());
            }
            if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length: ") {
                length = value.trim().parse().unwrap();
            }
            if line == "\r\n" {
                break;
            }
            head.push_str(&line);
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body)?;
        if head.starts_with("GET ") {
            let kind = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length";
            let key = json!({
                "key": secret.public().unwrap().to_string(), "window": WINDOW.to_string(),
            })
            .to_string();
            let body = if head.contains("/transport-key") {
                &key
            } else {
                models
            };
            socket.write_all(format!("{kind}: {}\r\n\r\n{body}", body.len()).as_bytes())?;
            continue;
        }
        let (body, mut seal) = match head.contains(CONTENT_TYPE) {
            true => {
                let sealed = SealedRequest::parse(&body).unwrap();
                let (body, sealer) = sealed.open(secret, &format!("POST {GENERATE}")).unwrap();
                let content_type = "text/event-stream".into();
                let head = Head {
                    status: 200,
                    window: WINDOW,
                    content_type,
                };
                (body, Some(sealer.start(&head).unwrap()))
            }
            false => (body, None),
        };
        let request: Value = serde_json::from_slice(&body).unwrap();
        let tokens = request["sampling_params"]["max_tokens"].as_u64().unwrap();
        let stops: Vec<u64> =
            serde_json::from_value(request["sampling_params"]["stop_token_ids"].clone())
                .unwrap_or_default();
        let kind = if seal.is_some() {
            CONTENT_TYPE
        } else {
            "text/event-stream"
        };
        socket.write_all(
            format!("HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\nconnection: close\r\n\r\n")
                .as_bytes(),
        )?;
        let pause = Duration::from_micros(pace.load(Ordering::Relaxed));
        let ids = (0..)
            .map(|n: u64| n.wrapping_mul(7919) % size)
            .filter(|id| !stops.contains(id));
        let mut out = Vec::new();
        let mut sealer: Option<StreamSealer> = None;
        if let Some((start, stream)) = seal.take() {
            out = start;
            sealer = Some(stream);
        }
        for (number, id) in (1..=tokens).zip(ids) {
            let finish = if number == tokens {
                "\"length\""
            } else {
                "null"
            };
            let event = format!(
                "data: {{\"request_id\":\"generate-tokens-mock\",\"usage\":null,\"output_mode\":\"tokens\",\"choices\":[{{\"index\":0,\
                 \"finish_reason\":{finish},\"stop_reason\":null,\"token_ids\":[{id}],\"logprobs\":null}}]}}\n\n"
            );
            if !pause.is_zero() {
                std::thread::sleep(pause);
                sent.lock().unwrap().push(Instant::now());
            }
            match &mut sealer {
                Some(sealer) => out.extend(sealer.data(event.as_bytes()).unwrap()),
                None => out.extend_from_slice(event.as_bytes()),
            }
            if !pause.is_zero() || out.len() > 1 << 14 {
                socket.write_all(&out)?;
                out.clear();
            }
        }
        let done = b"data: [DONE]\n\n";
        match sealer {
            Some(sealer) => out.extend(sealer.finish(done).unwrap()),
            None => out.extend_from_slice(done),
        }
        return socket.write_all(&out);
    }
}

/// `equicrypt gateway` as a process, seen from outside.
struct Gateway {
    child: std::process::Child,
    address: String,
}

impl Gateway {
    fn start(place: &Place, model: &Path, upstream: &str, options: &[&str]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_equicrypt"));
        command.args(args![
            "gateway",
            "--model",
            model,
            "--key",
            &place.key(),
            "--upstream",
            upstream
        ]);
        command
            .args(["--listen", "127.0.0.1:0", "--budget", "off"])
            .args(options)
            .env("XDG_STATE_HOME", place.path("state"))
            .stdout(std::process::Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        let (_, address) = line.trim_end().rsplit_once("http://").unwrap();
        Self {
            address: address.to_owned(),
            child,
        }
    }

    /// Processor time so far: fields 14 and 15 of /proc/PID/stat, in hundredths of a second.
    fn cpu_seconds(&self) -> f64 {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id())).unwrap();
        let fields: Vec<&str> = stat.rsplit_once(") ").unwrap().1.split(' ').collect();
        let ticks = |field: usize| fields[field - 3].parse::<f64>().unwrap();
        (ticks(14) + ticks(15)) / 100.0
    }

    fn memory_mb(&self) -> f64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("VmRSS:"))
            .unwrap();
        let kilobytes: f64 = line.trim().trim_end_matches(" kB").trim().parse().unwrap();
        (kilobytes / 102.4).round() / 10.0
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

const WINDOW: Window = Window::from_bytes([7; 16]);
const GENERATE: &str = "/inference/v1/generate";
/// A letter in both tokenizers.
const LETTER: u32 = 40;
const COMPLETIONS: &str = "/v1/completions";
const CHAT: &str = "/v1/chat/completions";
