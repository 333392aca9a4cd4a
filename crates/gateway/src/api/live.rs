//! The page, and what it shows live.

use std::convert::Infallible;
use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::State;
use axum::http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use serde_json::json;
use tokio::sync::broadcast::error::RecvError;

use super::{App, sse};

/// `GET /`.
pub(super) async fn page() -> Response {
    file("text/html; charset=utf-8", include_str!("page/index.html"))
}

/// `GET /page.css`.
pub(super) async fn style() -> Response {
    file("text/css; charset=utf-8", include_str!("page/page.css"))
}

/// `GET /page.js`.
pub(super) async fn script() -> Response {
    file(
        "text/javascript; charset=utf-8",
        include_str!("page/page.js"),
    )
}

/// `GET /traffic`: server-sent events with exactly the bytes that leave for hosts and come back, as
/// texts; what is no UTF-8 becomes U+FFFD.
pub(super) async fn traffic(State(app): State<Arc<App>>) -> Response {
    let state = (app.tap.listen(), app.stopping.clone());
    let events = stream::unfold(state, |(mut listener, mut stopping)| async move {
        let mut out = Vec::new();
        let next = tokio::select! {
            next = listener.recv() => next,
            // A page that is left open must not hold up the end.
            _ = stopping.wait_for(|stopping| *stopping) => return None,
        };
        match next {
            Ok(traffic) => {
                let event = json!({
                    "exchange": traffic.exchange,
                    "route": traffic.route,
                    "bytes": traffic.length,
                    "text": String::from_utf8_lossy(&traffic.bytes),
                });
                sse::data(&mut out, &event);
            }
            Err(RecvError::Lagged(lost)) => sse::data(&mut out, &json!({ "lost": lost })),
            Err(RecvError::Closed) => return None,
        }
        Some((Ok::<_, Infallible>(Bytes::from(out)), (listener, stopping)))
    });
    sse::response(events)
}

fn file(kind: &'static str, content: &'static str) -> Response {
    let headers = [
        (CONTENT_TYPE, kind),
        (CACHE_CONTROL, "no-cache"),
        (CONTENT_SECURITY_POLICY, POLICY),
    ];
    (headers, content).into_response()
}

/// Nothing from elsewhere, whatever a model writes.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
