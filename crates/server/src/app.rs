use std::sync::Arc;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::header::AUTHORIZATION;
use axum::http::{StatusCode, Uri};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};

use equicrypt_engine::{EncoderEngine, Engine};
use equicrypt_spec::EPOCH_HEADER;

use crate::completions::completions;
use crate::encode::{classify, embeddings, pooling, rerank};
use crate::generate::generate;
use crate::info::{health, models, version};
use crate::log::record;
use crate::metrics::{Responses, metrics};
use crate::refusal::Refusal;
use crate::sealing::{transport_key, unseal};
use crate::{AnyEngine, ApiKey, Host, Log, Sealing};

/// What every handler sees.
pub(crate) struct App {
    pub(crate) host: Host,
    pub(crate) responses: Responses,
    key: Option<ApiKey>,
    pub(crate) sealing: Option<Sealing>,
    pub(crate) log: Option<Log>,
    /// Bytes of a body, at most.
    pub(crate) limit: usize,
}

/// Who is let in, and how.
#[derive(Default)]
pub struct AppOptions {
    /// What clients must send; none lets everybody in.
    pub key: Option<ApiKey>,
    /// What opens sealed requests; none refuses them.
    pub sealing: Option<Sealing>,
    /// What is told of each request.
    pub log: Option<Log>,
}

/// The HTTP interface of a host. With a key, every route but `/health` demands it.
pub fn app(host: Host, key: Option<ApiKey>) -> Router {
    app_with(
        host,
        AppOptions {
            key,
            ..AppOptions::default()
        },
    )
}

/// The same, with more options.
pub fn app_with(host: Host, options: AppOptions) -> Router {
    let limit = body_limit(&host);
    let app = Arc::new(App {
        host,
        responses: Responses::default(),
        key: options.key,
        sealing: options.sealing,
        log: options.log,
        limit,
    });
    Router::new()
        .route("/inference/v1/generate", post(generate))
        .route("/v1/completions", post(completions))
        .route("/v1/embeddings", post(embeddings))
        .route("/classify", post(classify))
        .route("/pooling", post(pooling))
        .route("/rerank", post(rerank))
        .route("/v1/rerank", post(rerank))
        .route("/v1/models", get(models))
        .route("/health", get(health))
        .route("/metrics", get(metrics))
        .route("/version", get(version))
        .route("/transport-key", get(transport_key))
        .fallback(not_found)
        .method_not_allowed_fallback(method_not_allowed)
        .layer(DefaultBodyLimit::max(limit))
        .layer(from_fn_with_state(Arc::clone(&app), unseal))
        .layer(from_fn_with_state(Arc::clone(&app), admit))
        .layer(from_fn_with_state(Arc::clone(&app), record))
        .with_state(app)
}

impl App {
    /// Refuses requests for another model than the one that is served.
    pub(crate) fn check_model(&self, model: Option<&str>) -> Result<(), Refusal> {
        match model {
            Some(model) if !model.is_empty() && model != self.host.name() => {
                let message = format!(
                    "model: expected {:?}, the one that this host serves, found {model:?}",
                    self.host.name()
                );
                Err(Refusal::field("model", message).of_status(StatusCode::NOT_FOUND))
            }
            _ => Ok(()),
        }
    }

    /// The engine, if it continues texts.
    pub(crate) fn decoder(&self) -> Result<&Engine, Refusal> {
        match self.host.engine() {
            AnyEngine::Decoder(engine) => Ok(engine),
            AnyEngine::Encoder(_) => Err(Refusal::new(
                StatusCode::BAD_REQUEST,
                "this host serves an encoder, which continues no text; ask /v1/embeddings, \
                 /classify, /pooling or /rerank",
            )),
        }
    }

    /// The engine, if it reads texts.
    pub(crate) fn encoder(&self) -> Result<&EncoderEngine, Refusal> {
        match self.host.engine() {
            AnyEngine::Encoder(engine) => Ok(engine),
            AnyEngine::Decoder(_) => Err(Refusal::new(
                StatusCode::BAD_REQUEST,
                "this host serves a decoder, which continues texts; ask /inference/v1/generate or \
                 /v1/completions",
            )),
        }
    }

    /// Refuses ids of another epoch than the one that is served: the answer would be another model's.
    fn check_epoch(&self, request: &Request) -> Result<(), Refusal> {
        let (Some(manifest), Some(wanted)) =
            (self.host.manifest(), request.headers().get(EPOCH_HEADER))
        else {
            return Ok(());
        };
        let serves = manifest.epochs();
        match wanted.as_bytes() == serves.as_bytes() {
            true => Ok(()),
            false => {
                let message = format!(
                    "{EPOCH_HEADER}: this host serves {serves}; ask /v1/models for its manifest and encrypt the \
                     request again"
                );
                Err(Refusal::new(StatusCode::MISDIRECTED_REQUEST, message))
            }
        }
    }

    fn admits(&self, request: &Request) -> bool {
        let Some(key) = &self.key else { return true };
        if request.uri().path() == "/health" {
            return true;
        }
        request
            .headers()
            .get(AUTHORIZATION)
            .and_then(|value| value.as_bytes().split_at_checked(BEARER.len()))
            .is_some_and(|(scheme, given)| scheme.eq_ignore_ascii_case(BEARER) & key.matches(given))
    }
}

/// Checks the key before anything else is looked at, and counts the response.
async fn admit(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let response = if app.admits(&request) {
        match app.check_epoch(&request) {
            Ok(()) => next.run(request).await,
            Err(refusal) => refusal.into_response(),
        }
    } else {
        let message = "the API key is missing or wrong; send it as \"Authorization: Bearer KEY\"";
        Refusal::new(StatusCode::UNAUTHORIZED, message).into_response()
    };
    app.responses.count(response.status());
    response
}

async fn not_found(uri: Uri) -> Refusal {
    Refusal::new(
        StatusCode::NOT_FOUND,
        format!("there is no route {}; this host has {ROUTES}", uri.path()),
    )
}

async fn method_not_allowed() -> Refusal {
    Refusal::new(
        StatusCode::METHOD_NOT_ALLOWED,
        format!("the route does not take this method; this host has {ROUTES}"),
    )
}

/// Room for a few prompts of the context's length and for lists of the whole vocabulary, at up to
/// 32 bytes an entry (an id, a number, and white space), and for the other fields.
fn body_limit(host: &Host) -> usize {
    let engine = host.engine();
    if matches!(engine, AnyEngine::Encoder(_)) {
        return MOST_TEXTS_BYTES;
    }
    let entries = 4 * engine.context() + 2 * engine.config().vocab_size;
    entries.saturating_mul(32).saturating_add(1 << 20)
}

const BEARER: &[u8] = b"Bearer ";

/// Room for a few thousand long texts.
const MOST_TEXTS_BYTES: usize = 64 << 20;

const ROUTES: &str = "POST /inference/v1/generate, POST /v1/completions, POST /v1/embeddings, \
                      POST /classify, POST /pooling, POST /rerank, GET /v1/models, \
                      GET /health, GET /metrics, GET /version, GET /transport-key";
