use std::collections::BTreeMap;

use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::error::ApiError;
use crate::settings::Settings;

/// What chat completions and completions have in common.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Common {
    pub(crate) stream: Option<bool>,
    pub(crate) stream_options: Option<StreamOptions>,
    pub(crate) max_tokens: Option<usize>,
    pub(crate) max_completion_tokens: Option<usize>,
    pub(crate) n: Option<usize>,
    stop: Option<OneOrMany>,
    temperature: Option<f64>,
    top_p: Option<f64>,
    top_k: Option<i64>,
    min_p: Option<f64>,
    seed: Option<i64>,
    presence_penalty: Option<f64>,
    frequency_penalty: Option<f64>,
    repetition_penalty: Option<f64>,
    logit_bias: Option<BTreeMap<String, f64>>,
}

#[derive(Debug, Default, Clone, Copy, Deserialize)]
#[serde(default)]
pub(crate) struct StreamOptions {
    pub(crate) include_usage: Option<bool>,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum OneOrMany {
    One(String),
    Many(Vec<String>),
}

/// A request's body.
pub(crate) fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, ApiError> {
    serde_json::from_slice(body).map_err(|error| {
        let status = axum::http::StatusCode::BAD_REQUEST;
        ApiError::new(status, format!("the request's body: {error}"))
    })
}

impl Common {
    /// How to draw, from the request and, where it says nothing, from the model's defaults.
    pub(crate) fn settings(
        &self,
        defaults: &Settings,
        vocab_size: usize,
        logprobs: Option<usize>,
    ) -> Result<Settings, ApiError> {
        let mut bias = Vec::new();
        for (id, value) in self.logit_bias.iter().flatten() {
            let id: Option<u32> = id.parse().ok();
            let id = id.filter(|id| (*id as usize) < vocab_size).ok_or_else(|| {
                let expected = format!("expected token ids below {vocab_size} as names");
                ApiError::field("logit_bias", expected)
            })?;
            bias.push((id, *value));
        }
        let top_k = self.top_k.map(|k| usize::try_from(k).unwrap_or(0));
        Ok(Settings {
            temperature: self.temperature.unwrap_or(defaults.temperature),
            top_p: self.top_p.unwrap_or(defaults.top_p),
            top_k: top_k.unwrap_or(defaults.top_k),
            min_p: self.min_p.unwrap_or(defaults.min_p),
            seed: self.seed.map(i64::cast_unsigned),
            presence_penalty: self.presence_penalty.unwrap_or(0.0),
            frequency_penalty: self.frequency_penalty.unwrap_or(0.0),
            repetition_penalty: self
                .repetition_penalty
                .unwrap_or(defaults.repetition_penalty),
            bias,
            logprobs,
        })
    }

    pub(crate) fn stops(&mut self) -> Result<Vec<String>, ApiError> {
        let stops = match self.stop.take() {
            None => Vec::new(),
            Some(OneOrMany::One(stop)) => vec![stop],
            Some(OneOrMany::Many(stops)) => stops,
        };
        match stops.len() {
            0..=MOST_STOPS => Ok(stops),
            found => Err(ApiError::field(
                "stop",
                format!("expected at most {MOST_STOPS} texts, found {found}"),
            )),
        }
    }

    /// Answers to each prompt.
    pub(crate) fn answers(&self) -> Result<usize, ApiError> {
        match self.n.unwrap_or(1) {
            n @ 1..=MOST_ANSWERS => Ok(n),
            found => Err(ApiError::field(
                "n",
                format!("expected 1 to {MOST_ANSWERS}, found {found}"),
            )),
        }
    }

    /// New tokens, of those that the context has room for.
    pub(crate) fn most(&self, room: usize, default: usize) -> Result<usize, ApiError> {
        match self.max_completion_tokens.or(self.max_tokens) {
            Some(0) => Err(ApiError::field("max_tokens", "expected 1 or more, found 0")),
            Some(most) => Ok(most.min(room)),
            None => Ok(default.min(room)),
        }
    }

    pub(crate) fn streams(&self) -> bool {
        self.stream.unwrap_or(false)
    }

    pub(crate) fn wants_usage(&self) -> bool {
        let options = self.stream_options.unwrap_or_default();
        options.include_usage.unwrap_or(false)
    }
}

const MOST_STOPS: usize = 16;
const MOST_ANSWERS: usize = 128;
