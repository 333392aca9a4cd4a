//! What each family's answers look like, as their chat templates write them.

use super::{parser, parts, read, short, think};
use crate::parse::{AnswerParser, Part, REASONING_FORMATS, ToolFormat};

const CALL: &str = "get_weather({\"city\": \"Oslo\"})";

#[test]
fn hermes() {
    let call = "<tool_call>\n{\"name\": \"get_weather\", \"arguments\": {\"city\": \"Oslo\"}}\n</tool_call>";
    assert_eq!(read("hermes", call), [CALL]);
    assert_eq!(read("hermes", &format!("\n{call}\n{call}\n")), [CALL, CALL]);
    assert_eq!(
        read("hermes", &format!("I look. 😀\n{call}\nSo <b>.")),
        ["I look. 😀\n", CALL, "\nSo <b>."]
    );
    assert_eq!(
        read(
            "hermes",
            &format!("<think>\nHm, <tool_call>?\n</think>\n\n{call}")
        ),
        ["~Hm, <tool_call>?\n", CALL]
    );
    assert_eq!(
        read(
            "hermes",
            "<tool_call>{ \"arguments\" : {\"a\":[1,{}]} ,\"id\":7, \"name\":\"un\\u006bnown\"}</tool_call>"
        ),
        ["unknown({\"a\":[1,{}]})"]
    );
}

#[test]
fn lists_in_a_tool_call() {
    let object = "{\"name\": \"get_weather\", \"arguments\": {\"city\": \"Oslo\"}}";
    let list = format!("<tool_call>\n[{object}, {object}]\n</tool_call>\n");
    assert_eq!(read("hermes", &list), [CALL, CALL]);
}

#[test]
fn arguments_in_other_forms() {
    for (written, arguments) in [
        (
            "\"arguments\": \"{\\\"a\\\": \\\"\\\\n\\\"}\"",
            "{\"a\": \"\\n\"}",
        ),
        ("\"arguments\": null", "{}"),
        ("\"arguments\": \" \"", "{}"),
        ("\"arguments\": {}", "{}"),
        ("\"parameters\": {\"b\": 1.5e3}", "{\"b\": 1.5e3}"),
        ("\"id\": 5", "{}"),
        ("\"id\": [\"}\", null]", "{}"),
    ] {
        let name = "\"name\": \"f\"";
        for object in [
            format!("{{{name}, {written}}}"),
            format!("{{{written}, {name}}}"),
        ] {
            assert_eq!(
                read("hermes", &format!("<tool_call>{object}</tool_call>")),
                [format!("f({arguments})")],
                "{object}"
            );
        }
    }
    assert_eq!(read("hermes", "<tool_call>{\"name\": \"f\"}"), ["f({})"]);
}

#[test]
fn qwen3_coder() {
    let call = "<tool_call>\n<function=get_weather>\n<parameter=city>\nOslo\n</parameter>\n</function>\n</tool_call>";
    for format in ["qwen3-coder", "hermes"] {
        assert_eq!(read(format, call), [CALL]);
    }
    assert_eq!(
        read("qwen3-coder", &format!("Well.\n{call}\n{call}")),
        ["Well.\n", CALL, CALL]
    );
    assert_eq!(
        read(
            "qwen3-coder",
            "<function=f>\n<parameter=code>\nif a < b:\n\n  print(\"</p>\")\n\n</parameter>\n\
             <parameter=n>\n3\n</parameter><parameter=all>True</parameter></function></tool_call>"
        ),
        ["f({\"code\": \"if a < b:\\n\\n  print(\\\"</p>\\\")\\n\", \"n\": 3, \"all\": true})"]
    );
    assert_eq!(
        read(
            "qwen3-coder",
            "<tool_call><function=f>\n</function></tool_call>"
        ),
        ["f({})"]
    );
}

#[test]
fn llama3() {
    let call = "{\"name\": \"get_weather\", \"parameters\": {\"city\": \"Oslo\"}}";
    assert_eq!(read("llama3", call), [CALL]);
    assert_eq!(read("llama3", &format!("<|python_tag|>{call}")), [CALL]);
    assert_eq!(
        read("llama3", &format!("\n{call}; {call};\n{call}")),
        [CALL, CALL, CALL]
    );
    let typed = "{\"type\": \"function\", \"name\": \"f\", \"parameters\": {}}";
    assert_eq!(read("llama3", typed), ["f({})"]);
    let unknown = "{\"name\": \"else\", \"parameters\": {}}";
    assert_eq!(read("llama3", unknown), [unknown]);
    assert_eq!(
        read("llama3", &format!("<|python_tag|>{unknown}")),
        ["else({})"]
    );
    let later = format!("Call {call}");
    assert_eq!(read("llama3", &later), [later]);
    let code = "<|python_tag|>brave_search.call(query=\"x\")";
    assert_eq!(read("llama3", code), [code]);
}

#[test]
fn mistral() {
    let object =
        "{\"name\": \"get_weather\", \"arguments\": {\"city\": \"Oslo\"}, \"id\": \"a1b2c3d4e\"}";
    for format in ["mistral", "mistral-args"] {
        let list = format!("[TOOL_CALLS] [{object}, {object}]");
        assert_eq!(read(format, &list), [CALL, CALL]);
        assert_eq!(read(format, &format!("[TOOL_CALLS]{object}")), [CALL]);
        let args = "[TOOL_CALLS]get_weather[ARGS]{\"city\": \"Oslo\"}";
        assert_eq!(
            read(format, &format!("Ah.{args}{args}")),
            ["Ah.", CALL, CALL]
        );
        let id = "[TOOL_CALLS]get_weather[CALL_ID]a1b2c3d4e[ARGS]{\"city\": \"Oslo\"}";
        assert_eq!(read(format, id), [CALL]);
        let quoted = "[TOOL_CALLS]get_weather[ARGS]\"{\\\"city\\\": \\\"Oslo\\\"}\"";
        assert_eq!(read(format, quoted), [CALL]);
    }
}

#[test]
fn mistral_reasons() {
    let reasoning = REASONING_FORMATS.iter().find(|row| row.name == "mistral");
    let tools = ToolFormat::named("mistral-args");
    let parser = AnswerParser::new(tools, reasoning, false, Vec::new());
    let answer = "[THINK]Hm [b].[/THINK]Yes.[TOOL_CALLS]f[ARGS]{}";
    assert_eq!(
        short(&parts(parser, [answer])),
        ["~Hm [b].", "Yes.", "f({})"]
    );
}

#[test]
fn deepseek() {
    let call = "<｜tool▁call▁begin｜>function<｜tool▁sep｜>get_weather\n```json\n{\"city\": \"Oslo\"}\n```<｜tool▁call▁end｜>";
    assert_eq!(
        read(
            "deepseek",
            &format!(
                "<think>\nHm.</think>\nI look.<｜tool▁calls▁begin｜>{call}\n{call}<｜tool▁calls▁end｜>"
            )
        ),
        ["~Hm.", "I look.", CALL, CALL]
    );
    let call =
        "<｜tool▁call▁begin｜>get_weather<｜tool▁sep｜>{\"city\": \"Oslo\"}<｜tool▁call▁end｜>";
    assert_eq!(
        read(
            "deepseek-v3.1",
            &format!("<｜tool▁calls▁begin｜>{call}{call}<｜tool▁calls▁end｜>")
        ),
        [CALL, CALL]
    );
}

#[test]
fn json() {
    let call = "{\"name\": \"get_weather\", \"arguments\": {\"city\": \"Oslo\"}}";
    assert_eq!(read("json", call), [CALL]);
    assert_eq!(read("json", &format!("[{call},\n {call}]")), [CALL, CALL]);
    assert_eq!(read("json", &format!("{call}\n{call}")), [CALL, CALL]);
    assert_eq!(
        read("json", &format!("Here:\n```json\n{call}\n```\nDone.")),
        ["Here:\n", CALL, "\nDone."]
    );
    assert_eq!(read("json", &format!("```\n[{call}]\n```")), [CALL]);
    for other in [
        "{\"name\": \"Ada\", \"born\": 1815}",
        "{\"city\": {\"name\": \"f\"}}",
        "[1] says so.",
        "[{\"x\": 1}]",
        "```json\n{\"x\": 1}\n```\n",
        "Use ```rust\nfn f() {}\n``` and `f`.",
        "{\"arguments\": {}}",
    ] {
        assert_eq!(read("json", other), [other]);
    }
}

#[test]
fn calls_and_their_arguments_flow() {
    let mut parser = parser("hermes", true, false);
    let mut flow = |piece: &str| {
        let mut parts = Vec::new();
        parser.push(piece, &mut parts);
        short_flow(&parts)
    };
    assert_eq!(flow("I <i>look</i> \n"), "I <i>look</i> \n");
    assert_eq!(flow("<tool_"), "");
    assert_eq!(flow("call>\n{\"name\": \"f"), "");
    assert_eq!(flow("\""), "f:");
    assert_eq!(flow(", \"arguments\": {\"a"), "+{\"a");
    assert_eq!(flow("\": \"}"), "+\": \"}");
    assert_eq!(flow("\"}"), "+\"}");
    assert_eq!(flow("}\n</tool_call>"), "");
    assert_eq!(flow("\n<"), "");
    assert_eq!(flow("b>"), "\n<b>");
}

fn short_flow(parts: &[Part]) -> String {
    parts
        .iter()
        .map(|part| match part {
            Part::Content(text) => text.clone(),
            Part::Reasoning(text) => format!("~{text}"),
            Part::Call { name, .. } => format!("{name}:"),
            Part::Arguments { text, .. } => format!("+{text}"),
        })
        .collect()
}

#[test]
fn reasoning() {
    assert_eq!(read("", "<think>\n\n</think>\n\nYes."), ["Yes."]);
    assert_eq!(
        read("", " <think>a</thin></think>\n  b <think>c</think>"),
        ["~a</thin>", "  b <think>c</think>"]
    );
    assert_eq!(read("", "<think>endless </th"), ["~endless </th"]);
    let inside = parts(
        parser("hermes", true, true),
        ["\nHm", "</think>", "\n\nYes"],
    );
    assert_eq!(short(&inside), ["~Hm", "Yes"]);
    let without = parts(parser("", false, true), [" <think>a</think>"]);
    assert_eq!(short(&without), [" <think>a</think>"]);
    assert!(think().opened_by("<|im_start|>assistant\n<think>\n"));
    assert!(!think().opened_by("<think>\n\n</think>\n\n"));
}
