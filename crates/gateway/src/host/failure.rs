use std::time::Duration;

use equicrypt_spec::wire::ErrorBody;

use crate::Error;
use crate::terminal::excerpt;

/// What a host's error means; from a status, or from the middle of a stream.
pub(crate) fn refused(url: String, status: u16, body: Option<&ErrorBody>) -> Error {
    let message = match body {
        Some(body) => excerpt(&body.error.message),
        None => "no readable reason".into(),
    };
    let advice = match status {
        400 | 422 => "the request does not fit what the host serves; check its context and model",
        401 | 403 => "check the API key",
        404 | 405 => {
            "check the address, and whether the host serves this kind of model; vLLM needs \
             --enable-scale-out or --tokens-only to generate"
        }
        409 => {
            "the window of sealed requests changed twice in a row; if several hosts share this address, give each one its own \
             --upstream"
        }
        429 | 503 => "the host is busy; ask again later",
        300..=399 => "redirects are not followed; give the final address",
        _ => "see the host's log",
    };
    Error::Refused {
        url,
        status,
        message,
        advice,
    }
}

pub(crate) fn connection(url: String, error: &reqwest::Error) -> Error {
    Error::Connection {
        url,
        reason: if error.is_timeout() {
            format!("no connection within {} s", CONNECT.as_secs())
        } else {
            innermost(error)
        },
    }
}

pub(crate) fn silence(url: String, silence: Duration) -> Error {
    Error::Silence {
        url,
        seconds: silence.as_secs(),
    }
}

/// The reason at the end of the chain ("Connection refused"); reqwest's own words repeat the
/// address.
pub(super) fn innermost(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    excerpt(&cause.to_string())
}

/// How long a connection may take to come about.
pub(super) const CONNECT: Duration = Duration::from_secs(10);
