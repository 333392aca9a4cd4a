use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use crate::Error;

/// An error as OpenAI's clients expect it.
#[derive(Debug)]
pub(crate) struct ApiError {
    status: StatusCode,
    message: String,
    param: Option<&'static str>,
    code: Option<&'static str>,
}

impl ApiError {
    pub(crate) fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self {
            status,
            message: message.into(),
            param: None,
            code: None,
        }
    }

    /// A field of a request that cannot be answered as it is.
    pub(crate) fn field(param: &'static str, message: impl std::fmt::Display) -> Self {
        Self {
            param: Some(param),
            ..Self::new(StatusCode::BAD_REQUEST, format!("{param}: {message}"))
        }
    }

    pub(crate) fn body(&self) -> Value {
        let kind = match self.status.as_u16() {
            403 if self.code == Some(BUDGET) => "insufficient_quota",
            401 | 403 => "authentication_error",
            404 | 405 => "not_found_error",
            429 => "rate_limit_error",
            400..500 => "invalid_request_error",
            _ => "server_error",
        };
        json!({ "error": {
            "message": self.message, "type": kind, "param": self.param, "code": self.code,
        }})
    }
}

impl From<Error> for ApiError {
    fn from(error: Error) -> Self {
        let (status, code) = match &error {
            Error::PromptTooLong { .. } | Error::TextTooLong { .. } => {
                (StatusCode::BAD_REQUEST, Some("context_length_exceeded"))
            }
            Error::EmptyPrompt
            | Error::EmptyText
            | Error::Template { .. }
            | Error::NoTemplate { .. }
            | Error::Option { .. }
            | Error::ForeignIds { .. }
            | Error::Unable { .. }
            | Error::Schema { .. }
            | Error::TokenBytes { .. }
            | Error::Grammar { .. }
            | Error::Text { .. } => (StatusCode::BAD_REQUEST, None),
            // Asking again does not help, as it would after a 429.
            Error::Budget { .. } => (StatusCode::FORBIDDEN, Some(BUDGET)),
            Error::State { .. } => (StatusCode::INTERNAL_SERVER_ERROR, Some("state_file")),
            Error::Refused { status: 429, .. } => {
                (StatusCode::TOO_MANY_REQUESTS, Some("host_overloaded"))
            }
            Error::NoHost { .. }
            | Error::Connection { .. }
            | Error::OtherManifest { .. }
            | Error::ChangedHostKey { .. }
            | Error::NoHostKey { .. }
            | Error::CannotOpen { .. }
            | Error::Refused { status: 503, .. } => {
                (StatusCode::SERVICE_UNAVAILABLE, Some("host_unavailable"))
            }
            Error::Silence { .. } => (StatusCode::GATEWAY_TIMEOUT, Some("host_silent")),
            Error::Refused { .. }
            | Error::Protocol { .. }
            | Error::CutOff { .. }
            | Error::GaveUp { .. }
            | Error::EventTooLong { .. }
            | Error::SealedAnswer { .. }
            | Error::Cipher(_) => (StatusCode::BAD_GATEWAY, Some("host_failed")),
            _ => (StatusCode::INTERNAL_SERVER_ERROR, None),
        };
        Self {
            code,
            ..Self::new(status, error.to_string())
        }
    }
}

const BUDGET: &str = "epoch_budget_exhausted";

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        (self.status, Json(self.body())).into_response()
    }
}
