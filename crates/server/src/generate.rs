//! `POST /inference/v1/generate`, as in vLLM 0.33.

use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::extract::rejection::BytesRejection;
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use equicrypt_engine::Request;
use equicrypt_spec::wire::{
    Choice, FinishReason, GenerateRequest, GenerateResponse, Logprobs, SamplingParams, Usage,
};
use serde_json::{Map, Value};

use crate::answers::{Answers, Token, request_id};
use crate::app::App;
use crate::body::{self, UNSUPPORTED};
use crate::host::now;
use crate::refusal::Refusal;
use crate::stream::{Chunks, stream};

pub(crate) async fn generate(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, Refusal> {
    let request = read(body)?;
    app.check_model(request.model.as_deref())?;
    let id = request_id(request.request_id, &headers);
    let mut shape = Shape {
        id: format!("generate-tokens-{id}"),
        model: app.host.name().to_owned(),
        created: now(),
        prompt: request.return_token_ids.then(|| request.token_ids.clone()),
    };
    let logprobs = request.sampling_params.logprobs.is_some();
    let answers = Answers::submit(
        app.decoder()?,
        vec![Request {
            prompt: request.token_ids,
            sampling: request.sampling_params,
            salt: request.cache_salt,
        }],
    )?;
    if request.stream {
        let options = request.stream_options.unwrap_or_default();
        return Ok(stream(answers, shape, options.include_usage));
    }
    let (choices, usage) = answers.all().await?;
    let choices = choices
        .into_iter()
        .enumerate()
        .map(|(index, whole)| Choice {
            index,
            finish_reason: whole.finish.map(|finish| finish.reason),
            stop_reason: whole.finish.and_then(|finish| finish.stop_reason),
            token_ids: whole.ids,
            logprobs: logprobs.then_some(Logprobs {
                content: whole.logprobs,
            }),
        });
    let response = shape.response(choices.collect(), Some(usage));
    Ok(Json(response).into_response())
}

fn read(body: Result<Bytes, BytesRejection>) -> Result<GenerateRequest, Refusal> {
    let mut object = body::object(body)?;
    body::refuse(&object, UNSUPPORTED)?;
    output_mode(&object)?;
    if let Some(Value::Object(sampling)) = object.get_mut("sampling_params") {
        *sampling = body::without_nulls(std::mem::take(sampling));
        body::refuse(sampling, UNSUPPORTED)?;
        body::read::<SamplingParams>(&Value::Object(sampling.clone()))?;
    }
    body::read(&Value::Object(object))
}

fn output_mode(object: &Map<String, Value>) -> Result<(), Refusal> {
    match object.get("output_mode") {
        None => Ok(()),
        Some(Value::String(mode)) if mode == OUTPUT_MODE => Ok(()),
        Some(_) => Err(Refusal::field(
            "output_mode",
            "output_mode: expected \"tokens\", found another; this host has no tokenizer",
        )),
    }
}

struct Shape {
    id: String,
    model: String,
    created: u64,
    /// The prompt's ids, until they have been sent.
    prompt: Option<Vec<u32>>,
}

impl Shape {
    fn response(&mut self, choices: Vec<Choice>, usage: Option<Usage>) -> GenerateResponse {
        GenerateResponse {
            request_id: self.id.clone(),
            model: Some(self.model.clone()),
            created: Some(self.created),
            usage,
            prompt_token_ids: self.prompt.take(),
            output_mode: Some(OUTPUT_MODE.into()),
            choices,
        }
    }
}

impl Chunks for Shape {
    type Chunk = GenerateResponse;

    fn token(&mut self, token: Token) -> GenerateResponse {
        let choice = Choice {
            index: token.choice,
            finish_reason: token.finish.map(|finish| finish.reason),
            stop_reason: token.finish.and_then(|finish| finish.stop_reason),
            token_ids: vec![token.id],
            logprobs: token.logprob.map(|logprob| Logprobs {
                content: vec![logprob],
            }),
        };
        self.response(vec![choice], None)
    }

    fn aborted(&mut self, choice: usize) -> GenerateResponse {
        let choice = Choice {
            index: choice,
            finish_reason: Some(FinishReason::Abort),
            stop_reason: None,
            token_ids: Vec::new(),
            logprobs: None,
        };
        self.response(vec![choice], None)
    }

    fn usage(&mut self, usage: Usage) -> GenerateResponse {
        self.response(Vec::new(), Some(usage))
    }
}

const OUTPUT_MODE: &str = "tokens";
