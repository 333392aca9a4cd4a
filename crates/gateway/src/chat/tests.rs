use super::*;
use crate::fixture::{golden, write};

fn messages(value: &Value) -> Vec<Message> {
    serde_json::from_value(value.clone()).unwrap()
}

fn open(template: &str, config: &Value) -> Result<ChatTemplate, Error> {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("chat_template.jinja"), template).unwrap();
    write(dir.path(), "tokenizer_config.json", config);
    ChatTemplate::open(dir.path())
}

#[test]
fn smollm2_conversations_read_as_transformers_writes_them() {
    let golden = golden("../../tests/golden/smollm2_chat.json");
    let template = open(golden["template"].as_str().unwrap(), &json!({})).unwrap();
    for case in golden["cases"].as_array().unwrap() {
        let text = template.render(&messages(&case["messages"]), true).unwrap();
        assert_eq!(text, case["text"].as_str().unwrap());
        let without = template
            .render(&messages(&case["messages"]), false)
            .unwrap();
        assert_eq!(format!("{without}<|im_start|>assistant\n"), text);
    }
}

#[test]
fn templates_render_as_in_jinja2() {
    let golden = golden("testdata/chat_templates.json");
    let messages = messages(&golden["messages"]);
    for case in golden["cases"].as_array().unwrap() {
        let template = case["template"].as_str().unwrap();
        let rendered = open(template, &golden["special_tokens"])
            .unwrap()
            .render(&messages, true);
        match (rendered, case["text"].as_str()) {
            (Ok(rendered), Some(text)) => assert_eq!(rendered, text, "{}", case["name"]),
            (Err(error), None) => {
                let expected = case["error"].as_str().unwrap();
                assert!(error.to_string().contains(expected), "{error}");
            }
            (Ok(rendered), None) => panic!("{}: {rendered}", case["name"]),
            (Err(error), Some(_)) => panic!("{}: {error}", case["name"]),
        }
    }
}

#[test]
fn every_place_of_a_template_is_found() {
    let user = [Message {
        role: "user".into(),
        content: "hi".into(),
    }];
    let render = |config: Value, file: Option<&str>| {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), "tokenizer_config.json", &config);
        if let Some(file) = file {
            std::fs::write(dir.path().join("chat_template.jinja"), file).unwrap();
        }
        ChatTemplate::open(dir.path())?.render(&user, true)
    };
    let text = json!({"chat_template": "A{{ eos_token }}", "eos_token": {"content": "<e>"}});
    assert_eq!(render(text.clone(), None).unwrap(), "A<e>");
    assert_eq!(render(text, Some("B{{ eos_token }}")).unwrap(), "B<e>");
    let list = json!({"chat_template": [
        {"name": "tool_use", "template": "T"}, {"name": "default", "template": "D"}]});
    assert_eq!(render(list, None).unwrap(), "D");
    for none in [
        json!({}),
        json!({"chat_template": null}),
        json!({"chat_template": 3}),
        json!({"chat_template": [{"name": "rag", "template": "R"}]}),
    ] {
        let message = render(none, None).unwrap_err().to_string();
        assert!(message.contains("chat_template"), "{message}");
    }
}

#[test]
fn failures_name_the_line_and_quote_no_message() {
    let syntax = open("a\n{% if %}", &json!({})).err().unwrap().to_string();
    assert!(syntax.contains("line 2"), "{syntax}");
    for template in [
        "\n{{ messages[0].content | int }}",
        "\n{{ messages[0].content + 1 }}",
        "\n{{ messages[0].content | nofilter }}",
        "\n{{ messages[0].content.nomethod() }}",
        "\n{{ messages[9].content.x }}",
    ] {
        let secret = [Message {
            role: "user".into(),
            content: "hunter2".into(),
        }];
        let message = match open(template, &json!({})) {
            Ok(template) => template.render(&secret, true).unwrap_err().to_string(),
            Err(error) => error.to_string(),
        };
        assert!(
            message.contains("line 2") && !message.contains("hunter2"),
            "{message}"
        );
    }
}

#[test]
fn generation_tags_become_plain_blocks() {
    for (source, expected) in [
        (
            "{% generation %}a{% endgeneration %}",
            "{% if true %}a{% endif %}",
        ),
        (
            "{%- generation -%}a{%+endgeneration-%}",
            "{%- if true -%}a{%+ endif -%}",
        ),
        (
            "{% if generation %}{{ '{%' }}",
            "{% if generation %}{{ '{%' }}",
        ),
        ("{%", "{%"),
        ("{%é%}{% generation", "{%é%}{% generation"),
    ] {
        assert_eq!(without_generation_tags(source), expected);
    }
}
