//! The OpenAI API, for clients on the owner's machine.

mod answers;
mod chat;
mod chat_request;
mod completions;
mod embeddings;
mod error;
mod guard;
mod info;
mod live;
mod logprobs;
mod request;
mod required;
mod responses;
mod sse;
#[cfg(test)]
mod tests;

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::http::{StatusCode, Uri};
use axum::middleware::from_fn_with_state;
use axum::routing::{get, post};
use axum::serve::ListenerExt;
use tokio::net::TcpListener;
use tokio::sync::watch;

use self::error::ApiError;
use self::info::Counters;
use crate::pool::Pool;
use crate::{ApiKey, EncoderSession, Epochs, Error, Tap, TextModel};

/// What the gateway has behind it.
pub enum Model {
    /// It continues texts.
    Text(Arc<TextModel>),
    /// It embeds texts.
    Encoder(Box<Epochs<EncoderSession>>),
}

/// How the gateway presents itself.
pub struct GatewayOptions {
    /// The model's name for clients.
    pub name: String,
    /// What clients must send; none lets everybody in who reaches the address.
    pub api_key: Option<ApiKey>,
    /// How often hosts are checked.
    pub health: Duration,
    /// How long running answers may take after the shutdown began.
    pub grace: Duration,
    /// Hosts A and B, if the model is not encrypted but computed by two hosts.
    pub shares: Option<[String; 2]>,
}

/// What every handler sees.
pub(crate) struct App {
    model: Model,
    pool: Arc<Pool>,
    tap: Tap,
    name: String,
    shares: Option<[String; 2]>,
    api_key: Option<ApiKey>,
    counters: Counters,
    started: u64,
    stopping: watch::Receiver<bool>,
}

/// Serves the API until `shutdown` is ready; answers that run are then finished within the grace.
/// `tap` is the one that the pool's hosts were given.
pub async fn serve_gateway(
    listener: TcpListener,
    model: Model,
    pool: Pool,
    tap: Tap,
    options: GatewayOptions,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> Result<(), Error> {
    let address = listener.local_addr().map_err(Error::Listen)?;
    let pool = Arc::new(pool);
    let (stop, stopping) = watch::channel(false);
    let app = Arc::new(App {
        model,
        pool: Arc::clone(&pool),
        tap,
        name: options.name,
        shares: options.shares,
        api_key: options.api_key,
        counters: Counters::default(),
        started: now(),
        stopping: stopping.clone(),
    });
    let graceful = async move {
        shutdown.await;
        stop.send_replace(true);
    };
    let router = router(app, address);
    // Tokens are small and come one by one: each goes out at once.
    let listener = listener.tap_io(|socket| {
        // A socket that cannot do it is slower, not wrong.
        let _ = socket.set_nodelay(true);
    });
    let serving = axum::serve(listener, router).with_graceful_shutdown(graceful);
    let deadline = async {
        let mut stopping = stopping;
        if stopping.wait_for(|stopping| *stopping).await.is_err() {
            return std::future::pending().await;
        }
        tokio::time::sleep(options.grace).await;
    };
    tokio::select! {
        result = serving => result.map_err(Error::Listen),
        () = deadline => Ok(()),
        () = pool.watch(options.health) => Ok(()),
    }
}

fn router(app: Arc<App>, address: SocketAddr) -> Router {
    let guard = Arc::new(guard::Guard::new(Arc::clone(&app), address));
    Router::new()
        .route("/", get(live::page))
        .route("/page.css", get(live::style))
        .route("/page.js", get(live::script))
        .route("/state", get(info::state))
        .route("/traffic", get(live::traffic))
        .route("/v1/chat/completions", post(chat::chat))
        .route("/v1/completions", post(completions::completions))
        .route("/v1/responses", post(responses::responses))
        .route("/v1/embeddings", post(embeddings::embeddings))
        .route("/v1/models", get(info::models))
        .route("/v1/models/{*name}", get(info::model))
        .route("/health", get(info::health))
        .route("/metrics", get(info::metrics))
        .fallback(not_found)
        .method_not_allowed_fallback(method_not_allowed)
        .layer(DefaultBodyLimit::max(MOST_BODY))
        .layer(from_fn_with_state(guard, guard::admit))
        .with_state(app)
}

impl App {
    /// The model, if it continues texts.
    pub(crate) fn text_model(&self) -> Result<&Arc<TextModel>, ApiError> {
        match &self.model {
            Model::Text(model) => Ok(model),
            Model::Encoder(_) => Err(ApiError::new(
                StatusCode::BAD_REQUEST,
                "this gateway has an encoder behind it, which continues no text; ask \
                 /v1/embeddings",
            )),
        }
    }

    /// The model, if it embeds texts.
    pub(crate) fn encoder(&self) -> Result<&Epochs<EncoderSession>, ApiError> {
        match &self.model {
            Model::Encoder(epochs) => Ok(epochs),
            Model::Text(_) => Err(ApiError::new(
                StatusCode::BAD_REQUEST,
                "this gateway has a decoder behind it, which makes no embeddings; ask \
                 /v1/chat/completions",
            )),
        }
    }

    /// The longest text, or prompt and answer together, in tokens.
    pub(crate) fn context(&self) -> usize {
        match &self.model {
            Model::Text(model) => model.owner().max_positions(),
            Model::Encoder(epochs) => epochs.owner().max_tokens(),
        }
    }
}

async fn not_found(uri: Uri) -> ApiError {
    let message = format!("there is no route {}; see /v1/models", uri.path());
    ApiError::new(StatusCode::NOT_FOUND, message)
}

async fn method_not_allowed() -> ApiError {
    let message = "the route does not take this method";
    ApiError::new(StatusCode::METHOD_NOT_ALLOWED, message)
}

/// Seconds since 1970.
fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs())
}

/// 24 hexadecimal digits; they say nothing.
fn random_id() -> String {
    use std::hash::{BuildHasher, RandomState};
    let half = || RandomState::new().hash_one(());
    format!("{:016x}{:08x}", half(), half() as u32)
}

/// Room for the longest contexts, as text.
const MOST_BODY: usize = 32 << 20;
