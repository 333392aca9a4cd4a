use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::http::StatusCode;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::refusal::Refusal;

/// A field that would change the answer if this host did what it says, and why it does not.
pub(crate) struct Unsupported {
    pub(crate) field: &'static str,
    pub(crate) advice: &'static str,
}

/// The object in a request's body, without its nulls: null means the default everywhere.
pub(crate) fn object(body: Result<Bytes, BytesRejection>) -> Result<Map<String, Value>, Refusal> {
    let body = body.map_err(|rejection| match rejection.status() {
        StatusCode::PAYLOAD_TOO_LARGE => Refusal::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "the body is longer than any request that fits into the model's context; send fewer \
             token ids",
        ),
        _ => Refusal::new(StatusCode::BAD_REQUEST, rejection.body_text()),
    })?;
    match serde_json::from_slice(&body) {
        Ok(Value::Object(object)) => Ok(without_nulls(object)),
        Ok(_) => Err(Refusal::new(
            StatusCode::BAD_REQUEST,
            "the body: expected a JSON object, found another JSON value",
        )),
        Err(error) => Err(Refusal::new(
            StatusCode::BAD_REQUEST,
            format!("the body: expected JSON, found an error: {error}"),
        )),
    }
}

pub(crate) fn without_nulls(mut object: Map<String, Value>) -> Map<String, Value> {
    object.retain(|_, value| !value.is_null());
    object
}

/// Refuses fields that are set to something.
pub(crate) fn refuse(object: &Map<String, Value>, fields: &[Unsupported]) -> Result<(), Refusal> {
    let is_set = |value: &Value| match value {
        Value::Null | Value::Bool(false) => false,
        Value::Array(list) => !list.is_empty(),
        Value::Object(object) => !object.is_empty(),
        Value::String(text) => !text.is_empty(),
        Value::Bool(true) | Value::Number(_) => true,
    };
    match fields
        .iter()
        .find(|unsupported| object.get(unsupported.field).is_some_and(is_set))
    {
        None => Ok(()),
        Some(Unsupported { field, advice }) => Err(Refusal::field(
            *field,
            format!("{field}: not supported by this host; {advice}"),
        )),
    }
}

/// Reads an object's fields, or names the one that cannot be read.
pub(crate) fn read<T: DeserializeOwned>(object: &Value) -> Result<T, Refusal> {
    T::deserialize(object).map_err(|error| {
        let message = error.to_string();
        match object
            .as_object()
            .and_then(|object| field_at_fault::<T>(object, &message))
        {
            Some(field) => Refusal::field(field.clone(), format!("{field}: {message}")),
            None => Refusal::new(StatusCode::BAD_REQUEST, message),
        }
    })
}

/// The first field that is refused with the same words when it stands alone. (serde_json names the
/// place of an error in a text, but not the field in a value.)
fn field_at_fault<T: DeserializeOwned>(
    object: &Map<String, Value>,
    message: &str,
) -> Option<String> {
    if let Some(missing) = message.strip_prefix("missing field `") {
        return missing.strip_suffix('`').map(str::to_owned);
    }
    let fails_alike = |(name, value): &(&String, &Value)| {
        let alone = Map::from_iter([((*name).clone(), (*value).clone())]);
        T::deserialize(Value::Object(alone)).is_err_and(|error| error.to_string() == message)
    };
    object
        .iter()
        .find(fails_alike)
        .map(|(name, _)| name.clone())
}

/// What no request to this host may ask for.
pub(crate) const UNSUPPORTED: &[Unsupported] = &[
    Unsupported {
        field: "stop",
        advice: "match stop strings at the owner's side",
    },
    Unsupported {
        field: "bad_words",
        advice: "send their token ids in logit_bias",
    },
    Unsupported {
        field: "structured_outputs",
        advice: "check the answer's structure at the owner's side",
    },
    Unsupported {
        field: "response_format",
        advice: "check the answer's structure at the owner's side",
    },
    Unsupported {
        field: "prompt_logprobs",
        advice: "only the answer has log-probabilities",
    },
    Unsupported {
        field: "logprob_token_ids",
        advice: "ask for the likeliest ids with logprobs",
    },
    Unsupported {
        field: "features",
        advice: "send token ids only",
    },
    Unsupported {
        field: "prompt_embeds",
        advice: "send token ids",
    },
    Unsupported {
        field: "echo",
        advice: "set return_token_ids for the prompt's ids",
    },
    Unsupported {
        field: "suffix",
        advice: "put it into the prompt",
    },
    Unsupported {
        field: "use_beam_search",
        advice: "ask for several answers with n",
    },
];
