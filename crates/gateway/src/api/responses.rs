//! `POST /v1/responses`, without state: every request brings its whole conversation.

mod items;

use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use self::items::Items;
use super::answers::{Answers, Chunks, bytes};
use super::chat::{Asked, Head};
use super::chat_request::ChatRequest;
use super::error::ApiError;
use super::{App, request, sse};
use crate::answer::{Finish, Piece};
use crate::parse::{AnswerParser, Part};

pub(super) async fn responses(
    State(app): State<Arc<App>>,
    body: Bytes,
) -> Result<Response, ApiError> {
    let asked: Value = request::parse(&body)?;
    let chat: ChatRequest = serde_json::from_value(as_chat(&asked)?)
        .map_err(|error| ApiError::new(StatusCode::BAD_REQUEST, format!("request: {error}")))?;
    let asked_for = Asked::of(&app, chat).await?;
    let answers = Answers::start(&app, &asked_for.model, vec![asked_for.question], 1).await?;
    let mut running = Running {
        head: Head::new("resp", &app),
        parser: asked_for.parsing.parser(),
        opening: asked_for.opening,
        items: Items::default(),
        incomplete: false,
        asked,
    };
    if asked_for.streams {
        return Ok(sse::response(bytes(answers, running)));
    }
    let mut answers = answers;
    let pieces = answers.whole().await?;
    let mut unheard = Vec::new();
    running.open(&mut unheard);
    for piece in &pieces {
        running.piece(0, piece, &mut unheard);
    }
    Ok(Json(running.response(usage(&answers.usage()))).into_response())
}

struct Running {
    head: Head,
    parser: AnswerParser,
    opening: String,
    items: Items,
    incomplete: bool,
    asked: Value,
}

impl Running {
    /// What the answer begins with, though the host does not write it.
    fn open(&mut self, out: &mut Vec<u8>) {
        let opening = std::mem::take(&mut self.opening);
        let mut parts = Vec::new();
        self.parser.push(&opening, &mut parts);
        self.take(parts, out);
    }

    fn take(&mut self, parts: Vec<Part>, out: &mut Vec<u8>) {
        for part in parts {
            self.items.take(part, out);
        }
    }

    fn response(&self, usage: Value) -> Value {
        let status = match (usage.is_null(), self.incomplete) {
            (true, _) => "in_progress",
            (false, true) => "incomplete",
            (false, false) => "completed",
        };
        let details = match status {
            "incomplete" => json!({ "reason": "max_output_tokens" }),
            _ => Value::Null,
        };
        let same = |field: &str, default: Value| match &self.asked[field] {
            Value::Null => default,
            value => value.clone(),
        };
        json!({
            "id": self.head.id, "object": "response", "created_at": self.head.created,
            "status": status, "error": null, "incomplete_details": details,
            "instructions": self.asked["instructions"], "model": self.head.model,
            "output": self.items.done(), "parallel_tool_calls": true,
            "previous_response_id": null, "store": false,
            "max_output_tokens": self.asked["max_output_tokens"],
            "temperature": same("temperature", json!(1.0)), "top_p": same("top_p", json!(1.0)),
            "tool_choice": same("tool_choice", json!("auto")), "tools": same("tools", json!([])),
            "text": same("text", json!({ "format": { "type": "text" } })),
            "truncation": "disabled", "metadata": same("metadata", json!({})), "usage": usage,
        })
    }

    fn event(&mut self, name: &str, response: Value, out: &mut Vec<u8>) {
        self.items.event(name, json!({ "response": response }), out);
    }
}

impl Chunks for Running {
    fn start(&mut self, out: &mut Vec<u8>) {
        for name in ["response.created", "response.in_progress"] {
            let response = self.response(Value::Null);
            self.event(name, response, out);
        }
        self.open(out);
    }

    fn piece(&mut self, _: usize, piece: &Piece, out: &mut Vec<u8>) {
        let mut parts = Vec::new();
        self.parser.push(&piece.text, &mut parts);
        if piece.finish.is_some() {
            self.parser.finish(&mut parts);
        }
        self.take(parts, out);
        if let Some(finish) = piece.finish {
            self.incomplete = finish == Finish::Length;
            self.items.close(out);
        }
    }

    fn end(&mut self, counts: Value, out: &mut Vec<u8>) {
        let name = match self.incomplete {
            true => "response.incomplete",
            false => "response.completed",
        };
        let response = self.response(usage(&counts));
        self.event(name, response, out);
    }

    fn error(&mut self, error: Value, out: &mut Vec<u8>) {
        let mut response = self.response(Value::Null);
        response["status"] = json!("failed");
        response["error"] = json!({
            "code": "server_error", "message": error["error"]["message"],
        });
        self.event("response.failed", response, out);
    }
}

/// Token counts under this API's names.
fn usage(counts: &Value) -> Value {
    json!({
        "input_tokens": counts["prompt_tokens"],
        "input_tokens_details": counts["prompt_tokens_details"],
        "output_tokens": counts["completion_tokens"],
        "output_tokens_details": { "reasoning_tokens": 0 },
        "total_tokens": counts["total_tokens"],
    })
}

/// The same request as one for a chat completion.
fn as_chat(asked: &Value) -> Result<Value, ApiError> {
    for field in ["previous_response_id", "conversation", "prompt"] {
        if !asked[field].is_null() {
            let message = "this gateway keeps no conversations; send the whole one as input";
            return Err(ApiError::field("previous_response_id", message));
        }
    }
    if asked["background"] == true {
        return Err(ApiError::field("background", "is not supported"));
    }
    let mut messages = Vec::new();
    if let Some(instructions) = asked["instructions"].as_str() {
        messages.push(json!({ "role": "system", "content": instructions }));
    }
    match &asked["input"] {
        Value::String(text) => messages.push(json!({ "role": "user", "content": text })),
        Value::Array(items) => {
            for item in items {
                items::message(item, &mut messages)?;
            }
        }
        _ => {
            return Err(ApiError::field(
                "input",
                "expected a text or a list of items",
            ));
        }
    }
    let mut chat = json!({ "messages": messages });
    for (here, there) in [
        ("stream", "stream"),
        ("max_output_tokens", "max_tokens"),
        ("temperature", "temperature"),
        ("top_p", "top_p"),
        ("chat_template_kwargs", "chat_template_kwargs"),
    ] {
        if !asked[here].is_null() {
            chat[there] = asked[here].clone();
        }
    }
    if let Value::Array(tools) = &asked["tools"] {
        let tools = tools.iter().map(|tool| match tool["type"].as_str() {
            Some("function") => Ok(json!({ "type": "function", "function": {
                "name": tool["name"], "description": tool["description"],
                "parameters": tool["parameters"],
            }})),
            _ => Err(ApiError::field("tools", "only functions are supported")),
        });
        chat["tools"] = json!(tools.collect::<Result<Vec<_>, _>>()?);
    }
    match &asked["tool_choice"] {
        Value::Null => {}
        Value::Object(choice) => {
            chat["tool_choice"] = json!({
                "type": "function", "function": { "name": choice.get("name") },
            });
        }
        choice => chat["tool_choice"] = choice.clone(),
    }
    match asked["text"]["format"]["type"].as_str() {
        None => {}
        Some("json_schema") => {
            let format = &asked["text"]["format"];
            chat["response_format"] = json!({
                "type": "json_schema", "json_schema": { "schema": format["schema"] },
            });
        }
        Some(kind) => chat["response_format"] = json!({ "type": kind }),
    }
    Ok(chat)
}
