//! `POST /v1/completions`.

use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::{Value, json};

use super::answers::{Answers, Chunks, bytes, reason};
use super::chat::Head;
use super::error::ApiError;
use super::request::Common;
use super::{App, logprobs, request, sse};
use crate::answer::{Piece, Question};
use crate::history::Seen;
use crate::{Error, TextModel};

#[derive(Debug, Deserialize)]
struct CompletionRequest {
    prompt: Prompt,
    #[serde(default)]
    echo: Option<bool>,
    #[serde(default)]
    logprobs: Option<usize>,
    #[serde(default)]
    suffix: Option<String>,
    #[serde(default)]
    best_of: Option<usize>,
    #[serde(flatten)]
    common: Common,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub(super) enum Prompt {
    Text(String),
    Ids(Vec<u32>),
    Texts(Vec<String>),
    IdLists(Vec<Vec<u32>>),
}

pub(super) async fn completions(
    State(app): State<Arc<App>>,
    body: Bytes,
) -> Result<Response, ApiError> {
    let mut request: CompletionRequest = request::parse(&body)?;
    let model = Arc::clone(app.text_model()?);
    let n = request.common.answers()?;
    check(&request, n)?;
    let echo = request.echo.unwrap_or(false);
    let owner = model.owner();
    let settings = request.common.settings(
        model.defaults(),
        owner.config().vocab_size,
        request.logprobs,
    )?;
    let stops = request.common.stops()?;
    let mut questions = Vec::new();
    let mut echoes = Vec::new();
    for prompt in prompts(request.prompt, &model)? {
        let room = owner.room(prompt.len())?;
        echoes.push(match echo {
            true => owner.text().decode(&prompt, true)?,
            false => String::new(),
        });
        questions.push(Question {
            prompt,
            known: Seen::default(),
            prompt_text: None,
            max_tokens: request.common.most(room, DEFAULT_TOKENS)?,
            settings: settings.clone(),
            stops: stops.clone(),
            marks: model.answer_marks(false),
            form: None,
        });
    }
    let answers = Answers::start(&app, &model, questions, n).await?;
    let mut completion = Completion {
        head: Head::new("cmpl", &app),
        offsets: vec![0; echoes.len() * n],
        model,
        top: request.logprobs,
        echoes,
        n,
        wants_usage: request.common.wants_usage(),
    };
    match request.common.streams() {
        true => Ok(sse::response(bytes(answers, completion))),
        false => completion.whole(answers).await,
    }
}

fn check(request: &CompletionRequest, n: usize) -> Result<(), ApiError> {
    if request
        .suffix
        .as_ref()
        .is_some_and(|suffix| !suffix.is_empty())
    {
        return Err(ApiError::field("suffix", "is not supported"));
    }
    if request.best_of.is_some_and(|best| best != n) {
        return Err(ApiError::field("best_of", "is not supported; leave it out"));
    }
    if request.logprobs.is_some_and(|top| top > 20) {
        return Err(ApiError::field("logprobs", "expected 0 to 20"));
    }
    if request.echo.unwrap_or(false) && request.logprobs.is_some() {
        let both = "cannot be combined with logprobs: hosts do not give those of a prompt";
        return Err(ApiError::field("echo", both));
    }
    Ok(())
}

/// Texts in ids, and ids as they are, if they are the model's.
fn prompts(prompt: Prompt, model: &TextModel) -> Result<Vec<Vec<u32>>, ApiError> {
    let owner = model.owner();
    let encode = |text: String| Ok::<_, ApiError>(owner.text().encode(&text)?);
    let all = match prompt {
        Prompt::Text(text) => vec![encode(text)?],
        Prompt::Texts(texts) => texts.into_iter().map(encode).collect::<Result<_, _>>()?,
        Prompt::Ids(ids) => vec![ids],
        Prompt::IdLists(lists) => lists,
    };
    let size = owner.config().vocab_size;
    if all.is_empty() || all.len() > MOST_PROMPTS {
        let found = format!("expected 1 to {MOST_PROMPTS}, found {}", all.len());
        return Err(ApiError::field("prompt", found));
    }
    if all.iter().flatten().any(|id| *id as usize >= size) {
        let expected = format!("expected token ids below {size}");
        return Err(ApiError::field("prompt", expected));
    }
    Ok(all)
}

struct Completion {
    head: Head,
    model: Arc<TextModel>,
    top: Option<usize>,
    /// What stands before the answers to each prompt.
    echoes: Vec<String>,
    n: usize,
    /// For each answer, where its next token begins.
    offsets: Vec<usize>,
    wants_usage: bool,
}

impl Completion {
    fn choice(&mut self, index: usize, piece: &Piece, echo: &str) -> Result<Value, Error> {
        let logprobs = match (self.top, self.offsets.get_mut(index)) {
            (Some(top), Some(offset)) => {
                let text = self.model.owner().text();
                logprobs::of_completion(text, &piece.tokens, top, offset)?
            }
            _ => Value::Null,
        };
        Ok(json!({
            "index": index,
            "text": format!("{echo}{}", piece.text),
            "logprobs": logprobs,
            "finish_reason": piece.finish.map(reason),
        }))
    }

    fn frame(&self, choices: Value) -> Value {
        let head = &self.head;
        json!({
            "id": head.id, "object": "text_completion", "created": head.created,
            "model": head.model, "choices": choices,
        })
    }

    async fn whole(&mut self, mut answers: Answers) -> Result<Response, ApiError> {
        let pieces = answers.whole().await?;
        let mut choices = Vec::with_capacity(pieces.len());
        for (index, piece) in pieces.iter().enumerate() {
            let echo = self.echoes.get(index / self.n).cloned();
            choices.push(self.choice(index, piece, &echo.unwrap_or_default())?);
        }
        let mut body = self.frame(json!(choices));
        body["usage"] = answers.usage();
        Ok(Json(body).into_response())
    }
}

impl Chunks for Completion {
    fn start(&mut self, out: &mut Vec<u8>) {
        let echoes = std::mem::take(&mut self.echoes);
        for (index, echo) in echoes
            .iter()
            .enumerate()
            .filter(|(_, echo)| !echo.is_empty())
        {
            for number in 0..self.n {
                let piece = Piece {
                    text: echo.clone(),
                    ..Piece::default()
                };
                self.piece(index * self.n + number, &piece, out);
            }
        }
    }

    fn piece(&mut self, choice: usize, piece: &Piece, out: &mut Vec<u8>) {
        match self.choice(choice, piece, "") {
            Ok(choice) => {
                let mut chunk = self.frame(json!([choice]));
                if self.wants_usage {
                    chunk["usage"] = Value::Null;
                }
                sse::data(out, &chunk);
            }
            Err(error) => self.error(ApiError::from(error).body(), out),
        }
    }

    fn end(&mut self, usage: Value, out: &mut Vec<u8>) {
        if self.wants_usage {
            let mut chunk = self.frame(json!([]));
            chunk["usage"] = usage;
            sse::data(out, &chunk);
        }
        out.extend_from_slice(sse::DONE);
    }

    fn error(&mut self, error: Value, out: &mut Vec<u8>) {
        sse::data(out, &error);
    }
}

/// OpenAI's.
const DEFAULT_TOKENS: usize = 16;
const MOST_PROMPTS: usize = 64;
