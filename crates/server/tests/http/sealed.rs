//! Sealed requests, as whoever is on the way sees them, and as the asker does.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{Request, Response, StatusCode};
use equicrypt_sealed::{
    CONTENT_TYPE, Error, Head, ResponseOpener, TransportPublic, TransportSecret, Window, seal,
};
use equicrypt_server::{ApiKey, AppOptions, RequestLine, Sealing, app_with};
use http_body_util::BodyExt;
use serde_json::{Value, json};

use crate::common::{ask, get, host, options, post, refused, send, text};

const GENERATE: &str = "/inference/v1/generate";

struct Asker {
    router: Router,
    public: TransportPublic,
    window: Window,
}

impl Asker {
    async fn new(router: Router) -> Self {
        let offered: Value =
            serde_json::from_str(&text(get(&router, "/transport-key").await).await).unwrap();
        let said = |name: &str| offered[name].as_str().unwrap().to_owned();
        let public: TransportPublic = said("key").parse().unwrap();
        assert_eq!(public.fingerprint().to_string(), said("fingerprint"));
        let window = said("window").parse().unwrap();
        Self {
            router,
            public,
            window,
        }
    }

    fn seal(&self, path: &str, body: &str) -> (Vec<u8>, ResponseOpener) {
        seal(
            &self.public,
            &self.window,
            &format!("POST {path}"),
            body.as_bytes(),
        )
        .unwrap()
    }

    async fn post(&self, path: &str, sealed: Vec<u8>) -> Response<Body> {
        let request = Request::post(path).header("content-type", CONTENT_TYPE);
        send(&self.router, request.body(Body::from(sealed)).unwrap()).await
    }

    /// What is inside the answer, and what it begins with.
    async fn ask(&self, path: &str, body: &str) -> (Head, String) {
        let (sealed, mut opener) = self.seal(path, body);
        let response = self.post(path, sealed).await;
        assert_eq!(response.headers()["content-type"], CONTENT_TYPE);
        let status = response.status();
        let bytes = response.into_body().collect().await.unwrap().to_bytes();
        let mut out = Vec::new();
        opener.push(&bytes, &mut out).unwrap();
        opener.finish().unwrap();
        let head = opener.head().unwrap().clone();
        assert_eq!(head.status, status.as_u16());
        (head, String::from_utf8(out).unwrap())
    }
}

fn router(secret: TransportSecret, key: Option<ApiKey>, only: bool) -> Router {
    let sealing = Sealing::new(secret).unwrap();
    let options_of_app = AppOptions {
        key,
        sealing: Some(if only { sealing.only() } else { sealing }),
        log: None,
    };
    app_with(host(128, options()), options_of_app)
}

fn plain() -> Router {
    router(TransportSecret::generate().unwrap(), None, false)
}

fn question(stream: bool) -> Value {
    json!({ "token_ids": [7, 8, 9], "stream": stream, "sampling_params": { "max_tokens": 5, "temperature": 0.0 } })
}

fn ids(text: &str) -> Vec<u64> {
    let value: Value = serde_json::from_str(text).unwrap();
    serde_json::from_value(value["choices"][0]["token_ids"].clone()).unwrap()
}

#[tokio::test]
async fn the_answer_inside_is_that_to_the_same_request_unsealed() {
    let asker = Asker::new(plain()).await;
    let expected = ask(&asker.router, GENERATE, &question(false)).await;
    let (head, whole) = asker.ask(GENERATE, &question(false).to_string()).await;
    assert_eq!(
        (head.status, head.content_type.as_str()),
        (200, "application/json")
    );
    assert_eq!(ids(&whole), ids(&expected.to_string()));
    assert_eq!(head.window, asker.window);

    let (head, stream) = asker.ask(GENERATE, &question(true).to_string()).await;
    assert_eq!(
        (head.status, head.content_type.as_str()),
        (200, "text/event-stream")
    );
    assert!(stream.ends_with("data: [DONE]\n\n"), "{stream}");
    let events = stream
        .split_terminator("\n\n")
        .filter_map(|event| event.strip_prefix("data: {"));
    let streamed: Vec<u64> = events
        .flat_map(|event| ids(&format!("{{{event}")))
        .collect();
    assert_eq!(streamed, ids(&whole));

    let completions = json!({ "prompt": [7, 8, 9], "max_tokens": 5, "temperature": 0.0, "return_token_ids": true });
    let (_, completion) = asker.ask("/v1/completions", &completions.to_string()).await;
    assert_eq!(ids(&completion), ids(&whole));
}

#[tokio::test]
async fn a_stream_is_sealed_as_it_comes() {
    let asker = Asker::new(plain()).await;
    let (sealed, mut opener) = asker.seal(GENERATE, &question(true).to_string());
    let mut body = asker.post(GENERATE, sealed).await.into_body();
    let mut pieces = Vec::new();
    while let Some(frame) = body.frame().await {
        let mut out = Vec::new();
        opener
            .push(&frame.unwrap().into_data().unwrap(), &mut out)
            .unwrap();
        pieces.push(out);
    }
    opener.finish().unwrap();
    // The head, an event for each id and its end, [DONE], the end.
    assert!(pieces.len() >= 7 && pieces[0].is_empty(), "{pieces:?}");
    assert!(pieces[1].starts_with(b"data: {"), "{pieces:?}");
}

#[tokio::test]
async fn errors_of_opened_requests_are_sealed_too() {
    let asker = Asker::new(plain()).await;
    for (path, body, status) in [
        (
            GENERATE,
            "{\"token_ids\":[99999],\"sampling_params\":{}}",
            400,
        ),
        (GENERATE, "no json", 400),
        ("/v1/embeddings", "{\"input\":[1]}", 400),
        ("/nowhere", "{}", 404),
        ("/v1/models", "{}", 405),
    ] {
        let (head, error) = asker.ask(path, body).await;
        assert_eq!(head.status, status, "{error}");
        let error: Value = serde_json::from_str(&error).unwrap();
        assert_eq!(error["error"]["code"], status);
    }
}

#[tokio::test]
async fn what_cannot_be_opened_is_refused_with_one_message() {
    let asker = Asker::new(plain()).await;
    let body = question(false).to_string();
    let other = TransportSecret::generate().unwrap().public().unwrap();
    let (good, _) = asker.seal(GENERATE, &body);
    let mut changed = good.clone();
    changed[good.len() / 2] ^= 1;
    let (for_other, _) = seal(
        &other,
        &asker.window,
        "POST /inference/v1/generate",
        body.as_bytes(),
    )
    .unwrap();
    let (elsewhere, _) = asker.seal("/v1/completions", &body);
    let mut messages = Vec::new();
    for bytes in [
        changed,
        for_other,
        elsewhere,
        Vec::new(),
        b"{}".to_vec(),
        vec![1; 48],
    ] {
        let error = refused(asker.post(GENERATE, bytes).await, StatusCode::BAD_REQUEST).await;
        messages.push(error["message"].as_str().unwrap().to_owned());
    }
    assert!(
        messages.iter().all(|message| *message == messages[0]),
        "{messages:?}"
    );
    assert!(messages[0].contains("/transport-key"), "{}", messages[0]);
    // None of them used up the good one.
    assert_eq!(asker.post(GENERATE, good).await.status(), StatusCode::OK);
}

#[tokio::test]
async fn a_replay_is_refused_now_later_and_after_a_restart() {
    tokio::time::pause();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("transport.key");
    let secret = || TransportSecret::load_or_create(&path).unwrap();
    let mut asker = Asker::new(router(secret(), None, false)).await;
    let (bytes, _) = asker.seal(GENERATE, &question(false).to_string());
    let again = async |asker: &Asker| {
        let error = refused(
            asker.post(GENERATE, bytes.clone()).await,
            StatusCode::CONFLICT,
        )
        .await;
        error["message"].as_str().unwrap().to_owned()
    };
    assert_eq!(
        asker.post(GENERATE, bytes.clone()).await.status(),
        StatusCode::OK
    );
    assert!(again(&asker).await.contains("received before"));
    // In the next window it is still remembered, and after that its window is over.
    tokio::time::advance(Duration::from_secs(601)).await;
    assert!(again(&asker).await.contains("received before"));
    let (head, _) = asker.ask(GENERATE, &question(false).to_string()).await;
    assert_ne!(head.window, asker.window);
    tokio::time::advance(Duration::from_secs(601)).await;
    assert!(again(&asker).await.contains("window that is over"));
    let (late, _) = asker.seal(GENERATE, &question(false).to_string());
    refused(asker.post(GENERATE, late).await, StatusCode::CONFLICT).await;
    // The window before is still good.
    asker.window = head.window;
    asker.ask(GENERATE, &question(false).to_string()).await;

    let started_again = Asker::new(router(secret(), None, false)).await;
    assert_eq!(started_again.public, asker.public);
    assert!(again(&started_again).await.contains("another process"));
}

#[tokio::test]
async fn a_host_can_insist_and_its_api_key_comes_first() {
    let secret = TransportSecret::generate().unwrap();
    let asker = Asker::new(router(secret, None, true)).await;
    let error = refused(
        post(&asker.router, GENERATE, "{}").await,
        StatusCode::BAD_REQUEST,
    )
    .await;
    assert!(
        error["message"]
            .as_str()
            .unwrap()
            .contains("sealed requests only")
    );
    assert_eq!(
        asker
            .ask(GENERATE, &question(false).to_string())
            .await
            .0
            .status,
        200
    );
    assert_eq!(
        get(&asker.router, "/v1/models").await.status(),
        StatusCode::OK
    );

    let key = ApiKey::new("secret").unwrap();
    let locked = router(TransportSecret::generate().unwrap(), Some(key), false);
    for path in ["/transport-key", "/version"] {
        refused(get(&locked, path).await, StatusCode::UNAUTHORIZED).await;
    }
    let (bytes, _) = asker.seal(GENERATE, "{}");
    let asker = Asker {
        router: locked,
        ..asker
    };
    refused(asker.post(GENERATE, bytes).await, StatusCode::UNAUTHORIZED).await;
}

#[tokio::test]
async fn a_host_without_a_key_says_so() {
    let router = crate::common::router();
    refused(get(&router, "/transport-key").await, StatusCode::NOT_FOUND).await;
    let request = Request::post(GENERATE).header("content-type", CONTENT_TYPE);
    let response = send(&router, request.body(Body::from("x")).unwrap()).await;
    let error = refused(response, StatusCode::BAD_REQUEST).await;
    assert!(
        error["message"]
            .as_str()
            .unwrap()
            .contains("no transport key")
    );
}

#[tokio::test]
async fn limits_hold_inside_and_outside() {
    let asker = Asker::new(plain()).await;
    let long = format!("{{\"token_ids\":[{}1]}}", "1,".repeat(1 << 20));
    let (sealed, _) = asker.seal(GENERATE, &long);
    refused(
        asker.post(GENERATE, sealed).await,
        StatusCode::PAYLOAD_TOO_LARGE,
    )
    .await;
    refused(
        asker.post(GENERATE, vec![1; 4 << 20]).await,
        StatusCode::PAYLOAD_TOO_LARGE,
    )
    .await;
}

#[tokio::test]
async fn an_answer_that_is_cut_off_has_no_last_frame() {
    let asker = Asker::new(plain()).await;
    let (sealed, mut opener) = asker.seal(GENERATE, &question(true).to_string());
    let mut body = asker.post(GENERATE, sealed).await.into_body();
    let mut out = Vec::new();
    for _ in 0..3 {
        let frame = body.frame().await.unwrap().unwrap();
        opener.push(&frame.into_data().unwrap(), &mut out).unwrap();
    }
    assert!(matches!(
        opener.finish(),
        Err(Error::Truncated { frames: 3 })
    ));
}

#[tokio::test]
async fn the_log_has_counts_times_and_names_of_routes() {
    let lines: Arc<Mutex<Vec<RequestLine>>> = Arc::default();
    let kept = Arc::clone(&lines);
    let sealing = Sealing::new(TransportSecret::generate().unwrap()).unwrap();
    let options_of_app = AppOptions {
        key: None,
        sealing: Some(sealing),
        log: Some(Arc::new(move |line| {
            kept.lock().unwrap().push(line.clone())
        })),
    };
    let asker = Asker::new(app_with(host(128, options()), options_of_app)).await;
    let sent = question(true).to_string();
    let (sealed, _) = asker.seal(GENERATE, &sent);
    let length = sealed.len();
    let response = asker.post(GENERATE, sealed).await;
    let answered = response
        .into_body()
        .collect()
        .await
        .unwrap()
        .to_bytes()
        .len();
    text(post(&asker.router, GENERATE, &sent).await).await;
    text(get(&asker.router, "/a/secret?text").await).await;
    let lines = lines.lock().unwrap();
    let said: Vec<_> = (lines.iter())
        .map(|line| {
            (
                line.route.as_str(),
                line.status,
                line.sealed,
                line.bytes_in as usize,
            )
        })
        .collect();
    let route = "POST /inference/v1/generate";
    assert_eq!(
        said,
        [
            ("GET /transport-key", 200, false, 0),
            (route, 200, true, length),
            (route, 200, false, sent.len()),
            ("GET (no such route)", 404, false, 0),
        ]
    );
    assert_eq!(lines[1].bytes_out as usize, answered);
    let text = lines[1].to_string();
    assert!(
        text.starts_with("POST /inference/v1/generate 200 sealed in "),
        "{text}"
    );
}
