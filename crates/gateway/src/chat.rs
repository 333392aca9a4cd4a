use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use equicrypt_checkpoint::read_json;
use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Kwargs, Serde, Value as JinjaValue};
use minijinja::{Environment, ErrorKind};
use minijinja_contrib::pycompat::unknown_method_callback;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::Error;
use crate::clock::strftime;
use crate::json::{Style, dumps};

/// One message of a conversation. It has no Debug: conversations do not belong in logs.
#[derive(Clone, Serialize, Deserialize)]
pub struct Message {
    /// `system`, `user`, `assistant`, or another that the template knows.
    pub role: String,
    /// The text.
    pub content: String,
}

/// A conversation as a template sees it.
#[derive(Default)]
pub struct Conversation {
    /// OpenAI's messages, of which templates read `role`, `content`, `tool_calls` and others.
    pub messages: Vec<Value>,
    /// What the model may call: OpenAI's list of tools.
    pub tools: Option<Value>,
    /// Further variables of the template, such as `enable_thinking`.
    pub variables: Map<String, Value>,
}

/// The model's chat template, a Jinja program that turns messages into the text that the model was
/// trained on. It sees what transformers' `apply_chat_template` shows it; `strftime_now` is in UTC.
pub struct ChatTemplate {
    environment: Environment<'static>,
    special_tokens: Map<String, Value>,
    source: String,
}

impl ChatTemplate {
    /// Reads the folder's `chat_template.jinja`, or else `chat_template` of
    /// `tokenizer_config.json`: a text, or a list of named texts, of which the one named `default`
    /// is taken.
    pub fn open(dir: &Path) -> Result<Self, Error> {
        Self::find(dir)?.ok_or_else(|| Error::NoTemplate {
            dir: dir.to_owned(),
        })
    }

    /// As [`ChatTemplate::open`], with `None` if the folder has no template.
    pub(crate) fn find(dir: &Path) -> Result<Option<Self>, Error> {
        let config_path = dir.join("tokenizer_config.json");
        let config = if config_path.exists() {
            read_json(&config_path)?
        } else {
            json!({})
        };
        let path = dir.join("chat_template.jinja");
        let (path, source) = match std::fs::read_to_string(&path) {
            Ok(source) => (path, source),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                match template_of(&config, &config_path)? {
                    Some(source) => (config_path, source),
                    None => return Ok(None),
                }
            }
            Err(source) => return Err(Error::File { path, source }),
        };
        let special_tokens = SPECIAL_TOKENS
            .iter()
            .filter_map(|name| {
                let value = config.get(name)?;
                let text = value.as_str().or_else(|| value.get("content")?.as_str())?;
                Some(((*name).to_owned(), json!(text)))
            })
            .collect();
        Self::compile(path, &source, special_tokens).map(Some)
    }

    /// The conversation as text; with `add_generation_prompt`, it ends where the assistant's answer
    /// begins.
    pub fn render(
        &self,
        messages: &[Message],
        add_generation_prompt: bool,
    ) -> Result<String, Error> {
        let messages = messages.iter().map(|message| json!(message)).collect();
        let conversation = Conversation {
            messages,
            tools: None,
            variables: Map::new(),
        };
        self.render_conversation(&conversation, add_generation_prompt)
    }

    /// As [`ChatTemplate::render`], with everything that OpenAI's messages may have.
    pub fn render_conversation(
        &self,
        conversation: &Conversation,
        add_generation_prompt: bool,
    ) -> Result<String, Error> {
        let mut variables = self.special_tokens.clone();
        let tools = conversation.tools.clone();
        variables.insert("tools".into(), tools.unwrap_or_default());
        variables.insert("documents".into(), Value::Null);
        variables.extend(conversation.variables.clone());
        let messages = &conversation.messages;
        variables.insert("messages".into(), json!(messages));
        variables.insert("add_generation_prompt".into(), json!(add_generation_prompt));
        self.environment
            .get_template(NAME)
            .and_then(|template| template.render(Serde(variables)))
            .map_err(|error| Error::Template {
                line: error.line().unwrap_or(0),
                reason: reason(&error),
                messages: messages.len(),
            })
    }

    fn compile(
        path: PathBuf,
        source: &str,
        special_tokens: Map<String, Value>,
    ) -> Result<Self, Error> {
        let syntax_error = |error: minijinja::Error| Error::TemplateSyntax {
            path: path.clone(),
            line: error.line().unwrap_or(0),
            reason: error.detail().unwrap_or("syntax error").to_owned(),
        };
        let mut environment = Environment::new();
        let syntax = SyntaxConfig::builder()
            .trim_blocks(true)
            .lstrip_blocks(true)
            .build();
        environment.set_syntax(syntax.map_err(syntax_error)?);
        environment.set_unknown_method_callback(unknown_method_callback);
        environment.add_function("raise_exception", raise_exception);
        environment.add_function("strftime_now", strftime_now);
        environment.add_filter("tojson", tojson);
        environment
            .add_template_owned(NAME, without_generation_tags(source))
            .map_err(syntax_error)?;
        Ok(Self {
            environment,
            special_tokens,
            source: source.to_owned(),
        })
    }

    /// The program.
    #[must_use]
    pub fn source(&self) -> &str {
        &self.source
    }
}

/// `chat_template` of `tokenizer_config.json`.
fn template_of(config: &Value, path: &Path) -> Result<Option<String>, Error> {
    let wrong = |found: &str| Error::Field {
        path: path.to_owned(),
        field: "chat_template".into(),
        expected: "a text, or a list of {\"name\", \"template\"} with one named \"default\"",
        found: found.into(),
    };
    match config.get("chat_template") {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(source)) => Ok(Some(source.clone())),
        Some(Value::Array(list)) => {
            let default = list
                .iter()
                .find(|entry| entry.get("name").and_then(Value::as_str) == Some("default"))
                .ok_or_else(|| wrong("a list without \"default\""))?;
            let source = default.get("template").and_then(Value::as_str);
            source
                .map(|source| Some(source.to_owned()))
                .ok_or_else(|| wrong("\"default\" without a \"template\" text"))
        }
        Some(_) => Err(wrong("something else")),
    }
}

/// transformers marks the assistant's tokens with `{% generation %}` ... `{% endgeneration %}`,
/// which render what is between them. Jinja engines do not know these tags; `{% if true %}` ... `{%
/// endif %}` renders the same.
fn without_generation_tags(source: &str) -> String {
    let mut out = String::with_capacity(source.len());
    let mut rest = source;
    while let Some((before, tag)) = rest.split_once("{%") {
        out.push_str(before);
        out.push_str("{%");
        rest = tag;
        let Some((inside, after)) = tag.split_once("%}") else {
            break;
        };
        let statement = match inside.trim_matches(['-', '+', ' ', '\t', '\r', '\n']) {
            "generation" => "if true",
            "endgeneration" => "endif",
            _ => continue,
        };
        let opening = inside.get(..1).filter(|sign| matches!(*sign, "-" | "+"));
        let closing = if inside.ends_with('-') { "-" } else { "" };
        out.push_str(opening.unwrap_or_default());
        out.push_str(&format!(" {statement} {closing}%}}"));
        rest = after;
    }
    out.push_str(rest);
    out
}

/// The template's own words if it refused the messages; otherwise the kind of failure, and what the
/// template names but this engine lacks. Other details could quote a message.
fn reason(error: &minijinja::Error) -> String {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(current) = cause {
        if let Some(Raised(message)) = current.downcast_ref() {
            return message.clone();
        }
        cause = current.source();
    }
    match (error.kind(), error.detail()) {
        (
            ErrorKind::UnknownFilter
            | ErrorKind::UnknownFunction
            | ErrorKind::UnknownMethod
            | ErrorKind::UnknownTest,
            Some(detail),
        ) => detail.to_owned(),
        (kind, _) => kind.to_string(),
    }
}

/// What a template says by `raise_exception`.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Raised(String);

fn raise_exception(message: String) -> Result<JinjaValue, minijinja::Error> {
    let error = minijinja::Error::new(ErrorKind::InvalidOperation, "raised by the template");
    Err(error.with_source(Raised(message)))
}

fn strftime_now(format: String) -> String {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    let seconds = since.map_or(0, |since| i64::try_from(since.as_secs()).unwrap_or(0));
    strftime(seconds, &format)
}

/// transformers' filter: `json.dumps` with `ensure_ascii=False`, and no HTML escapes.
fn tojson(value: JinjaValue, arguments: Kwargs) -> Result<JinjaValue, minijinja::Error> {
    let invalid = |what| minijinja::Error::new(ErrorKind::InvalidOperation, what);
    let value = serde_json::to_value(&value).map_err(|_| invalid("tojson: not JSON"))?;
    let style = Style {
        separators: match arguments.get::<Option<Vec<String>>>("separators")? {
            None => None,
            Some(pair) => match <[String; 2]>::try_from(pair) {
                Ok([item, key]) => Some((item, key)),
                Err(_) => return Err(invalid("tojson: separators are two texts")),
            },
        },
        indent: arguments.get::<Option<usize>>("indent")?,
        ascii: arguments
            .get::<Option<bool>>("ensure_ascii")?
            .unwrap_or(false),
        sorted: arguments.get::<Option<bool>>("sort_keys")?.unwrap_or(false),
    };
    arguments.assert_all_used()?;
    Ok(JinjaValue::from(dumps(&value, &style)))
}

const NAME: &str = "chat";

/// The special tokens that transformers gives to a template.
const SPECIAL_TOKENS: [&str; 7] = [
    "bos_token",
    "eos_token",
    "unk_token",
    "sep_token",
    "pad_token",
    "cls_token",
    "mask_token",
];

#[cfg(test)]
mod tests;
