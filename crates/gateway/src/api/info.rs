//! What the gateway says of itself.

use std::fmt::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use super::App;
use super::error::ApiError;

/// Counts, never ids.
#[derive(Default)]
pub(crate) struct Counters {
    responses: [AtomicU64; 6],
    embedded: AtomicU64,
}

impl Counters {
    pub(super) fn responded(&self, status: StatusCode) {
        if let Some(count) = self.responses.get(usize::from(status.as_u16() / 100)) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(super) fn embedded(&self, tokens: usize) {
        self.embedded.fetch_add(tokens as u64, Ordering::Relaxed);
    }
}

/// `GET /v1/models`.
pub(super) async fn models(State(app): State<Arc<App>>) -> Json<Value> {
    Json(json!({ "object": "list", "data": [entry(&app)] }))
}

/// `GET /v1/models/NAME`.
pub(super) async fn model(
    State(app): State<Arc<App>>,
    Path(name): Path<String>,
) -> Result<Json<Value>, ApiError> {
    match name == app.name {
        true => Ok(Json(entry(&app))),
        false => Err(ApiError::new(
            StatusCode::NOT_FOUND,
            format!(
                "there is no such model here; this gateway has {:?}",
                app.name
            ),
        )),
    }
}

fn entry(app: &App) -> Value {
    json!({
        "id": app.name, "object": "model", "created": app.started, "owned_by": "equicrypt",
        "max_model_len": app.context(),
    })
}

/// `GET /health`: 200 as long as a host can be used.
pub(super) async fn health(State(app): State<Arc<App>>) -> Response {
    let well = app.pool.states().iter().any(|state| state.fault.is_none());
    let status = match well {
        true => StatusCode::OK,
        false => StatusCode::SERVICE_UNAVAILABLE,
    };
    let word = if well { "ok" } else { "no host can be used" };
    (status, Json(json!({ "status": word }))).into_response()
}

/// `GET /state`: what the page shows.
pub(super) async fn state(State(app): State<Arc<App>>) -> Json<Value> {
    let manifest = app.pool.manifest();
    let ledger = app.pool.ledger();
    let epochs = ledger.counts().into_iter();
    let epochs = epochs.map(|count| json!({ "epoch": count.epoch, "tokens": count.tokens }));
    let hosts = app.pool.states().into_iter().map(|state| {
        json!({
            "url": state.url, "engine": state.engine, "fault": state.fault,
            "running": state.running, "epoch": state.epoch, "sealed_to": state.sealed_to,
        })
    });
    Json(json!({
        "model": app.name,
        "shares": app.shares,
        "chats": app.text_model().is_ok_and(|model| model.owner().template().is_some()),
        "embeds": app.encoder().is_ok(),
        "key_id": manifest.key_id.to_string(),
        "epoch": manifest.epoch,
        "profile": manifest.profile,
        "epoch_tokens": ledger.spent(manifest.epoch),
        "budget": ledger.budget(),
        "epochs": epochs.collect::<Vec<_>>(),
        "hosts": hosts.collect::<Vec<_>>(),
    }))
}

/// `GET /metrics`: Prometheus' text format.
pub(super) async fn metrics(State(app): State<Arc<App>>) -> Response {
    let mut text = String::new();
    let mut head = |name: &str, kind: &str, help: &str, lines: Vec<(String, u64)>| {
        // Writing into a text cannot fail.
        let _ = writeln!(text, "# HELP equicrypt_gateway_{name} {help}");
        let _ = writeln!(text, "# TYPE equicrypt_gateway_{name} {kind}");
        for (labels, value) in lines {
            let _ = writeln!(text, "equicrypt_gateway_{name}{labels} {value}");
        }
    };
    let plain = |value: u64| vec![(String::new(), value)];
    let (prompt, completion) = app.tokens();
    let responses = app.counters.responses.iter().enumerate().skip(2);
    let responses = responses.map(|(class, count)| {
        (
            format!("{{status=\"{class}xx\"}}"),
            count.load(Ordering::Relaxed),
        )
    });
    head(
        "responses_total",
        "counter",
        "Responses by status.",
        responses.collect(),
    );
    head(
        "prompt_tokens_total",
        "counter",
        "Prompt tokens sent to hosts.",
        plain(prompt),
    );
    head(
        "completion_tokens_total",
        "counter",
        "Tokens received from hosts.",
        plain(completion),
    );
    let cached = app.text_model().map_or(0, |model| model.counts().2);
    head(
        "cached_prompt_tokens_total",
        "counter",
        "Prompt tokens that hosts had in their caches.",
        plain(cached),
    );
    let ledger = app.pool.ledger();
    let epochs = ledger.counts().into_iter();
    let epochs = epochs.map(|count| (format!("{{epoch=\"{}\"}}", count.epoch), count.tokens));
    head(
        "epoch_tokens",
        "gauge",
        "Tokens of prompts and answers under each epoch, over all runs.",
        epochs.collect(),
    );
    if let Some(budget) = ledger.budget() {
        head(
            "epoch_budget_tokens",
            "gauge",
            "Tokens that may go out under one epoch; at half of it there is a warning.",
            plain(budget),
        );
    }
    let states = app.pool.states();
    let of_hosts = |value: &dyn Fn(&crate::HostState) -> u64| {
        let lines = states.iter().enumerate();
        let lines = lines.map(|(place, state)| (format!("{{host=\"{place}\"}}"), value(state)));
        lines.collect::<Vec<_>>()
    };
    let up = of_hosts(&|state| u64::from(state.fault.is_none()));
    head("host_up", "gauge", "Whether a host is in use.", up);
    let epoch = of_hosts(&|state| state.epoch.map_or(0, u64::from));
    head(
        "host_epoch",
        "gauge",
        "The epoch that a host serves.",
        epoch,
    );
    let running = of_hosts(&|state| state.running as u64);
    head(
        "host_answers_running",
        "gauge",
        "Answers that a host is giving.",
        running,
    );
    let kind = "text/plain; version=0.0.4; charset=utf-8";
    ([(CONTENT_TYPE, kind)], text).into_response()
}

impl App {
    /// Tokens sent to hosts and received from them.
    pub(super) fn tokens(&self) -> (u64, u64) {
        let embedded = self.counters.embedded.load(Ordering::Relaxed);
        match self.text_model() {
            Ok(model) => {
                let (prompt, completion, _) = model.counts();
                (prompt + embedded, completion)
            }
            Err(_) => (embedded, 0),
        }
    }
}
