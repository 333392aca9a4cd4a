use std::net::SocketAddr;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::header::{AUTHORIZATION, HOST, ORIGIN};
use axum::http::{HeaderMap, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::App;
use super::error::ApiError;

/// Who may ask. A gateway that listens on this machine only is still within reach of every web page
/// that its owner's browser shows: such a page says where it comes from, and that must be the
/// gateway's own page; and it may have given its own name this machine's address, so the name that
/// the browser asks for must be one that nobody else can have.
pub(super) struct Guard {
    app: Arc<App>,
    on_loopback: bool,
}

impl Guard {
    pub(super) fn new(app: Arc<App>, address: SocketAddr) -> Self {
        Self {
            app,
            on_loopback: address.ip().is_loopback(),
        }
    }

    fn admits(&self, request: &Request) -> Result<(), ApiError> {
        let headers = request.headers();
        let host = text(headers, HOST)
            .or_else(|| request.uri().host())
            .unwrap_or_default();
        if self.on_loopback && !is_this_machine(host) {
            let message = "this gateway answers to localhost and 127.0.0.1 only";
            return Err(ApiError::new(StatusCode::FORBIDDEN, message));
        }
        if let Some(origin) = text(headers, ORIGIN)
            && origin.strip_prefix("http://") != Some(host)
        {
            let message = "web pages from elsewhere may not use this gateway";
            return Err(ApiError::new(StatusCode::FORBIDDEN, message));
        }
        let Some(key) = &self.app.api_key else {
            return Ok(());
        };
        let open = ["/", "/page.css", "/page.js", "/health"];
        if open.contains(&request.uri().path()) {
            return Ok(());
        }
        let given = text(headers, AUTHORIZATION).and_then(|value| value.split_once(' '));
        match given {
            Some((scheme, given))
                if scheme.eq_ignore_ascii_case("bearer") && key.matches(given) =>
            {
                Ok(())
            }
            _ => Err(ApiError::new(
                StatusCode::UNAUTHORIZED,
                "the API key is missing or wrong; send it as \"Authorization: Bearer KEY\"",
            )),
        }
    }
}

/// Checks who asks before anything else is looked at, and counts the response.
pub(super) async fn admit(
    State(guard): State<Arc<Guard>>,
    request: Request,
    next: Next,
) -> Response {
    let response = match guard.admits(&request) {
        Ok(()) => next.run(request).await,
        Err(error) => error.into_response(),
    };
    guard.app.counters.responded(response.status());
    response
}

fn text(headers: &HeaderMap, name: axum::http::HeaderName) -> Option<&str> {
    headers.get(name)?.to_str().ok()
}

/// `localhost` or a loopback address, with any port.
fn is_this_machine(host: &str) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    let address = name.trim_start_matches('[').trim_end_matches(']').parse();
    name.eq_ignore_ascii_case("localhost")
        || address.is_ok_and(|address: std::net::IpAddr| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_this_machine() {
        for name in [
            "localhost",
            "LOCALHOST:8080",
            "127.0.0.1",
            "127.0.0.1:1",
            "[::1]:8080",
            "[::1]",
        ] {
            assert!(is_this_machine(name), "{name}");
        }
        for name in [
            "",
            "evil.example",
            "evil.example:8080",
            "localhost.evil.example",
            "10.0.0.1:8080",
        ] {
            assert!(!is_this_machine(name), "{name}");
        }
    }
}
