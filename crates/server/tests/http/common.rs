//! A tiny random model, in memory or as a folder, and a client without a socket.

use std::path::Path;

use axum::Router;
use axum::body::Body;
use axum::http::{Request, Response, StatusCode};
use equicrypt_checkpoint::{CheckpointWriter, Dtype, TensorHeader, write_json};
use equicrypt_engine::{Decoder, Engine, EngineOptions, Precision};
use equicrypt_server::{Host, app};
use equicrypt_spec::{ModelConfig, TensorSpec};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tower::ServiceExt;

pub(crate) const VOCAB: u32 = 40;
pub(crate) const EOS: u32 = 3;

pub(crate) fn config(context: usize) -> Value {
    json!({
        "model_type": "llama", "vocab_size": VOCAB, "hidden_size": 16, "num_hidden_layers": 2,
        "num_attention_heads": 4, "num_key_value_heads": 2, "intermediate_size": 24,
        "max_position_embeddings": context, "eos_token_id": EOS, "tie_word_embeddings": false,
    })
}

/// Values in [-1, 1) that depend on the tensor's name alone.
pub(crate) fn values(tensor: &TensorSpec) -> Vec<f32> {
    let size: usize = tensor.shape.iter().product();
    let mut state = tensor.name.bytes().fold(7u64, |state, byte| {
        state.wrapping_mul(31).wrapping_add(u64::from(byte))
    });
    (0..size)
        .map(|_| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (state >> 40) as f32 / (1u64 << 23) as f32 - 1.0
        })
        .collect()
}

pub(crate) fn options() -> EngineOptions {
    EngineOptions {
        max_batch: 4,
        max_queue: 8,
        ..EngineOptions::default()
    }
}

pub(crate) fn host(context: usize, options: EngineOptions) -> Host {
    let config = ModelConfig::from_json(&config(context)).unwrap();
    let decoder = Decoder::from_tensors(config, Precision::F32, &mut |tensor| {
        Ok(values(tensor).into_iter().map(f64::from).collect())
    });
    let engine = Engine::start(decoder.unwrap(), options).unwrap();
    Host::new(engine, "tiny".into(), None)
}

/// The same model as a folder.
pub(crate) fn save(dir: &Path, context: usize) {
    let json = config(context);
    let config = ModelConfig::from_json(&json).unwrap();
    let tensors = config.architecture.tensors(&config);
    let headers: Vec<_> = tensors
        .iter()
        .map(|tensor| TensorHeader::new(&tensor.name, Dtype::F32, &tensor.shape))
        .collect();
    let writer = CheckpointWriter::create(dir, &headers).unwrap();
    for tensor in &tensors {
        let values = values(tensor);
        let mut bytes = vec![0; 4 * values.len()];
        Dtype::F32.encode_f32(&values, &mut bytes);
        writer.write(&tensor.name, 0, &bytes).unwrap();
    }
    writer.finish().unwrap();
    write_json(&dir.join("config.json"), &json).unwrap();
}

pub(crate) fn router() -> Router {
    app(host(128, options()), None)
}

pub(crate) async fn send(router: &Router, request: Request<Body>) -> Response<Body> {
    router.clone().oneshot(request).await.unwrap()
}

pub(crate) async fn text(response: Response<Body>) -> String {
    let bytes = response.into_body().collect().await.unwrap().to_bytes();
    String::from_utf8(bytes.to_vec()).unwrap()
}

pub(crate) async fn get(router: &Router, path: &str) -> Response<Body> {
    let request = Request::get(path).body(Body::empty()).unwrap();
    send(router, request).await
}

pub(crate) async fn post(router: &Router, path: &str, body: &str) -> Response<Body> {
    let request = Request::post(path).body(Body::from(body.to_owned()));
    send(router, request.unwrap()).await
}

/// The answer to a request that succeeds.
pub(crate) async fn ask(router: &Router, path: &str, body: &Value) -> Value {
    let response = post(router, path, &body.to_string()).await;
    let status = response.status();
    let text = text(response).await;
    assert_eq!(status, StatusCode::OK, "{text}");
    serde_json::from_str(&text).unwrap()
}

/// The chunks of a stream that succeeds, without the `[DONE]` that must stand at its end.
pub(crate) async fn ask_stream(router: &Router, path: &str, body: &Value) -> Vec<Value> {
    let response = post(router, path, &body.to_string()).await;
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    let text = text(response).await;
    let mut chunks: Vec<&str> = text.split_terminator("\n\n").collect();
    assert_eq!(chunks.pop(), Some("data: [DONE]"));
    chunks
        .into_iter()
        .map(|chunk| serde_json::from_str(chunk.strip_prefix("data: ").unwrap()).unwrap())
        .collect()
}

/// The error of a request that is refused.
pub(crate) async fn refused(response: Response<Body>, status: StatusCode) -> Value {
    assert_eq!(response.status(), status);
    let body: Value = serde_json::from_str(&text(response).await).unwrap();
    assert_eq!(body["error"]["code"], status.as_u16());
    assert!(body["error"]["type"].as_str().unwrap().ends_with("Error"));
    assert!(!body["error"]["message"].as_str().unwrap().is_empty());
    body["error"].clone()
}
