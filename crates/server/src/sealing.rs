//! Requests that only this process opens, and answers that only the asker opens: one layer around all routes, which see
//! plain JSON.

mod answer;

use std::sync::Arc;

use axum::Json;
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use axum::http::{HeaderValue, Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use equicrypt_sealed::{
    CONTENT_TYPE as SEALED, MOST_OVERHEAD, ResponseSealer, SUITE, SealedRequest, TransportPublic,
    TransportSecret, Unfit, Windows,
};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::Error;
use crate::app::App;
use crate::refusal::Refusal;

/// The host's side of sealed requests: its secret, and the requests that it took.
pub struct Sealing {
    secret: TransportSecret,
    public: TransportPublic,
    windows: Windows,
    only: bool,
}

impl Sealing {
    /// Opens what is sealed to this secret's public key. Its first window begins now.
    pub fn new(secret: TransportSecret) -> Result<Self, Error> {
        Ok(Self {
            public: secret.public()?,
            windows: Windows::new()?,
            only: false,
            secret,
        })
    }

    /// The same, and requests that are not sealed are refused.
    #[must_use]
    pub fn only(mut self) -> Self {
        self.only = true;
        self
    }

    /// What requests are sealed to.
    #[must_use]
    pub fn public(&self) -> &TransportPublic {
        &self.public
    }

    /// The request inside, and what seals its answer.
    async fn open(
        &self,
        request: Request,
        limit: usize,
    ) -> Result<(Request, ResponseSealer), Refusal> {
        let (mut parts, body) = request.into_parts();
        let bytes = to_bytes(body, limit.saturating_add(MOST_OVERHEAD)).await;
        let bytes = bytes.map_err(|_| {
            let message = "the sealed body is longer than any request that fits into the model's context, or broke off";
            Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, message)
        })?;
        let unopenable = || Refusal::new(StatusCode::BAD_REQUEST, UNOPENABLE);
        let sealed = SealedRequest::parse(&bytes).map_err(|_| unopenable())?;
        let (now, window) = (Instant::now().into_std(), sealed.window());
        if !self.windows.has(now, window).map_err(failed)? {
            return Err(unfit(Unfit::Window));
        }
        let route = format!("{} {}", parts.method, parts.uri.path());
        let opened = sealed.open(&self.secret, &route);
        let (body, sealer) = opened.map_err(|error| match error {
            equicrypt_sealed::Error::Randomness(_) => failed(error),
            _ => unopenable(),
        })?;
        // Not before it is known to be genuine: others could use up what can be remembered.
        let taken = self.windows.take(now, window, sealed.enc());
        taken.map_err(failed)?.map_err(unfit)?;
        parts.headers.remove(CONTENT_LENGTH);
        let json = HeaderValue::from_static("application/json");
        parts.headers.insert(CONTENT_TYPE, json);
        Ok((Request::from_parts(parts, Body::from(body)), sealer))
    }
}

/// Opens what is sealed, and seals the answer to it.
pub(crate) async fn unseal(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let is_sealed = is_sealed(&request);
    let Some(sealing) = &app.sealing else {
        return match is_sealed {
            true => Refusal::new(StatusCode::BAD_REQUEST, NO_KEY).into_response(),
            false => next.run(request).await,
        };
    };
    if !is_sealed {
        return match sealing.only && request.method() == Method::POST {
            true => Refusal::new(StatusCode::BAD_REQUEST, ONLY_SEALED).into_response(),
            false => next.run(request).await,
        };
    }
    match sealing.open(request, app.limit).await {
        Ok((request, sealer)) => {
            let response = next.run(request).await;
            let window = sealing.windows.current(Instant::now().into_std());
            let sealed = match window {
                Ok(window) => answer::seal(response, sealer, window).await,
                Err(error) => Err(error),
            };
            sealed.unwrap_or_else(|error| failed(error).into_response())
        }
        Err(refusal) => refusal.into_response(),
    }
}

/// `GET /transport-key`: what requests are sealed to, and in which window.
pub(crate) async fn transport_key(State(app): State<Arc<App>>) -> Result<Json<Value>, Refusal> {
    let sealing = app.sealing.as_ref();
    let sealing = sealing.ok_or_else(|| Refusal::new(StatusCode::NOT_FOUND, NO_KEY))?;
    let window = sealing.windows.current(Instant::now().into_std());
    Ok(Json(json!({
        "suite": SUITE,
        "key": sealing.public.to_string(),
        "fingerprint": sealing.public.fingerprint().to_string(),
        "window": window.map_err(failed)?.to_string(),
    })))
}

/// Whether it says that its body is sealed.
pub(crate) fn is_sealed(request: &Request) -> bool {
    let kind = request.headers().get(CONTENT_TYPE);
    kind.is_some_and(|kind| kind.as_bytes().eq_ignore_ascii_case(SEALED.as_bytes()))
}

fn unfit(unfit: Unfit) -> Refusal {
    let (status, message) = match unfit {
        Unfit::Window => (
            StatusCode::CONFLICT,
            "the request was sealed in a window that is over, or of another process; ask /transport-key for the \
             window and seal it again",
        ),
        Unfit::Replay => (
            StatusCode::CONFLICT,
            "this sealed request was received before; seal the request again",
        ),
        Unfit::Full => (
            StatusCode::SERVICE_UNAVAILABLE,
            "too many sealed requests in this window; ask again in ten minutes, or start the host again",
        ),
    };
    Refusal::new(status, message)
}

fn failed(error: equicrypt_sealed::Error) -> Refusal {
    Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string())
}

/// One message for everything that can be wrong: who probes learns nothing.
const UNOPENABLE: &str = "the sealed body cannot be opened: it was sealed to another key or for another route, or changed on \
                          the way; ask /transport-key for this host's key, and compare it with what the host printed";
const NO_KEY: &str = "this host has no transport key; send requests that are not sealed";
const ONLY_SEALED: &str = "this host takes sealed requests only; ask /transport-key for its key";
