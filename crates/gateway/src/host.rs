mod address;
mod dialect;
mod encode;
mod failure;
mod host_keys;
mod incoming;
mod key;
mod sampling;
mod seal;
mod sniff;
mod tap;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use equicrypt_cipher::CipherIds;
use equicrypt_spec::wire::ErrorBody;
use equicrypt_spec::{EPOCH_HEADER, Manifest};
use reqwest::header::{AUTHORIZATION, HeaderValue};
use reqwest::{Client, RequestBuilder, Response, StatusCode, Url, redirect};
use serde_json::Value;

pub(crate) use self::dialect::{Added, Progress};
pub use self::dialect::{DIALECTS, Dialect};
pub use self::encode::{Expected, TokenTask};
pub(crate) use self::failure::refused;
pub use self::host_keys::HostKeys;
pub(crate) use self::incoming::Incoming;
pub use self::key::ApiKey;
pub use self::sampling::{Bias, Sampling};
pub use self::seal::{Pin, Seal};
pub(crate) use self::tap::Exchange;
pub use self::tap::{Tap, Traffic};

use self::dialect::Ask;
use self::failure::{CONNECT, connection, innermost, silence};
use self::seal::Sealed;
use crate::terminal::excerpt;
use crate::{Error, Stream};

/// How to answer, and what the answer is checked against.
#[derive(Clone, Copy)]
pub struct Options<'a> {
    /// Cipher ids are below it, those sent and those received.
    pub vocab_size: usize,
    /// The ids that end the answer.
    pub stop_ids: &'a CipherIds,
    /// Whether the host is told which they are, so that it stops by itself. Else the connection is
    /// closed when one of them comes.
    pub tells_stops: bool,
    /// Most new tokens; at least 1.
    pub max_tokens: usize,
    /// How the next id is drawn.
    pub sampling: &'a Sampling,
}

/// A host of an encrypted model: equicrypt's server, or a stock engine of [`DIALECTS`], or of an
/// encoder with vLLM's pooling routes. It is not trusted: everything it sends is checked.
///
/// Connections go to the address given and nowhere else: no redirects, no proxy from the
/// environment.
#[derive(Clone)]
pub struct Host {
    client: Client,
    base: Url,
    authorization: Option<HeaderValue>,
    cache_salt: String,
    silence: Duration,
    dialect: &'static Dialect,
    model: Option<String>,
    tap: Option<Tap>,
    /// What it is known to serve.
    epochs: Option<HeaderValue>,
    seal: Seal,
    /// After first contact with a host that opens sealed requests.
    sealed: Option<Arc<Sealed>>,
}

impl Host {
    /// The host at `http://NAME[:PORT][/PREFIX]`. Connects only when asked for something.
    pub fn new(url: &str, api_key: Option<&ApiKey>) -> Result<Self, Error> {
        Self::with_silence(url, api_key, SILENCE)
    }

    /// A host behind a Unix socket: one that runs for this machine's user alone.
    pub fn at_socket(socket: &Path) -> Result<Self, Error> {
        Self::connected(SOCKET_URL, Some(socket), None, SILENCE)
    }

    /// The manifest that the host publishes: the `equicrypt` object of the first entry of `GET
    /// /v1/models`.
    pub async fn manifest(&self) -> Result<Manifest, Error> {
        self.manifest_of(&self.models().await?)
    }

    /// The manifest in the answer of `GET /v1/models`.
    fn manifest_of(&self, models: &Value) -> Result<Manifest, Error> {
        let published = models.pointer("/data/0/equicrypt");
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
        check_dialect(self.dialect, options.sampling)?;
        let withheld = CipherIds::none();
        let asked = Options {
            stop_ids: match options.tells_stops {
                true => options.stop_ids,
                false => &withheld,
            },
            ..*options
        };
        let ask = Ask {
            prompt: prompt.as_slice(),
            options: &asked,
            model: self.model.as_deref(),
            cache_salt: &self.cache_salt,
        };
        // The body is made of numbers and texts, which always have a JSON form.
        let body = (self.dialect.body)(&ask).map_err(|_| self.protocol("JSON", "none"))?;
        let exchange = self.exchange(self.dialect.route, &body);
        let (answer, kind) = (self.post(self.dialect.route, body, exchange.as_ref())).await?;
        if !kind.to_ascii_lowercase().starts_with("text/event-stream") {
            let found = format!("content-type {}", excerpt(&kind));
            return Err(self.protocol("an event stream", &found));
        }
        Ok(Stream::new(answer, self, options, exchange))
    }

    /// The same host, given up after another time without a byte.
    #[must_use]
    pub fn silent_for(mut self, silence: Duration) -> Self {
        self.silence = silence;
        self
    }

    /// The same host, spoken to as this engine is.
    #[must_use]
    pub fn speaking(mut self, dialect: &'static Dialect) -> Self {
        self.dialect = dialect;
        self
    }

    /// The same host, with everything that is sent to it and comes back for answers shown to `tap`.
    #[must_use]
    pub fn tapped(mut self, tap: Tap) -> Self {
        self.tap = Some(tap);
        self
    }

    /// The same host, told with every request which epochs it was encrypted for; a host that knows of epochs refuses others.
    #[must_use]
    pub fn serving(mut self, manifest: &Manifest) -> Self {
        self.epochs = HeaderValue::from_str(&manifest.epochs()).ok();
        self
    }

    /// The engine that it is spoken to as.
    #[must_use]
    pub fn dialect(&self) -> &'static Dialect {
        self.dialect
    }

    /// Its address.
    #[must_use]
    pub fn url(&self) -> String {
        self.name()
    }

    /// As [`Host::new`], giving up after another time without a byte.
    pub(crate) fn with_silence(
        url: &str,
        api_key: Option<&ApiKey>,
        silence: Duration,
    ) -> Result<Self, Error> {
        Self::connected(url, None, api_key, silence)
    }

    fn connected(
        url: &str,
        socket: Option<&Path>,
        api_key: Option<&ApiKey>,
        silence: Duration,
    ) -> Result<Self, Error> {
        let authorization = api_key.map(ApiKey::header).transpose()?;
        let mut salt = [0; 16];
        getrandom::fill(&mut salt).map_err(Error::Randomness)?;
        let client = match socket {
            Some(socket) => Client::builder().unix_socket(socket),
            None => Client::builder(),
        };
        let client = client
            .connect_timeout(CONNECT)
            .pool_max_idle_per_host(MOST_IDLE)
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
            dialect: &DIALECTS[0],
            model: None,
            tap: None,
            epochs: None,
            seal: Seal::Off,
            sealed: None,
        })
    }

    async fn send(&self, request: RequestBuilder) -> Result<Response, Error> {
        self.send_seen(request, None).await
    }

    /// Sends a request; if it is refused, the refusal is shown.
    async fn send_seen(
        &self,
        request: RequestBuilder,
        exchange: Option<&Exchange>,
    ) -> Result<Response, Error> {
        let response = self.transmit(request).await?;
        if response.status() == StatusCode::OK {
            return Ok(response);
        }
        if response.status() == StatusCode::MISDIRECTED_REQUEST {
            return Err(Error::OtherManifest {
                url: self.name(),
                field: "epoch",
            });
        }
        let status = response.status().as_u16();
        let body = self.error_body(self.incoming(response), exchange).await;
        Err(refused(self.name(), status, body.as_ref()))
    }

    /// Sends a request as it is.
    async fn transmit(&self, request: RequestBuilder) -> Result<Response, Error> {
        let request = match &self.authorization {
            Some(value) => request.header(AUTHORIZATION, value.clone()),
            None => request,
        };
        tokio::time::timeout(self.silence, request.send())
            .await
            .map_err(|_| silence(self.name(), self.silence))?
            .map_err(|error| connection(self.name(), &error))
    }

    /// The reason of a refusal, shown to whoever listens.
    async fn error_body(
        &self,
        incoming: Incoming,
        exchange: Option<&Exchange>,
    ) -> Option<ErrorBody> {
        let body = self.body(incoming, MOST_ERROR_BODY).await.ok()?;
        if let Some(exchange) = exchange {
            exchange.received(&body);
        }
        serde_json::from_slice(&body).ok()
    }

    fn incoming(&self, response: Response) -> Incoming {
        Incoming::plain(response, self.name(), self.silence)
    }

    /// Says what the ids of a request were encrypted for.
    fn addressed(&self, request: RequestBuilder) -> RequestBuilder {
        match &self.epochs {
            Some(epochs) => request.header(EPOCH_HEADER, epochs.clone()),
            None => request,
        }
    }

    async fn body(&self, mut incoming: Incoming, limit: usize) -> Result<Vec<u8>, Error> {
        let mut body = Vec::new();
        loop {
            let Some(chunk) = incoming.chunk().await? else {
                return Ok(body);
            };
            if chunk.len() > limit.saturating_sub(body.len()) {
                return Err(self.protocol("a short answer", &format!("more than {limit} bytes")));
            }
            body.extend_from_slice(&chunk);
        }
    }

    /// Shows a request to whoever listens.
    fn exchange(&self, route: &'static str, body: &[u8]) -> Option<Exchange> {
        self.tap.as_ref()?.sent(route, body)
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
    let sampling = options.sampling;
    for (what, ids) in [
        ("prompt", prompt),
        ("stop ids", options.stop_ids),
        ("logit_bias", sampling.bias.ids()),
    ] {
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
    for (option, expected, value, good) in [
        (
            "temperature",
            "0 or more",
            sampling.temperature,
            0.0..=f64::MAX,
        ),
        (
            "top_p",
            "above 0, at most 1",
            sampling.top_p,
            f64::MIN_POSITIVE..=1.0,
        ),
        ("min_p", "0 to 1", sampling.min_p, 0.0..=1.0),
        (
            "presence_penalty",
            "-2 to 2",
            sampling.presence_penalty,
            -2.0..=2.0,
        ),
        (
            "frequency_penalty",
            "-2 to 2",
            sampling.frequency_penalty,
            -2.0..=2.0,
        ),
        (
            "repetition_penalty",
            "above 0",
            sampling.repetition_penalty,
            f64::MIN_POSITIVE..=f64::MAX,
        ),
    ] {
        if !good.contains(&value) {
            return wrong(option, expected, value.to_string());
        }
    }
    if sampling
        .bias
        .pairs()
        .any(|(_, bias)| !(-100.0..=100.0).contains(&bias))
    {
        return wrong("logit_bias", "-100 to 100", "another number".into());
    }
    Ok(())
}

/// What one host can do may be less than what is asked.
fn check_dialect(dialect: &Dialect, sampling: &Sampling) -> Result<(), Error> {
    let wrong = |option, most: usize, found: usize| {
        Err(Error::Unable {
            engine: dialect.name,
            option,
            most,
            found,
        })
    };
    let biased = sampling.bias.pairs().count();
    if biased > dialect.most_biased {
        return wrong("ids in logit_bias", dialect.most_biased, biased);
    }
    match sampling.logprobs {
        Some(count) if count > dialect.most_logprobs => {
            wrong("top log-probabilities", dialect.most_logprobs, count)
        }
        _ => Ok(()),
    }
}

/// Connections that wait for the next request.
const MOST_IDLE: usize = 8;
const SILENCE: Duration = Duration::from_secs(120);
/// A socket has no name; HTTP wants one.
const SOCKET_URL: &str = "http://localhost";
const MOST_BODY: usize = 4 << 20;
const MOST_ERROR_BODY: usize = 64 << 10;

#[cfg(test)]
mod tests;
