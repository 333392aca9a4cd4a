//! `tool_choice: "required"`: the answer begins as a call does, and goes on as one of the tools.

use serde_json::{Value, json};

use crate::ToolFormat;
use crate::answer::Form;

/// What an answer begins with so that it is a call, of the tool if one is named, and what its rest
/// must be: an object with the name of a tool and arguments that its schema allows, where the format
/// writes calls so.
pub(super) fn call(
    format: &ToolFormat,
    tools: &[Value],
    named: Option<&str>,
) -> (String, Option<Form>) {
    let functions = tools.iter().map(|tool| &tool["function"]);
    let functions = functions.filter(|function| named.is_none_or(|name| function["name"] == name));
    let functions: Vec<&Value> = functions.collect();
    let [before, behind] = format.around_name();
    if let (Some(object), Some(key)) = (before.rfind('{'), key(behind)) {
        let calls = functions.iter().map(|function| {
            json!({
                "type": "object",
                "properties": { "name": { "const": function["name"] }, key: arguments(function) },
                "required": ["name", key], "additionalProperties": false,
            })
        });
        let schema = match calls.collect::<Vec<_>>() {
            calls if calls.len() == 1 => calls.into_iter().next().unwrap_or_default(),
            calls => json!({ "anyOf": calls }),
        };
        return (before[..object].to_owned(), Some(Form::Call(schema)));
    }
    match functions.as_slice() {
        [only] => {
            let form = format.opens_json().then(|| Form::Call(arguments(only)));
            (format.opening(only["name"].as_str()), form)
        }
        _ => (format.opening(None), None),
    }
}

/// What the arguments are called, in `", "arguments":`.
fn key(behind: &str) -> Option<&str> {
    behind.split('"').find(|part| part.ends_with("s"))
}

fn arguments(function: &Value) -> Value {
    match &function["parameters"] {
        parameters @ Value::Object(fields) if !fields.is_empty() => parameters.clone(),
        _ => json!({ "type": "object" }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tools(names: &[&str]) -> Vec<Value> {
        let tool = |name: &&str| {
            json!({ "type": "function", "function": { "name": name,
                "parameters": { "type": "object", "properties": { "city": { "type": "string" } } } } })
        };
        names.iter().map(tool).collect()
    }

    fn schema(form: Option<Form>) -> Value {
        match form {
            Some(Form::Call(schema)) => schema,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn objects_are_asked_for_whole() {
        let two = tools(&["a", "b"]);
        let hermes = ToolFormat::named("hermes").unwrap();
        let (opening, form) = call(hermes, &two, None);
        assert_eq!(opening, "<tool_call>\n");
        let schema_of_two = schema(form);
        assert_eq!(
            schema_of_two["anyOf"][1]["properties"]["name"],
            json!({ "const": "b" })
        );
        let (_, form) = call(hermes, &two, Some("b"));
        assert_eq!(schema(form), schema_of_two["anyOf"][1]);
        let llama = ToolFormat::named("llama3").unwrap();
        let (opening, form) = call(llama, &two, Some("a"));
        assert_eq!(opening, "");
        assert_eq!(schema(form)["required"], json!(["name", "parameters"]));
    }

    #[test]
    fn other_formats_begin_with_the_name() {
        let (one, two) = (tools(&["a"]), tools(&["a", "b"]));
        let mistral = ToolFormat::named("mistral-args").unwrap();
        let (opening, form) = call(mistral, &one, None);
        assert_eq!(opening, "[TOOL_CALLS]a[ARGS]");
        assert_eq!(schema(form), one[0]["function"]["parameters"]);
        let (opening, form) = call(mistral, &two, None);
        assert_eq!((opening.as_str(), form.is_none()), ("[TOOL_CALLS]", true));
        let xml = ToolFormat::named("qwen3-coder").unwrap();
        let (opening, form) = call(xml, &two, Some("b"));
        assert_eq!(
            (opening.as_str(), form.is_none()),
            ("<tool_call>\n<function=b>\n", true)
        );
    }
}
