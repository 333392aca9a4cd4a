//! Which engine a host runs, from what it says of itself.

use equicrypt_spec::Manifest;
use reqwest::StatusCode;
use reqwest::header::CONTENT_TYPE;
use serde_json::Value;

use super::{DIALECTS, Dialect, Host, MOST_BODY};
use crate::Error;
use crate::terminal::excerpt;

impl Host {
    /// The same host, spoken to as what runs there: `GET /v1/models` tells the engine and the name
    /// of what it serves. Of vLLM the route for ids is taken if it is switched on. If `engine` is
    /// given, the host is not asked which it is.
    pub async fn sniffed(mut self, engine: Option<&'static Dialect>) -> Result<Self, Error> {
        let models = self.models().await?;
        let text = |field: &str| models.pointer(field).and_then(Value::as_str);
        self.model = text("/data/0/id").map(str::to_owned);
        let dialect = match engine {
            Some(dialect) => dialect,
            None if models.pointer("/data/0/equicrypt").is_some() => &DIALECTS[0],
            None => {
                let owner = text("/data/0/owned_by").unwrap_or("nothing");
                Dialect::named(owner).ok_or_else(|| Error::UnknownEngine {
                    url: self.url(),
                    found: excerpt(owner),
                })?
            }
        };
        self.dialect = match dialect.name {
            "vllm" => self.vllm().await?,
            _ => dialect,
        };
        let opens = self.dialect.name == "equicrypt";
        self.meet(opens).await
    }

    /// The manifest that the host publishes now, if it publishes one.
    pub async fn published(&self) -> Result<Option<Manifest>, Error> {
        let models = self.models().await?;
        match models.pointer("/data/0/equicrypt") {
            None => Ok(None),
            Some(_) => self.manifest_of(&models).map(Some),
        }
    }

    /// The answer of `GET /v1/models`.
    pub(super) async fn models(&self) -> Result<Value, Error> {
        let response = self.send(self.client.get(self.route("v1/models"))).await?;
        let body = self.body(self.incoming(response), MOST_BODY).await?;
        serde_json::from_slice(&body)
            .map_err(|_| self.protocol("JSON from /v1/models", "something else"))
    }

    /// Which of vLLM's two routes is open: an empty request is refused for what it lacks, or because
    /// the route is closed. Before version 0.24 the first one did not stream.
    async fn vllm(&self) -> Result<&'static Dialect, Error> {
        let [_, generate, completions, ..] = &DIALECTS;
        let post = self.client.post(self.route(generate.route));
        let post = post.header(CONTENT_TYPE, "application/json").body("{}");
        let open = match self.send(post).await {
            Ok(_) => true,
            Err(Error::Refused { status, .. }) => {
                [StatusCode::BAD_REQUEST, StatusCode::UNPROCESSABLE_ENTITY]
                    .iter()
                    .any(|open| open.as_u16() == status)
            }
            Err(error) => return Err(error),
        };
        Ok(match open && self.streams().await? {
            true => generate,
            false => completions,
        })
    }

    async fn streams(&self) -> Result<bool, Error> {
        let response = self.send(self.client.get(self.route("version"))).await?;
        let body = self.body(self.incoming(response), MOST_BODY).await?;
        let version: Option<Value> = serde_json::from_slice(&body).ok();
        let version = version
            .as_ref()
            .and_then(|version| version["version"].as_str());
        let mut parts = version
            .unwrap_or_default()
            .split('.')
            .map(str::parse::<u32>);
        Ok(match (parts.next(), parts.next()) {
            (Some(Ok(0)), Some(Ok(minor))) => minor >= FIRST_STREAMING,
            (Some(Ok(_)), _) => true,
            _ => false,
        })
    }
}

/// vLLM 0.24.
const FIRST_STREAMING: u32 = 24;
