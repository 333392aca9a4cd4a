use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::error::ApiError;
use super::request::Common;
use crate::Conversation;
use crate::answer::Form;

/// The body of `POST /v1/chat/completions`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct ChatRequest {
    pub(crate) messages: Vec<Value>,
    pub(crate) tools: Option<Vec<Value>>,
    tool_choice: Option<Value>,
    response_format: Option<Value>,
    logprobs: Option<bool>,
    top_logprobs: Option<usize>,
    chat_template_kwargs: Option<Map<String, Value>>,
    functions: Option<Value>,
    audio: Option<Value>,
    modalities: Option<Vec<String>>,
    #[serde(flatten)]
    pub(crate) common: Common,
}

/// Whether the model may call tools.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ToolChoice {
    /// There are none, or it must not.
    None,
    /// As it likes.
    Auto,
    /// It must; the tool's name, if only one will do.
    Required(Option<String>),
}

impl ChatRequest {
    /// Fails on what cannot be honoured and must not be passed over.
    pub(crate) fn check(&self) -> Result<(), ApiError> {
        if self.messages.is_empty() {
            return Err(ApiError::field(
                "messages",
                "expected one or more, found none",
            ));
        }
        if self.functions.is_some() {
            return Err(ApiError::field("functions", "is not supported; use tools"));
        }
        let speaks = self.modalities.iter().flatten().any(|kind| kind != "text");
        if self.audio.is_some() || speaks {
            return Err(ApiError::field("modalities", "only text is supported"));
        }
        Ok(())
    }

    /// Log-probabilities, if asked for: of so many of the likeliest ids besides the chosen one.
    pub(crate) fn logprobs(&self) -> Result<Option<usize>, ApiError> {
        match (self.logprobs.unwrap_or(false), self.top_logprobs) {
            (true, top) if top.unwrap_or(0) <= MOST_TOP => Ok(Some(top.unwrap_or(0))),
            (false, None | Some(0)) => Ok(None),
            (false, Some(_)) => Err(ApiError::field("top_logprobs", "needs logprobs: true")),
            (true, _) => Err(ApiError::field("top_logprobs", "expected 0 to 20")),
        }
    }

    pub(crate) fn form(&self) -> Result<Option<Form>, ApiError> {
        let Some(format) = &self.response_format else {
            return Ok(None);
        };
        let wrong = || {
            ApiError::field(
                "response_format",
                "expected {\"type\": \"text\"}, {\"type\": \"json_object\"} or {\"type\": \
                 \"json_schema\", \"json_schema\": {\"schema\": ...}}",
            )
        };
        match format["type"].as_str() {
            Some("text") => Ok(None),
            Some("json_object") => Ok(Some(Form::JsonObject)),
            Some("json_schema") => match &format["json_schema"]["schema"] {
                schema @ Value::Object(_) => Ok(Some(Form::JsonSchema(schema.clone()))),
                _ => Err(wrong()),
            },
            _ => Err(wrong()),
        }
    }

    pub(crate) fn tool_choice(&self) -> Result<ToolChoice, ApiError> {
        let names = self.tool_names()?;
        if names.is_empty() {
            return match &self.tool_choice {
                None | Some(Value::Null) => Ok(ToolChoice::None),
                Some(Value::String(choice)) if choice != "required" => Ok(ToolChoice::None),
                Some(_) => Err(ApiError::field("tool_choice", "needs tools")),
            };
        }
        let wrong = || {
            ApiError::field(
                "tool_choice",
                "expected \"none\", \"auto\", \"required\" or {\"type\": \"function\", \
                 \"function\": {\"name\": one of tools}}",
            )
        };
        match &self.tool_choice {
            None | Some(Value::Null) => Ok(ToolChoice::Auto),
            Some(Value::String(choice)) => match choice.as_str() {
                "none" => Ok(ToolChoice::None),
                "auto" => Ok(ToolChoice::Auto),
                "required" => Ok(ToolChoice::Required(None)),
                _ => Err(wrong()),
            },
            Some(choice) => {
                let name = choice["function"]["name"].as_str().ok_or_else(wrong)?;
                match names.iter().any(|known| known == name) {
                    true => Ok(ToolChoice::Required(Some(name.to_owned()))),
                    false => Err(wrong()),
                }
            }
        }
    }

    /// The names of the tools.
    pub(crate) fn tool_names(&self) -> Result<Vec<String>, ApiError> {
        let tools = self.tools.iter().flatten();
        let names = tools.map(|tool| match &tool["function"]["name"] {
            Value::String(name) if tool["type"] == "function" => Ok(name.clone()),
            _ => Err(ApiError::field(
                "tools",
                "expected {\"type\": \"function\", \"function\": {\"name\": ...}}",
            )),
        });
        names.collect()
    }

    /// The messages as templates take them. With `template_has_tools` false, the tools are described
    /// in the system message.
    pub(crate) fn conversation(
        &mut self,
        tools: bool,
        template_has_tools: bool,
    ) -> Result<Conversation, ApiError> {
        let messages = std::mem::take(&mut self.messages);
        let mut messages: Vec<Value> = messages
            .into_iter()
            .map(message)
            .collect::<Result<_, _>>()?;
        let tools = self.tools.take().filter(|list| tools && !list.is_empty());
        let tools = match tools {
            Some(list) if !template_has_tools => {
                describe(&mut messages, &list);
                None
            }
            tools => tools.map(Value::Array),
        };
        Ok(Conversation {
            messages,
            tools,
            variables: self.chat_template_kwargs.take().unwrap_or_default(),
        })
    }
}

/// A message with its content as one text, and with the arguments of tool calls as objects, which is
/// what templates expect.
fn message(mut message: Value) -> Result<Value, ApiError> {
    let role = message["role"].as_str().map(str::to_owned);
    let Some(role) = role else {
        let found = "expected objects with a role and a content";
        return Err(ApiError::field("messages", found));
    };
    // The newer name of the same thing; no open model's template knows it.
    if role == "developer" {
        message["role"] = json!("system");
    }
    let content = match message.get("content") {
        Some(Value::Array(parts)) => Some(json!(text_of(parts)?)),
        None | Some(Value::Null) => Some(json!("")),
        Some(Value::String(_)) => None,
        Some(_) => {
            let found = "expected a content that is a text or a list of parts";
            return Err(ApiError::field("messages", found));
        }
    };
    if let Some(content) = content {
        message["content"] = content;
    }
    if let Some(Value::Array(calls)) = message.get_mut("tool_calls") {
        for call in calls {
            let arguments = call.pointer_mut("/function/arguments");
            if let Some(arguments) = arguments
                && let Some(object) = arguments
                    .as_str()
                    .and_then(|text| serde_json::from_str(text).ok())
            {
                *arguments = object;
            }
        }
    }
    Ok(message)
}

fn text_of(parts: &[Value]) -> Result<String, ApiError> {
    let texts = parts.iter().map(|part| match part["text"].as_str() {
        Some(text)
            if part["type"]
                .as_str()
                .is_none_or(|kind| kind.ends_with("text")) =>
        {
            Ok(text)
        }
        _ => Err(ApiError::field("messages", "only text parts are supported")),
    });
    texts.collect()
}

/// For templates that know no tools: what Hermes models were trained on (NousResearch, Hermes 2 Pro),
/// in our words.
fn describe(messages: &mut Vec<Value>, tools: &[Value]) {
    let list: Vec<String> = tools.iter().map(Value::to_string).collect();
    let text = format!(
        "You can call these functions; their descriptions are JSON:\n<tools>\n{}\n</tools>\nTo call \
         one, write a JSON object with its name and its arguments, between these marks:\n\
         <tool_call>\n{{\"name\": NAME, \"arguments\": ARGUMENTS}}\n</tool_call>",
        list.join("\n")
    );
    match messages
        .first_mut()
        .filter(|first| first["role"] == "system")
    {
        Some(system) => {
            let before = system["content"].as_str().unwrap_or_default();
            system["content"] = json!(format!("{before}\n\n{text}"));
        }
        None => messages.insert(0, json!({ "role": "system", "content": text })),
    }
}

const MOST_TOP: usize = 20;
