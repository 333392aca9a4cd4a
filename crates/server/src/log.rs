//! What a host may say of a request: counts and times.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use axum::body::{Body, HttpBody};
use axum::extract::{MatchedPath, Request, State};
use axum::http::Method;
use axum::middleware::Next;
use axum::response::Response;
use futures_util::StreamExt;

use crate::app::App;
use crate::sealing::is_sealed;

/// A request that is over. Never an id, never a text that a client chose.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestLine {
    /// The method and the route, if there is one.
    pub route: String,
    /// The status of the answer.
    pub status: u16,
    /// Whether the request said that it was sealed.
    pub sealed: bool,
    /// Of the request's body, as it came.
    pub bytes_in: u64,
    /// Of the answer's body, as it went.
    pub bytes_out: u64,
    /// From the request's head to the answer's end.
    pub time: Duration,
}

impl fmt::Display for RequestLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sealed = if self.sealed { "sealed" } else { "unsealed" };
        let (route, status, ms) = (&self.route, self.status, self.time.as_millis());
        let (bytes_in, bytes_out) = (self.bytes_in, self.bytes_out);
        write!(
            f,
            "{route} {status} {sealed} in {bytes_in} out {bytes_out} ms {ms}"
        )
    }
}

/// Where lines go.
pub type Log = Arc<dyn Fn(&RequestLine) + Send + Sync>;

/// Says so when the answer has ended, or the client left.
struct Line {
    line: RequestLine,
    start: Instant,
    bytes_in: Arc<AtomicU64>,
    log: Log,
}

impl Line {
    fn sent(&mut self, bytes: u64) {
        self.line.bytes_out += bytes;
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        self.line.time = self.start.elapsed();
        self.line.bytes_in = self.bytes_in.load(Ordering::Relaxed);
        (self.log)(&self.line);
    }
}

/// Counts the bytes of a request and its answer, if there is a log.
pub(crate) async fn record(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let Some(log) = &app.log else {
        return next.run(request).await;
    };
    let bytes_in = Arc::new(AtomicU64::new(0));
    let mut line = Line {
        line: RequestLine {
            route: route(&request),
            status: 0,
            sealed: is_sealed(&request),
            bytes_in: 0,
            bytes_out: 0,
            time: Duration::ZERO,
        },
        start: Instant::now(),
        bytes_in: Arc::clone(&bytes_in),
        log: Arc::clone(log),
    };
    let request = request.map(|body| {
        Body::from_stream(body.into_data_stream().inspect(move |data| {
            let count = data.as_ref().map_or(0, |data| data.len() as u64);
            bytes_in.fetch_add(count, Ordering::Relaxed);
        }))
    });
    let response = next.run(request).await;
    line.line.status = response.status().as_u16();
    let (parts, body) = response.into_parts();
    if let Some(size) = body.size_hint().exact() {
        line.line.bytes_out = size;
        return Response::from_parts(parts, body);
    }
    let counted = body.into_data_stream().inspect(move |data| {
        line.sent(data.as_ref().map_or(0, |data| data.len() as u64));
    });
    Response::from_parts(parts, Body::from_stream(counted))
}

/// Names that this host gave, not what a client wrote.
fn route(request: &Request) -> String {
    let known = [Method::GET, Method::POST];
    let method = known.iter().find(|method| *method == request.method());
    let method = method.map_or("OTHER", Method::as_str);
    let path = request.extensions().get::<MatchedPath>();
    format!(
        "{method} {}",
        path.map_or("(no such route)", MatchedPath::as_str)
    )
}
