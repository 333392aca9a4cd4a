mod address;
mod encode;
mod failure;
mod key;

use std::time::Duration;

use equicrypt_cipher::CipherIds;
use equicrypt_spec::Manifest;
use equicrypt_spec::wire::{ErrorBody, GenerateRequest, SamplingParams, StreamOptions};
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use reqwest::{Client, RequestBuilder, Response, StatusCode, Url, redirect};
use serde_json::Value;

pub use self::encode::{Expected, TokenTask};
pub(crate) use self::failure::{connection, refused, silence};
pub use self::key::ApiKey;

use self::failure::{CONNECT, innermost};
use crate::terminal::excerpt;
use crate::{Error, Stream};

/// How to answer, and what the answer is checked against.
#[derive(Clone, Copy)]
pub struct Options<'a> {
    /// Cipher ids are below it, those sent and those received.
    pub vocab_size: usize,
    /// The ids that end the answer.
    pub stop_ids: &'a CipherIds,
    /// Most new tokens; at least 1.
    pub max_tokens: usize,
    /// 0 is greedy.
    pub temperature: f64,
    /// The smallest set of ids of at least this probability; above 0, at most 1.
    pub top_p: f64,
    /// Same seed, same draw.
    pub seed: Option<u64>,
}

/// A host of an encrypted model: equicrypt's server, or vLLM with its token-in, token-out route, or
/// of an encoder with its pooling routes. It is not trusted: everything it sends is checked.
///
/// Connections go to the address given and nowhere else: no redirects, no proxy from the
/// environment.
pub struct Host {
    client: Client,
    base: Url,
    authorization: Option<HeaderValue>,
    cache_salt: String,
    silence: Duration,
}

impl Host {
    /// The host at `http://NAME[:PORT][/PREFIX]`. Connects only when asked for something.
    pub fn new(url: &str, api_key: Option<ApiKey>) -> Result<Self, Error> {
        Self::with_silence(url, api_key, SILENCE)
    }

    /// The manifest that the host publishes: the `equicrypt` object of the first entry of `GET
    /// /v1/models`.
    pub async fn manifest(&self) -> Result<Manifest, Error> {
        let response = self.send(self.client.get(self.route("v1/models"))).await?;
        let body = self.body(response, MOST_BODY).await?;
        let answer: Value = serde_json::from_slice(&body)
            .map_err(|_| self.protocol("JSON from /v1/models", "something else"))?;
        let published = answer.pointer("/data/0/equicrypt");
        let Some(published @ Value::Object(_)) = published else {
            return Err(Error::NoManifest { url: self.name() });
        };
        Manifest::parse(published.to_string().as_bytes()).map_err(|error| Error::HostManifest {
            url: self.name(),
            reason: excerpt(&error.to_string()),
        })
    }

    /// Asks for an answer, as a stream. The request carries cipher ids and how to sample, nothing
    /// else; the host's own end ids are ignored, because an encrypted model has none.
    pub async fn generate(
        &self,
        prompt: &CipherIds,
        options: &Options<'_>,
    ) -> Result<Stream, Error> {
        check(prompt, options)?;
        let request = GenerateRequest {
            request_id: None,
            token_ids: prompt.as_slice().to_vec(),
            model: None,
            sampling_params: SamplingParams {
                max_tokens: Some(options.max_tokens),
                temperature: options.temperature,
                top_p: options.top_p,
                seed: options.seed,
                stop_token_ids: options.stop_ids.as_slice().to_vec(),
                ignore_eos: true,
                ..SamplingParams::default()
            },
            stream: true,
            stream_options: Some(StreamOptions {
                include_usage: true,
            }),
            return_token_ids: false,
            cache_salt: Some(self.cache_salt.clone()),
        };
        let post = self.client.post(self.route("inference/v1/generate"));
        let response = self.send(post.json(&request)).await?;
        let kind = response.headers().get(CONTENT_TYPE);
        let kind = kind.and_then(|kind| kind.to_str().ok()).unwrap_or("none");
        if !kind.to_ascii_lowercase().starts_with("text/event-stream") {
            let found = format!("content-type {}", excerpt(kind));
            return Err(self.protocol("an event stream", &found));
        }
        Ok(Stream::new(
            response,
            self.name(),
            options.vocab_size,
            options.max_tokens,
            self.silence,
        ))
    }

    /// As [`Host::new`], giving up after another time without a byte.
    pub(crate) fn with_silence(
        url: &str,
        api_key: Option<ApiKey>,
        silence: Duration,
    ) -> Result<Self, Error> {
        let authorization = api_key.map(|key| key.header()).transpose()?;
        let mut salt = [0; 16];
        getrandom::fill(&mut salt).map_err(Error::Randomness)?;
        let client = Client::builder()
            .connect_timeout(CONNECT)
            .redirect(redirect::Policy::none())
            .referer(false)
            .no_proxy()
            .user_agent(concat!("equicrypt/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|error| Error::Connection {
                url: url.to_owned(),
                reason: innermost(&error),
            })?;
        Ok(Self {
            client,
            base: address::parse(url)?,
            authorization,
            cache_salt: salt.iter().map(|byte| format!("{byte:02x}")).collect(),
            silence,
        })
    }

    async fn send(&self, request: RequestBuilder) -> Result<Response, Error> {
        let request = match &self.authorization {
            Some(value) => request.header(AUTHORIZATION, value.clone()),
            None => request,
        };
        let response = tokio::time::timeout(self.silence, request.send())
            .await
            .map_err(|_| silence(self.name(), self.silence))?
            .map_err(|error| connection(self.name(), &error))?;
        if response.status() == StatusCode::OK {
            return Ok(response);
        }
        let status = response.status().as_u16();
        let body = self.body(response, MOST_ERROR_BODY).await.ok();
        let body = body.and_then(|body| serde_json::from_slice::<ErrorBody>(&body).ok());
        Err(refused(self.name(), status, body.as_ref()))
    }

    async fn body(&self, mut response: Response, limit: usize) -> Result<Vec<u8>, Error> {
        let mut body = Vec::new();
        loop {
            let chunk = tokio::time::timeout(self.silence, response.chunk())
                .await
                .map_err(|_| silence(self.name(), self.silence))?
                .map_err(|error| connection(self.name(), &error))?;
            let Some(chunk) = chunk else {
                return Ok(body);
            };
            if chunk.len() > limit.saturating_sub(body.len()) {
                return Err(self.protocol("a short answer", &format!("more than {limit} bytes")));
            }
            body.extend_from_slice(&chunk);
        }
    }

    fn protocol(&self, expected: &'static str, found: &str) -> Error {
        Error::Protocol {
            url: self.name(),
            expected,
            found: found.to_owned(),
        }
    }

    fn route(&self, route: &str) -> Url {
        let mut url = self.base.clone();
        url.set_path(&format!(
            "{}/{route}",
            self.base.path().trim_end_matches('/')
        ));
        url
    }

    fn name(&self) -> String {
        self.base.as_str().trim_end_matches('/').to_owned()
    }
}

/// Nothing is sent unless this passes.
fn check(prompt: &CipherIds, options: &Options<'_>) -> Result<(), Error> {
    if prompt.as_slice().is_empty() {
        return Err(Error::EmptyPrompt);
    }
    for (what, ids) in [("prompt", prompt), ("stop ids", options.stop_ids)] {
        let inside = |id: &u32| (*id as usize) < options.vocab_size;
        if !ids.as_slice().iter().all(inside) {
            return Err(Error::ForeignIds {
                what,
                vocab_size: options.vocab_size,
            });
        }
    }
    let wrong = |option, expected, found: String| {
        Err(Error::Option {
            option,
            expected,
            found,
        })
    };
    if options.max_tokens == 0 {
        return wrong("max_tokens", "1 or more", "0".into());
    }
    if !(options.temperature.is_finite() && options.temperature >= 0.0) {
        return wrong("temperature", "0 or more", options.temperature.to_string());
    }
    if !(options.top_p > 0.0 && options.top_p <= 1.0) {
        return wrong("top_p", "above 0, at most 1", options.top_p.to_string());
    }
    Ok(())
}

const SILENCE: Duration = Duration::from_secs(120);
const MOST_BODY: usize = 4 << 20;
const MOST_ERROR_BODY: usize = 64 << 10;

#[cfg(test)]
mod tests;
