//! A host that says what a test wants, byte by byte.

use std::sync::Arc;
use std::time::Duration;

use equicrypt_spec::Manifest;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Mutex;

/// A host that publishes this manifest, and answers requests by the scripts in turn, the last one
/// for ever. Returns the address, and the requests for answers as they came.
pub(crate) async fn model_host(
    manifest: &Manifest,
    scripts: Vec<Script>,
) -> (String, Arc<Mutex<Vec<String>>>) {
    changing_host(std::slice::from_ref(manifest), scripts).await
}

/// The same, which publishes the next manifest after each answer, the last one for ever.
pub(crate) async fn changing_host(
    manifests: &[Manifest],
    scripts: Vec<Script>,
) -> (String, Arc<Mutex<Vec<String>>>) {
    let models = manifests.iter().map(|manifest| {
        let models = json!({ "object": "list", "data": [{ "id": "m", "equicrypt": manifest }] });
        let head = head("200 OK", "application/json");
        [head, models.to_string().into()].concat()
    });
    let models: Arc<Vec<Vec<u8>>> = Arc::new(models.collect());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let requests = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&requests);
    let scripts = Arc::new(scripts);
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            let (seen, scripts) = (Arc::clone(&seen), Arc::clone(&scripts));
            let models = Arc::clone(&models);
            tokio::spawn(async move {
                let request = request(&mut socket).await;
                if request.starts_with("GET ") {
                    let place = seen.lock().await.len().min(models.len() - 1);
                    let _ = socket.write_all(&models[place]).await;
                    return;
                }
                let place = {
                    let mut seen = seen.lock().await;
                    seen.push(request);
                    (seen.len() - 1).min(scripts.len() - 1)
                };
                play(&mut socket, &scripts[place]).await;
            });
        }
    });
    (address, requests)
}

/// What the host sends, in writes of their own.
pub(crate) struct Script {
    pub(crate) writes: Vec<Vec<u8>>,
    /// Stays silent after the last write, instead of closing.
    pub(crate) hangs: bool,
}

/// Answers every connection by the script; returns the address, and the requests as they came.
pub(crate) async fn host(script: Script) -> (String, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}/prefix/", listener.local_addr().unwrap());
    let requests = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&requests);
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            seen.lock().await.push(request(&mut socket).await);
            play(&mut socket, &script).await;
        }
    });
    (address, requests)
}

async fn play(socket: &mut TcpStream, script: &Script) {
    for write in &script.writes {
        // The client may have hung up already, as it should after an error.
        if socket.write_all(write).await.is_err() {
            break;
        }
        let _ = socket.flush().await;
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    if script.hangs {
        let _ = socket.read_u8().await;
    }
}

async fn request(socket: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head
                .lines()
                .find_map(|line| line.strip_prefix("content-length: "))
                .map_or(0, |length| length.parse().unwrap());
            if body.len() >= length {
                return text;
            }
        }
        let mut buffer = [0; 4096];
        match socket.read(&mut buffer).await.unwrap() {
            0 => return text,
            n => bytes.extend_from_slice(&buffer[..n]),
        }
    }
}

pub(crate) fn head(status: &str, kind: &str) -> Vec<u8> {
    format!("HTTP/1.1 {status}\r\ncontent-type: {kind}\r\nconnection: close\r\n\r\n").into_bytes()
}

pub(crate) fn chunk(ids: &str, finish: &str) -> String {
    format!(
        "data: {{\"request_id\":\"r\",\"usage\":null,\"choices\":[{{\"index\":0,\
         \"finish_reason\":{finish},\"stop_reason\":null,\"token_ids\":[{ids}],\"logprobs\":null}}]}}\n\n"
    )
}

pub(crate) const USAGE: &str = "data: {\"request_id\":\"r\",\"usage\":{\"prompt_tokens\":2,\"total_tokens\":5,\
    \"completion_tokens\":3},\"choices\":[]}\n\n";
pub(crate) const DONE: &str = "data: [DONE]\n\n";

pub(crate) fn stream_of(events: &str) -> Script {
    Script {
        writes: vec![
            head("200 OK", "text/event-stream; charset=utf-8"),
            events.into(),
        ],
        hangs: false,
    }
}
