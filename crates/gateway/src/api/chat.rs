//! `POST /v1/chat/completions`.

use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value, json};

use super::answers::{Answers, Chunks, bytes, reason};
use super::chat_request::{ChatRequest, ToolChoice};
use super::error::ApiError;
use super::{App, logprobs, request, required, sse};
use crate::answer::{Piece, Question};
use crate::history::Encoded;
use crate::parse::{AnswerParser, Part};
use crate::{Error, TextModel};

pub(super) async fn chat(State(app): State<Arc<App>>, body: Bytes) -> Result<Response, ApiError> {
    let request: ChatRequest = request::parse(&body)?;
    let asked = Asked::of(&app, request).await?;
    let answers = Answers::start(&app, &asked.model, vec![asked.question], asked.n).await?;
    let chat = Chat {
        head: Head::new("chatcmpl", &app),
        model: asked.model,
        top: asked.top,
        opening: asked.opening,
        parsers: (0..asked.n).map(|_| asked.parsing.parser()).collect(),
        wants_usage: asked.wants_usage,
    };
    match asked.streams {
        true => Ok(sse::response(bytes(answers, chat))),
        false => chat.whole(answers).await,
    }
}

/// A request in the gateway's own terms.
pub(super) struct Asked {
    pub(super) model: Arc<TextModel>,
    pub(super) question: Question,
    pub(super) n: usize,
    pub(super) parsing: Parsing,
    /// What the answer begins with, though the host does not write it.
    pub(super) opening: String,
    top: Option<usize>,
    pub(super) streams: bool,
    wants_usage: bool,
}

/// How the text of an answer becomes content, reasoning and tool calls.
pub(super) struct Parsing {
    model: Arc<TextModel>,
    tools: Option<Vec<String>>,
    inside_reasoning: bool,
}

impl Asked {
    /// Long conversations take a while to render and to tokenise; other answers go on meanwhile.
    pub(super) async fn of(app: &Arc<App>, request: ChatRequest) -> Result<Self, ApiError> {
        let app = Arc::clone(app);
        let asked = tokio::task::spawn_blocking(move || Self::new(&app, request));
        asked.await.unwrap_or_else(|_| {
            let message = "the request could not be prepared";
            Err(ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, message))
        })
    }

    fn new(app: &App, mut request: ChatRequest) -> Result<Self, ApiError> {
        let model = Arc::clone(app.text_model()?);
        request.check()?;
        let top = request.logprobs()?;
        let (form, choice) = (request.form()?, request.tool_choice()?);
        let tools = request.tool_names()?;
        let described = request.tools.clone().unwrap_or_default();
        let may_call = choice != ToolChoice::None;
        if form.is_some() && may_call {
            let both = "cannot be combined with tools; say tool_choice: \"none\"";
            return Err(ApiError::field("response_format", both));
        }
        let mut conversation = request.conversation(may_call, model.template_has_tools())?;
        if form.is_some() {
            // What must be JSON from its first letter leaves no room for thoughts.
            let thinks = conversation.variables.entry("enable_thinking");
            thinks.or_insert(json!(false));
        }
        let owner = model.owner();
        let prompt_text = owner.prompt_text(&conversation)?;
        let inside_reasoning = model.opens_reasoning(&prompt_text);
        let (opening, form) = match &choice {
            ToolChoice::Required(name) => {
                let (call, form) = required::call(model.tool_format(), &described, name.as_deref());
                // A call belongs behind the thoughts that the template has begun.
                let close = model
                    .reasoning_format()
                    .map_or("", |format| format.marks()[1]);
                match inside_reasoning {
                    true => (format!("\n{close}\n\n{call}"), form),
                    false => (call, form),
                }
            }
            _ => (String::new(), form),
        };
        let prompt_text = prompt_text + &opening;
        let Encoded { ids: prompt, known } = model.history().encode(owner.text(), &prompt_text)?;
        let room = owner.room(prompt.len())?;
        let vocab_size = owner.config().vocab_size;
        let question = Question {
            marks: model.answer_marks(may_call),
            max_tokens: request.common.most(room, room)?,
            settings: request.common.settings(model.defaults(), vocab_size, top)?,
            stops: request.common.stops()?,
            prompt,
            known,
            prompt_text: Some(prompt_text),
            form,
        };
        Ok(Self {
            n: request.common.answers()?,
            streams: request.common.streams(),
            wants_usage: request.common.wants_usage(),
            parsing: Parsing {
                model: Arc::clone(&model),
                tools: may_call.then_some(tools),
                inside_reasoning,
            },
            model,
            question,
            opening,
            top,
        })
    }
}

impl Parsing {
    pub(super) fn parser(&self) -> AnswerParser {
        AnswerParser::new(
            self.tools.is_some().then(|| self.model.tool_format()),
            self.model.reasoning_format(),
            self.inside_reasoning,
            self.tools.clone().unwrap_or_default(),
        )
    }
}

/// What is the same in every chunk of a response.
pub(super) struct Head {
    pub(super) id: String,
    pub(super) created: u64,
    pub(super) model: String,
}

impl Head {
    pub(super) fn new(kind: &str, app: &App) -> Self {
        Self {
            id: format!("{kind}-{}", super::random_id()),
            created: super::now(),
            model: app.name.clone(),
        }
    }
}

struct Chat {
    head: Head,
    model: Arc<TextModel>,
    top: Option<usize>,
    opening: String,
    parsers: Vec<AnswerParser>,
    wants_usage: bool,
}

impl Chat {
    fn logprobs(&self, piece: &Piece) -> Result<Value, Error> {
        match self.top {
            Some(top) => {
                let text = self.model.owner().text();
                logprobs::of_chat(text, &piece.tokens, top)
            }
            None => Ok(Value::Null),
        }
    }

    /// The parts of a piece of one answer, those held back included at its end.
    fn parts(&mut self, choice: usize, piece: &Piece) -> Vec<Part> {
        let mut parts = Vec::new();
        if let Some(parser) = self.parsers.get_mut(choice) {
            parser.push(&piece.text, &mut parts);
            if piece.finish.is_some() {
                parser.finish(&mut parts);
            }
        }
        parts
    }

    fn reason(&self, choice: usize, piece: &Piece) -> Value {
        let called = self.parsers.get(choice).is_some_and(AnswerParser::called);
        match piece.finish {
            Some(crate::answer::Finish::Stop) if called => json!("tool_calls"),
            Some(finish) => json!(reason(finish)),
            None => Value::Null,
        }
    }

    async fn whole(mut self, mut answers: Answers) -> Result<Response, ApiError> {
        let pieces = answers.whole().await?;
        let mut choices = Vec::with_capacity(pieces.len());
        for (index, mut piece) in pieces.into_iter().enumerate() {
            let logprobs = self.logprobs(&piece)?;
            piece.text.insert_str(0, &self.opening);
            let parts = self.parts(index, &piece);
            choices.push(json!({
                "index": index,
                "message": message(parts),
                "logprobs": logprobs,
                "finish_reason": self.reason(index, &piece),
            }));
        }
        let head = &self.head;
        Ok(Json(json!({
            "id": head.id, "object": "chat.completion", "created": head.created,
            "model": head.model, "system_fingerprint": null,
            "choices": choices, "usage": answers.usage(),
        }))
        .into_response())
    }

    fn chunk(&self, index: usize, delta: Value, logprobs: Value, reason: Value, out: &mut Vec<u8>) {
        let mut chunk = self.frame(json!([{
            "index": index, "delta": delta, "logprobs": logprobs, "finish_reason": reason,
        }]));
        if self.wants_usage {
            chunk["usage"] = Value::Null;
        }
        sse::data(out, &chunk);
    }

    fn frame(&self, choices: Value) -> Value {
        let head = &self.head;
        json!({
            "id": head.id, "object": "chat.completion.chunk", "created": head.created,
            "model": head.model, "system_fingerprint": null, "choices": choices,
        })
    }
}

impl Chunks for Chat {
    fn start(&mut self, out: &mut Vec<u8>) {
        for index in 0..self.parsers.len() {
            let delta = json!({ "role": "assistant", "content": "" });
            self.chunk(index, delta, Value::Null, Value::Null, out);
        }
        let opening = Piece {
            text: std::mem::take(&mut self.opening),
            ..Piece::default()
        };
        if !opening.text.is_empty() {
            for index in 0..self.parsers.len() {
                self.piece(index, &opening, out);
            }
        }
    }

    fn piece(&mut self, choice: usize, piece: &Piece, out: &mut Vec<u8>) {
        let mut logprobs = match self.logprobs(piece) {
            Ok(logprobs) => logprobs,
            Err(error) => return self.error(ApiError::from(error).body(), out),
        };
        for part in self.parts(choice, piece) {
            self.chunk(choice, delta(part), logprobs.take(), Value::Null, out);
        }
        let reason = self.reason(choice, piece);
        if !reason.is_null() || !logprobs.is_null() {
            self.chunk(choice, json!({}), logprobs, reason, out);
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

fn delta(part: Part) -> Value {
    match part {
        Part::Content(text) => json!({ "content": text }),
        Part::Reasoning(text) => json!({ "reasoning_content": text }),
        Part::Call { index, name } => json!({ "tool_calls": [{
            "index": index, "id": call_id(), "type": "function",
            "function": { "name": name, "arguments": "" },
        }]}),
        Part::Arguments { index, text } => json!({ "tool_calls": [{
            "index": index, "function": { "arguments": text },
        }]}),
    }
}

/// The whole message of an answer.
fn message(parts: Vec<Part>) -> Value {
    let (mut content, mut reasoning) = (String::new(), String::new());
    let mut calls: Vec<Value> = Vec::new();
    let mut arguments: Vec<String> = Vec::new();
    for part in parts {
        match part {
            Part::Content(text) => content.push_str(&text),
            Part::Reasoning(text) => reasoning.push_str(&text),
            Part::Call { name, .. } => {
                calls.push(json!({
                    "id": call_id(), "type": "function", "function": { "name": name },
                }));
                arguments.push(String::new());
            }
            Part::Arguments { index, text } => {
                if let Some(arguments) = arguments.get_mut(index) {
                    arguments.push_str(&text);
                }
            }
        }
    }
    for (call, arguments) in calls.iter_mut().zip(arguments) {
        call["function"]["arguments"] = json!(arguments);
    }
    let mut message = Map::new();
    message.insert("role".into(), json!("assistant"));
    let silent = content.is_empty() && !calls.is_empty();
    message.insert(
        "content".into(),
        if silent { Value::Null } else { json!(content) },
    );
    message.insert("refusal".into(), Value::Null);
    if !reasoning.is_empty() {
        message.insert("reasoning_content".into(), json!(reasoning));
    }
    if !calls.is_empty() {
        message.insert("tool_calls".into(), json!(calls));
    }
    Value::Object(message)
}

pub(super) fn call_id() -> String {
    format!("call_{}", super::random_id())
}
