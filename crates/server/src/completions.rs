//! `POST /v1/completions` with token ids for a prompt, as in vLLM 0.33 without a tokenizer: `text`
//! is always empty.

mod shape;

use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::extract::rejection::BytesRejection;
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use equicrypt_engine::Request;
use equicrypt_spec::wire::{SamplingParams, StreamOptions};
use serde::Deserialize;
use serde_json::Value;

use crate::answers::{Answers, request_id};
use crate::app::App;
use crate::body::{self, UNSUPPORTED};
use crate::host::now;
use crate::ids;
use crate::refusal::Refusal;
use crate::stream::stream;
use shape::Shape;

/// The fields besides the prompt and those of [`SamplingParams`], which stand beside them.
#[derive(Debug, Deserialize)]
struct Fields {
    model: Option<String>,
    #[serde(default)]
    stream: bool,
    #[serde(default)]
    stream_options: StreamOptions,
    #[serde(default)]
    return_token_ids: bool,
    cache_salt: Option<String>,
    request_id: Option<String>,
}

pub(crate) async fn completions(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, Refusal> {
    let mut object = body::object(body)?;
    body::refuse(&object, UNSUPPORTED)?;
    let prompt = object.remove("prompt");
    let object = Value::Object(object);
    let fields: Fields = body::read(&object)?;
    let mut sampling: SamplingParams = body::read(&object)?;
    sampling.max_tokens.get_or_insert(DEFAULT_MAX_TOKENS);
    app.check_model(fields.model.as_deref())?;
    let engine = app.decoder()?;
    let most = engine.options().max_queue;
    let prompts = ids::read("prompt", "token ids", prompt.as_ref(), most)?;
    let shape = Shape {
        id: format!("cmpl-{}", request_id(fields.request_id, &headers)),
        model: app.host.name().to_owned(),
        created: now(),
        n: sampling.n,
        prompts: fields.return_token_ids.then(|| prompts.clone()),
    };
    let requests = prompts.into_iter().map(|prompt| Request {
        prompt,
        sampling: sampling.clone(),
        salt: fields.cache_salt.clone(),
    });
    let answers = Answers::submit(engine, requests.collect())
        .map_err(|error| Refusal::from(error).rename("token_ids", "prompt"))?;
    if fields.stream {
        let include_usage = fields.stream_options.include_usage;
        return Ok(stream(answers, shape.streamed(), include_usage));
    }
    let (choices, usage) = answers.all().await?;
    Ok(Json(shape.whole(choices, usage)).into_response())
}

const DEFAULT_MAX_TOKENS: usize = 16;
