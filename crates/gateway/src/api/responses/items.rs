use serde_json::{Map, Value, json};

use super::super::error::ApiError;
use super::super::{random_id, sse};
use crate::parse::Part;

/// The items of a response, as they come, and the events that tell of them.
#[derive(Default)]
pub(super) struct Items {
    done: Vec<Value>,
    open: Option<Open>,
    events: u64,
}

/// The item that goes on.
struct Open {
    kind: Kind,
    id: String,
    call_id: String,
    name: String,
    text: String,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Message,
    Reasoning,
    Call,
}

impl Items {
    pub(super) fn done(&self) -> &[Value] {
        &self.done
    }

    pub(super) fn take(&mut self, part: Part, out: &mut Vec<u8>) {
        match part {
            Part::Content(text) => self.add(Kind::Message, &text, out),
            Part::Reasoning(text) => self.add(Kind::Reasoning, &text, out),
            Part::Call { name, .. } => {
                self.close(out);
                self.start(Kind::Call, name, out);
            }
            Part::Arguments { text, .. } => self.add(Kind::Call, &text, out),
        }
    }

    /// The open item is complete.
    pub(super) fn close(&mut self, out: &mut Vec<u8>) {
        let Some(open) = self.open.take() else {
            return;
        };
        let place = self.place(&open);
        let with = |more: Value| merged(&place, more);
        match open.kind {
            Kind::Message => {
                self.event(
                    "response.output_text.done",
                    with(json!({ "text": open.text })),
                    out,
                );
                let part = json!({ "part": open.part() });
                self.event("response.content_part.done", with(part), out);
            }
            Kind::Reasoning => {
                self.event(
                    "response.reasoning_text.done",
                    with(json!({ "text": open.text })),
                    out,
                );
            }
            Kind::Call => {
                let arguments = json!({ "arguments": open.text, "name": open.name });
                self.event(
                    "response.function_call_arguments.done",
                    with(arguments),
                    out,
                );
            }
        }
        let item = open.item("completed");
        let event = json!({ "output_index": self.done.len(), "item": item });
        self.event("response.output_item.done", event, out);
        self.done.push(item);
    }

    /// An event; each has its number.
    pub(super) fn event(&mut self, name: &str, mut event: Value, out: &mut Vec<u8>) {
        event["type"] = json!(name);
        event["sequence_number"] = json!(self.events);
        self.events += 1;
        sse::named(out, name, &event);
    }

    fn add(&mut self, kind: Kind, text: &str, out: &mut Vec<u8>) {
        if self.open.as_ref().is_none_or(|open| open.kind != kind) {
            self.close(out);
            self.start(kind, String::new(), out);
        }
        let Some(open) = &mut self.open else { return };
        open.text.push_str(text);
        let Some(open) = &self.open else { return };
        let event = merged(&self.place(open), json!({ "delta": text, "logprobs": [] }));
        let name = match kind {
            Kind::Message => "response.output_text.delta",
            Kind::Reasoning => "response.reasoning_text.delta",
            Kind::Call => "response.function_call_arguments.delta",
        };
        self.event(name, event, out);
    }

    fn start(&mut self, kind: Kind, name: String, out: &mut Vec<u8>) {
        let prefix = match kind {
            Kind::Message => "msg",
            Kind::Reasoning => "rs",
            Kind::Call => "fc",
        };
        let open = Open {
            kind,
            id: format!("{prefix}_{}", random_id()),
            call_id: format!("call_{}", random_id()),
            name,
            text: String::new(),
        };
        let item = open.item("in_progress");
        let event = json!({ "output_index": self.done.len(), "item": item });
        self.event("response.output_item.added", event, out);
        if kind == Kind::Message {
            let part = merged(&self.place(&open), json!({ "part": open.part() }));
            self.event("response.content_part.added", part, out);
        }
        self.open = Some(open);
    }

    fn place(&self, open: &Open) -> Value {
        json!({ "item_id": open.id, "output_index": self.done.len(), "content_index": 0 })
    }
}

impl Open {
    fn part(&self) -> Value {
        json!({ "type": "output_text", "text": self.text, "annotations": [], "logprobs": [] })
    }

    fn item(&self, status: &str) -> Value {
        let running = status == "in_progress";
        match self.kind {
            Kind::Message => json!({
                "type": "message", "id": self.id, "status": status, "role": "assistant",
                "content": if running { json!([]) } else { json!([self.part()]) },
            }),
            Kind::Reasoning => json!({
                "type": "reasoning", "id": self.id, "summary": [],
                "content": [{ "type": "reasoning_text", "text": self.text }],
            }),
            Kind::Call => json!({
                "type": "function_call", "id": self.id, "call_id": self.call_id,
                "name": self.name, "arguments": self.text, "status": status,
            }),
        }
    }
}

fn merged(place: &Value, more: Value) -> Value {
    let mut event = place.as_object().cloned().unwrap_or_default();
    event.extend(more.as_object().cloned().unwrap_or_else(Map::new));
    Value::Object(event)
}

/// An item of a request as messages of a chat.
pub(super) fn message(item: &Value, messages: &mut Vec<Value>) -> Result<(), ApiError> {
    let wrong = || {
        ApiError::field(
            "input",
            "expected messages, function calls and their outputs",
        )
    };
    match item["type"].as_str() {
        None | Some("message") => match &item["role"] {
            role @ Value::String(_) => {
                messages.push(json!({ "role": role, "content": item["content"] }));
            }
            _ => return Err(wrong()),
        },
        Some("function_call") => {
            let call = json!({
                "id": item["call_id"], "type": "function",
                "function": { "name": item["name"], "arguments": item["arguments"] },
            });
            let last = messages
                .last_mut()
                .filter(|last| last["tool_calls"].is_array());
            match last.and_then(|last| last["tool_calls"].as_array_mut()) {
                Some(calls) => calls.push(call),
                None => messages.push(json!({
                    "role": "assistant", "content": "", "tool_calls": [call],
                })),
            }
        }
        Some("function_call_output") => messages.push(json!({
            "role": "tool", "tool_call_id": item["call_id"], "content": item["output"],
        })),
        // Templates leave out the thoughts of earlier turns.
        Some("reasoning") => {}
        Some(_) => return Err(wrong()),
    }
    Ok(())
}
