use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{Response, Uri};
use axum::routing::{get, post};
use axum::{Json, Router};
use equicrypt_cipher::CipherIds;
use equicrypt_sealed::{Head, SealedRequest, TransportSecret};
use serde_json::json;
use tokio::net::TcpListener;

use super::*;
use crate::scripted_host::{DONE, USAGE, chunk};
use crate::{Options, Sampling};

/// A host that opens sealed requests, and somebody on the way to it.
struct Stage {
    secret: Option<TransportSecret>,
    window: Window,
    owner: &'static str,
    status: u16,
    /// Answers that are given without being sealed, first.
    plain: Vec<u16>,
    /// What somebody does to the parts of an answer.
    tamper: fn(&mut Vec<Vec<u8>>),
    /// What came: whether it was sealed, as it came, and what was inside.
    seen: Vec<(bool, Vec<u8>, Vec<u8>)>,
}

type Shared = Arc<Mutex<Stage>>;

fn stage() -> Stage {
    Stage {
        secret: Some(TransportSecret::generate().unwrap()),
        window: Window::random().unwrap(),
        owner: "equicrypt",
        status: 200,
        plain: Vec::new(),
        tamper: |_| {},
        seen: Vec::new(),
    }
}

async fn play(stage: Stage) -> (String, Shared) {
    let shared = Arc::new(Mutex::new(stage));
    let router = Router::new()
        .route("/v1/models", get(models))
        .route("/transport-key", get(key))
        .route("/{*rest}", post(answer))
        .with_state(Arc::clone(&shared));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, router).await });
    (url, shared)
}

async fn models(State(stage): State<Shared>) -> Json<Value> {
    let owner = stage.lock().unwrap().owner;
    Json(json!({ "data": [{ "id": "m", "owned_by": owner }] }))
}

async fn key(State(stage): State<Shared>) -> Response<Body> {
    let stage = stage.lock().unwrap();
    let Some(secret) = &stage.secret else {
        return error(404);
    };
    let public = secret.public().unwrap();
    let body = json!({ "key": public.to_string(), "window": stage.window.to_string() });
    Response::new(Body::from(body.to_string()))
}

async fn answer(State(stage): State<Shared>, uri: Uri, body: Bytes) -> Response<Body> {
    let mut stage = stage.lock().unwrap();
    let events = format!("{}{USAGE}{DONE}", chunk("1,9", "\"stop\""));
    let request = SealedRequest::parse(&body);
    let Ok(request) = request.map_err(|_| ()) else {
        stage.seen.push((false, body.to_vec(), body.to_vec()));
        let kind = "text/event-stream";
        return (Response::builder().header("content-type", kind))
            .body(Body::from(events))
            .unwrap();
    };
    if !stage.plain.is_empty() {
        return error(stage.plain.remove(0));
    }
    if request.window() != stage.window {
        return error(409);
    }
    let route = format!("POST {}", uri.path());
    let opened = request.open(stage.secret.as_ref().unwrap(), &route);
    let Ok((inside, sealer)) = opened else {
        return error(400);
    };
    stage.seen.push((true, body.to_vec(), inside));
    let (status, window) = (stage.status, stage.window);
    let content_type = match status {
        200 => "text/event-stream",
        _ => "application/json",
    };
    let content_type = content_type.into();
    let (start, mut stream) = sealer
        .start(&Head {
            status,
            window,
            content_type,
        })
        .unwrap();
    let events = match status {
        200 => events,
        _ => json!({ "error": { "message": "too much to do", "type": "E", "code": status } })
            .to_string(),
    };
    let (first, second) = events.as_bytes().split_at(events.len() / 2);
    let mut parts = vec![start];
    parts.extend([first, second].map(|part| stream.data(part).unwrap()));
    parts.push(stream.finish(&[]).unwrap());
    (stage.tamper)(&mut parts);
    (Response::builder()
        .status(status)
        .header("content-type", SEALED))
    .body(Body::from(parts.concat()))
    .unwrap()
}

fn error(status: u16) -> Response<Body> {
    let body = json!({ "error": { "message": "no", "type": "E", "param": null, "code": status } });
    (Response::builder().status(status))
        .body(Body::from(body.to_string()))
        .unwrap()
}

fn pins() -> (tempfile::TempDir, HostKeys) {
    let dir = tempfile::tempdir().unwrap();
    let keys = HostKeys::new(dir.path().join("hosts.json"));
    (dir, keys)
}

async fn contact(url: &str, seal: Seal) -> Result<Host, Error> {
    let host = Host::with_silence(url, None, Duration::from_millis(1500))?;
    host.sealing(seal).contacted().await
}

async fn ask(host: &Host) -> Result<Vec<u32>, Error> {
    let of = |ids: &[u32]| CipherIds::of_public_text(ids.to_vec());
    let (stop_ids, sampling) = (of(&[9]), Sampling::greedy());
    let options = Options {
        vocab_size: 100_000,
        stop_ids: &stop_ids,
        tells_stops: true,
        max_tokens: 4,
        sampling: &sampling,
    };
    let mut stream = host.generate(&of(&[77_777, 4]), &options).await?;
    let mut ids = Vec::new();
    while let Some(step) = stream.next().await {
        ids.extend(step?.ids);
    }
    Ok(ids)
}

fn public(stage: &Shared) -> TransportPublic {
    let stage = stage.lock().unwrap();
    stage.secret.as_ref().unwrap().public().unwrap()
}

#[tokio::test]
async fn what_leaves_is_sealed_and_what_comes_back_is_opened() {
    let (url, stage) = play(self::stage()).await;
    let (_dir, keys) = pins();
    for seal in [
        Seal::FirstContact(keys.clone()),
        Seal::FirstContact(keys.clone()),
        Seal::To(Pin::Key(public(&stage))),
        Seal::To(Pin::Fingerprint(public(&stage).fingerprint())),
    ] {
        let host = contact(&url, seal).await.unwrap();
        assert_eq!(host.sealed_to(), Some(public(&stage).fingerprint()));
        assert_eq!(ask(&host).await.unwrap(), [1, 9]);
    }
    assert_eq!(keys.of(&url).unwrap(), Some(public(&stage)));
    let stage = stage.lock().unwrap();
    assert_eq!(stage.seen.len(), 4);
    for (sealed, bytes, inside) in &stage.seen {
        assert!(*sealed && !bytes.windows(5).any(|part| part == b"77777"));
        let inside: Value = serde_json::from_slice(inside).unwrap();
        assert_eq!(inside["token_ids"], json!([77_777, 4]));
    }
}

#[tokio::test]
async fn a_window_that_is_over_costs_one_more_request() {
    let (url, stage) = play(self::stage()).await;
    let host = contact(&url, Seal::To(Pin::Key(public(&stage))))
        .await
        .unwrap();
    stage.lock().unwrap().window = Window::random().unwrap();
    assert_eq!(ask(&host).await.unwrap(), [1, 9]);
    assert_eq!(stage.lock().unwrap().seen.len(), 1);
    // It is refused twice only if somebody refuses everything.
    stage.lock().unwrap().plain = vec![409, 409];
    let error = ask(&host).await.unwrap_err();
    assert!(
        matches!(error, Error::Refused { status: 409, .. }),
        "{error}"
    );
    assert!(
        error.is_of_host() && error.to_string().contains("--upstream"),
        "{error}"
    );
}

#[tokio::test]
async fn another_key_is_refused_and_the_message_says_where_the_old_one_is() {
    let (url, stage) = play(self::stage()).await;
    let (_dir, keys) = pins();
    let old = public(&stage);
    let seals = [
        (Seal::FirstContact(keys.clone()), "hosts.json"),
        (Seal::To(Pin::Fingerprint(old.fingerprint())), "--seal-to"),
    ];
    for (seal, advice) in seals {
        stage.lock().unwrap().secret = Some(TransportSecret::generate().unwrap());
        if seal == Seal::FirstContact(keys.clone()) {
            contact(&url, seal.clone()).await.unwrap();
        }
        stage.lock().unwrap().secret = Some(TransportSecret::generate().unwrap());
        let error = contact(&url, seal).await.err().unwrap();
        assert!(matches!(error, Error::ChangedHostKey { .. }), "{error}");
        let (message, new) = (error.to_string(), public(&stage).fingerprint().to_string());
        assert!(
            message.contains(advice) && message.contains(&new),
            "{message}"
        );
    }
    // While it runs, too.
    let host = contact(&url, Seal::To(Pin::Key(public(&stage))))
        .await
        .unwrap();
    stage.lock().unwrap().secret = Some(TransportSecret::generate().unwrap());
    let error = ask(&host).await.unwrap_err();
    assert!(matches!(error, Error::ChangedHostKey { .. }), "{error}");
    assert!(error.is_of_host() && stage.lock().unwrap().seen.is_empty());
}

#[tokio::test]
async fn nothing_is_sent_unsealed_to_a_host_that_should_open_it() {
    let (url, stage) = play(self::stage()).await;
    let (_dir, keys) = pins();
    stage.lock().unwrap().secret = None;
    let error = contact(&url, Seal::FirstContact(keys.clone()))
        .await
        .err()
        .unwrap();
    assert!(matches!(error, Error::NoHostKey { .. }), "{error}");
    assert!(error.to_string().contains("--unsealed"), "{error}");

    // Once it was sealed, somebody on the way may say that another engine runs there.
    stage.lock().unwrap().secret = Some(TransportSecret::generate().unwrap());
    contact(&url, Seal::FirstContact(keys.clone()))
        .await
        .unwrap();
    stage.lock().unwrap().owner = "vllm";
    let error = contact(&url, Seal::FirstContact(keys)).await.err().unwrap();
    assert!(matches!(error, Error::NoHostKey { .. }), "{error}");
    assert!(error.to_string().contains("hosts.json"), "{error}");
    let error = contact(&url, Seal::To(Pin::Key(public(&stage))))
        .await
        .err()
        .unwrap();
    assert!(matches!(error, Error::CannotOpen { .. }), "{error}");
    assert!(stage.lock().unwrap().seen.is_empty());

    // On first contact it is believed, and if it is said explicitly.
    let (_dir, fresh) = pins();
    for seal in [Seal::FirstContact(fresh), Seal::Off] {
        let host = contact(&url, seal).await.unwrap();
        assert_eq!(
            (host.sealed_to(), ask(&host).await.unwrap()),
            (None, vec![1, 9])
        );
    }
    assert!(
        stage
            .lock()
            .unwrap()
            .seen
            .iter()
            .all(|(sealed, ..)| !sealed)
    );
}

#[tokio::test]
async fn an_answer_that_is_not_as_the_host_sealed_it_is_an_error() {
    type Tamper = fn(&mut Vec<Vec<u8>>);
    let cases: [(Tamper, &str); 6] = [
        (|parts| drop(parts.pop()), "cut off after frame 3"),
        (|parts| parts.swap(1, 2), "another order"),
        (|parts| drop(parts.remove(1)), "dropped"),
        (|parts| parts.insert(2, parts[1].clone()), "came again"),
        (|parts| parts.push(b"more".to_vec()), "added"),
        (|parts| parts[2][30] ^= 4, "changed on the way"),
    ];
    let (url, stage) = play(self::stage()).await;
    let host = contact(&url, Seal::To(Pin::Key(public(&stage))))
        .await
        .unwrap();
    for (tamper, words) in cases {
        stage.lock().unwrap().tamper = tamper;
        let error = ask(&host).await.unwrap_err();
        assert!(
            matches!(error, Error::SealedAnswer { .. }),
            "{words}: {error}"
        );
        assert!(
            error.to_string().contains(words) && error.is_of_host(),
            "{error}"
        );
    }
    stage.lock().unwrap().plain = vec![200];
    let error = ask(&host).await.unwrap_err().to_string();
    assert!(error.contains("not sealed"), "{error}");
}

#[tokio::test]
async fn a_refusal_inside_is_read_and_one_outside_is_not_more_than_it_is() {
    let (url, stage) = play(self::stage()).await;
    let host = contact(&url, Seal::To(Pin::Key(public(&stage))))
        .await
        .unwrap();
    stage.lock().unwrap().status = 429;
    let error = ask(&host).await.unwrap_err();
    assert!(
        matches!(error, Error::Refused { status: 429, .. }),
        "{error}"
    );
    assert!(error.to_string().contains("too much to do"), "{error}");
    stage.lock().unwrap().status = 421;
    assert!(matches!(ask(&host).await, Err(Error::OtherManifest { .. })));
    for status in [400, 401, 503] {
        stage.lock().unwrap().plain = vec![status];
        let error = ask(&host).await.unwrap_err();
        assert!(
            matches!(error, Error::Refused { status: found, .. } if found == status),
            "{error}"
        );
    }
}

#[test]
fn pins_are_keys_or_fingerprints() {
    let public = TransportSecret::generate().unwrap().public().unwrap();
    let key: Pin = public.to_string().parse().unwrap();
    assert_eq!(key, Pin::Key(public.clone()));
    let fingerprint: Pin = public.fingerprint().to_string().parse().unwrap();
    assert!(fingerprint.is(&public) && key.is(&public));
    assert_eq!(key.to_string(), fingerprint.to_string());
    for bad in ["", "equicrypt-transport-2:00", "12-34"] {
        assert!(bad.parse::<Pin>().is_err(), "{bad}");
    }
}
