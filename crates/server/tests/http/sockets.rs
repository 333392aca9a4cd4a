//! The server on a real socket: streams, clients that go away, overload, shutdown.

use std::net::SocketAddr;
use std::time::Duration;

use equicrypt_engine::EngineOptions;
use equicrypt_server::{AnyEngine, Error, ServeOptions, serve};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::common::*;

/// Long enough that no test sees an answer of this length.
const LONG: usize = 60_000;
const PATH: &str = "/inference/v1/generate";

struct Server {
    address: SocketAddr,
    engine: AnyEngine,
    stop: oneshot::Sender<()>,
    task: JoinHandle<Result<(), Error>>,
}

async fn start(max_batch: usize, max_queue: usize, grace: Duration) -> Server {
    let engine_options = EngineOptions {
        max_batch,
        max_queue,
        ..options()
    };
    let host = host(LONG + 10, engine_options);
    let engine = host.engine().clone();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = oneshot::channel();
    let options = ServeOptions {
        grace,
        ..ServeOptions::default()
    };
    let task = tokio::spawn(serve(listener, host, options, async {
        let _ = stopped.await;
    }));
    Server {
        address,
        engine,
        stop,
        task,
    }
}

impl Server {
    async fn send(&self, body: &Value) -> TcpStream {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        let body = body.to_string();
        let head = format!(
            "POST {PATH} HTTP/1.1\r\nhost: h\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
            body.len()
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        stream.write_all(body.as_bytes()).await.unwrap();
        stream
    }

    async fn wait_for(&self, condition: impl Fn(&AnyEngine) -> bool) {
        for _ in 0..1000 {
            if condition(&self.engine) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("it did not happen within ten seconds: {:?}", self.engine);
    }

    async fn shut_down(self) {
        let _ = self.stop.send(());
        self.task.await.unwrap().unwrap();
    }
}

fn body(max_tokens: usize, stream: bool) -> Value {
    json!({
        "token_ids": [1, 2, 3], "stream": stream, "stream_options": { "include_usage": true },
        "sampling_params": { "temperature": 0.0, "max_tokens": max_tokens, "ignore_eos": true },
    })
}

async fn next_chunk(lines: &mut Lines<BufReader<TcpStream>>) -> Option<String> {
    while let Some(line) = lines.next_line().await.unwrap() {
        if let Some(data) = line.strip_prefix("data: ") {
            return Some(data.to_owned());
        }
    }
    None
}

async fn rest(mut stream: TcpStream) -> String {
    let mut text = String::new();
    stream.read_to_string(&mut text).await.unwrap();
    text
}

#[tokio::test]
async fn chunks_arrive_while_the_answer_goes_on() {
    let server = start(2, 4, Duration::from_secs(60)).await;
    let mut lines = BufReader::new(server.send(&body(LONG, true)).await).lines();
    for _ in 0..5 {
        let chunk: Value = serde_json::from_str(&next_chunk(&mut lines).await.unwrap()).unwrap();
        assert_eq!(
            chunk["choices"][0]["token_ids"].as_array().unwrap().len(),
            1
        );
    }
    assert_eq!(server.engine.counts().running, 1);
    let short = rest(server.send(&body(4, true)).await).await;
    assert!(short.starts_with("HTTP/1.1 200"), "{short}");
    assert_eq!(short.matches("data: {").count(), 4 + 1);
    assert!(short.contains("data: [DONE]\n\n"));
    drop(lines);
    server.shut_down().await;
}

#[tokio::test]
async fn a_client_that_goes_away_frees_its_place() {
    let server = start(1, 4, Duration::from_secs(60)).await;
    for stream in [true, false] {
        let before = server.engine.counts().cancelled;
        let connection = server.send(&body(LONG, stream)).await;
        server.wait_for(|engine| engine.counts().running == 1).await;
        drop(connection);
        server
            .wait_for(|engine| engine.counts().cancelled > before)
            .await;
        let answer = rest(server.send(&body(3, false)).await).await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    }
    assert!(server.engine.counts().generated_tokens < LONG as u64);
    server.shut_down().await;
}

#[tokio::test]
async fn a_full_queue_answers_429() {
    let server = start(1, 1, Duration::from_secs(60)).await;
    let running = server.send(&body(LONG, true)).await;
    server.wait_for(|engine| engine.counts().running == 1).await;
    let waiting = server.send(&body(LONG, true)).await;
    server.wait_for(|engine| engine.counts().waiting == 1).await;
    let refused = rest(server.send(&body(3, false)).await).await;
    assert!(refused.starts_with("HTTP/1.1 429"), "{refused}");
    assert!(refused.contains("retry-after: 1\r\n"), "{refused}");
    assert!(refused.contains("\"code\":429"), "{refused}");
    drop((running, waiting));
    server
        .wait_for(|engine| engine.counts().cancelled == 2)
        .await;
    let answer = rest(server.send(&body(3, false)).await).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    server.shut_down().await;
}

#[tokio::test]
async fn a_shutdown_lets_streams_finish() {
    let server = start(1, 4, Duration::from_secs(60)).await;
    let mut lines = BufReader::new(server.send(&body(3000, true)).await).lines();
    assert!(next_chunk(&mut lines).await.is_some());
    let address = server.address;
    let engine = server.engine.clone();
    let down = tokio::spawn(server.shut_down());
    let mut chunks = Vec::new();
    while let Some(chunk) = next_chunk(&mut lines).await {
        chunks.push(chunk);
    }
    assert_eq!(chunks.last().map(String::as_str), Some("[DONE]"));
    // The first was read before; the counts and the end come after the last.
    assert_eq!(chunks.len(), 3000 - 1 + 2);
    down.await.unwrap();
    assert!(!engine.is_open());
    assert_eq!(engine.counts().finished, 1);
    assert!(TcpStream::connect(address).await.is_err());
}

#[tokio::test]
async fn answers_are_aborted_when_the_grace_is_over() {
    let server = start(1, 4, Duration::from_millis(50)).await;
    let mut lines = BufReader::new(server.send(&body(LONG, true)).await).lines();
    assert!(next_chunk(&mut lines).await.is_some());
    let down = tokio::spawn(server.shut_down());
    let mut chunks = Vec::new();
    while let Some(chunk) = next_chunk(&mut lines).await {
        chunks.push(chunk);
    }
    down.await.unwrap();
    assert_eq!(chunks.pop().as_deref(), Some("[DONE]"));
    let usage: Value = serde_json::from_str(&chunks.pop().unwrap()).unwrap();
    assert_eq!(usage["choices"], json!([]));
    let aborted: Value = serde_json::from_str(&chunks.pop().unwrap()).unwrap();
    assert_eq!(aborted["choices"][0]["finish_reason"], "abort");
    assert_eq!(aborted["choices"][0]["token_ids"], json!([]));
}
