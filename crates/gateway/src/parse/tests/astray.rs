//! Calls that go astray or are never ended: nothing is lost, nothing is made up.

use super::read;

#[test]
fn before_their_name_they_are_content() {
    for (format, answer) in [
        ("hermes", "<tool_call>"),
        ("hermes", " \n<tool_call>\n{\"name\": \"f"),
        ("hermes", "<tool_call>no</tool_call>"),
        (
            "hermes",
            "<tool_call>\n{\"name\": 5, \"arguments\": {}}\n</tool_call>",
        ),
        (
            "hermes",
            "<tool_call>\n{\"name\": \"\", \"arguments\": {}}\n</tool_call>",
        ),
        (
            "hermes",
            "<tool_call>\n{\"arguments\": {\"a\": 1 2}, \"name\": \"f\"}",
        ),
        (
            "hermes",
            "<tool_call>\n{\"arguments\": [], \"name\": \"f\"}",
        ),
        (
            "hermes",
            "<tool_call>\n{\"arguments\": \"{\", \"name\": \"f\"}",
        ),
        ("hermes", "<tool_call>\n{'name': 'f'}"),
        ("hermes", "<tool_call>{\"arguments\": {}}</tool_call>"),
        ("hermes", "a <tool_ca"),
        ("qwen3-coder", "<tool_call>\n<function=get weather>"),
        ("qwen3-coder", "<tool_call>\n<func"),
        ("mistral", "[TOOL_CALLS]"),
        ("mistral", "[TOOL_CALLS]f"),
        ("mistral", "[TOOL_CALLS]f is one[ARGS]{}"),
        ("mistral", "[TOOL_CALLS][]"),
        ("deepseek", "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>f"),
        (
            "deepseek-v3.1",
            "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>f<｜tool▁call",
        ),
        ("llama3", "{\"name\": \"f"),
        ("json", "```json\n[{\"name\": \"fu\"}]\n```"),
    ] {
        assert_eq!(read(format, answer), [answer], "{format}");
    }
}

#[test]
fn behind_their_name_the_rest_is_content() {
    for (format, answer, expected) in [
        (
            "hermes",
            "<tool_call>{\"name\": \"f\", \"arguments\": {\"a\": 1 oops}}</tool_call>",
            &["f({\"a\": 1 )", "oops}}</tool_call>"][..],
        ),
        (
            "hermes",
            "<tool_call>{\"name\": \"f\", \"arguments\": {\"a",
            &["f({\"a)"],
        ),
        (
            "hermes",
            "<tool_call>{\"name\": \"f\", \"arguments\": \"{\\\"a\"}</tool_call>",
            &["f()", ", \"arguments\": \"{\\\"a\"}</tool_call>"],
        ),
        (
            "hermes",
            "<tool_call>{\"name\": \"f\", \"arg",
            &["f()", ", \"arg"],
        ),
        (
            "qwen3-coder",
            "<function=f><parameter=a>1</parameter><parameter=b>2",
            &["f({\"a\": 1)", "<parameter=b>2"],
        ),
        ("mistral-args", "[TOOL_CALLS]f[ARGS]no", &["f()", "no"]),
        (
            "mistral-args",
            "[TOOL_CALLS]f[ARGS] \"no\"",
            &["f()", " \"no\""],
        ),
    ] {
        assert_eq!(read(format, answer), expected, "{answer}");
    }
}

#[test]
fn closing_marks_may_be_missing() {
    let first = "<tool_call>\n{\"name\": \"f\", \"arguments\": {}";
    for rest in [
        "",
        "}",
        "}\n",
        "}\n</tool_",
        "\n</tool_call>",
        "}</tool_call>\n",
    ] {
        assert_eq!(read("hermes", &format!("{first}{rest}")), ["f({})"]);
    }
    assert_eq!(
        read("hermes", &format!("{first}}}\n{first}}} And")),
        ["f({})", "f({})", " And"]
    );
    let object = "{\"name\": \"f\", \"arguments\": {}}";
    assert_eq!(
        read("mistral", &format!("[TOOL_CALLS][{object}")),
        ["f({})"]
    );
    assert_eq!(
        read(
            "mistral",
            &format!("[TOOL_CALLS][{object}, {{\"name\": \"ad")
        ),
        ["f({})", ", {\"name\": \"ad"]
    );
    assert_eq!(read("json", &format!("```json\n{object}")), ["f({})"]);
    assert_eq!(
        read("llama3", &format!("{object}; or else")),
        ["f({})", "; or else"]
    );
}

#[test]
fn calls_behind_a_broken_one_are_found() {
    let object = "{\"name\": \"f\", \"arguments\": {}}";
    assert_eq!(
        read(
            "hermes",
            &format!("<tool_call>\n<tool_call>{object}</tool_call>")
        ),
        ["<tool_call>\n", "f({})"]
    );
    assert_eq!(
        read("mistral", &format!("[TOOL_CALLS]x[TOOL_CALLS][{object}]")),
        ["[TOOL_CALLS]x", "f({})"]
    );
}

#[test]
fn what_is_held_has_a_limit() {
    let long = "a".repeat(3 << 20);
    let answer = format!("<tool_call>{{\"arguments\": {{\"a\": \"{long}\"}}, \"name\": \"f\"}}");
    assert_eq!(read("hermes", &answer), [answer]);
    let answer = format!("<tool_call>{{\"name\": \"f\", \"arguments\": {{\"a\": \"{long}\"}}}}");
    assert_eq!(
        read("hermes", &answer),
        [format!("f({{\"a\": \"{long}\"}})")]
    );
    let spaces = " ".repeat(3 << 20);
    assert_eq!(read("hermes", &spaces), [spaces]);
}
