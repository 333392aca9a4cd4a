use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde_json::{Value, json};

use crate::app::App;
use crate::refusal::Refusal;

/// `GET /v1/models`: one model; with its manifest, if it is encrypted.
pub(crate) async fn models(State(app): State<Arc<App>>) -> Json<Value> {
    let host = &app.host;
    let mut model = json!({
        "id": host.name(),
        "object": "model",
        "created": host.started(),
        "owned_by": "equicrypt",
        "max_model_len": host.engine().context(),
    });
    if let Some(manifest) = host.manifest() {
        model["equicrypt"] = json!(manifest);
    }
    Json(json!({ "object": "list", "data": [model] }))
}

/// `GET /health`: 200 as long as requests are accepted.
pub(crate) async fn health(State(app): State<Arc<App>>) -> Result<(), Refusal> {
    if app.host.engine().is_open() {
        return Ok(());
    }
    Err(Refusal::new(
        StatusCode::SERVICE_UNAVAILABLE,
        "the host is shutting down",
    ))
}

/// `GET /version`.
pub(crate) async fn version() -> Json<Value> {
    Json(json!({ "version": env!("CARGO_PKG_VERSION"), "server": "equicrypt" }))
}
