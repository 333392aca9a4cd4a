use super::{parser, parts, short};
use crate::parse::{ReasoningFormat, TOOL_FORMATS, ToolFormat};

#[test]
fn templates_are_known_by_their_marks() {
    let names = "{% for tool in tools %}{{ tool | tojson }}{% endfor %}";
    for (source, format) in [
        ("<tool_call>\n{\"name\": \"", Some("hermes")),
        (
            "\\n<tool_call>\\n{\\\"name\\\": <function-name>",
            Some("hermes"),
        ),
        (
            "<tool_call>\\n<function=a>\\n<parameter=b>",
            Some("qwen3-coder"),
        ),
        ("[TOOL_CALLS]' + name + '[ARGS]", Some("mistral-args")),
        ("[TOOL_CALLS][", Some("mistral")),
        ("<｜tool▁calls▁begin｜>\n```json", Some("deepseek")),
        ("<｜tool▁calls▁begin｜>", Some("deepseek-v3.1")),
        (
            "<|python_tag|> {\"name\": function name, \"parameters\": dictionary}",
            Some("llama3"),
        ),
        ("", Some("json")),
    ] {
        let found = ToolFormat::of_template(&format!("{names}{source}"));
        assert_eq!(found.map(|format| format.name), format, "{source}");
    }
    assert!(ToolFormat::of_template("{{ messages[0].content }}").is_none());
    for (source, format) in [
        ("'<think>\\n'", Some("think")),
        ("content.split('</think>')", Some("think")),
        ("'[THINK]' + block", Some("mistral")),
        ("thinking", None),
    ] {
        let found = ReasoningFormat::of_template(source);
        assert_eq!(found.map(|format| format.name), format);
        assert!(found.is_none_or(|format| format.marks().len() == 2));
    }
}

#[test]
fn rows_are_distinct_and_their_marks_no_beginnings_of_each_other() {
    for (row, format) in TOOL_FORMATS.iter().enumerate() {
        let named = ToolFormat::named(format.name).unwrap();
        assert!(std::ptr::eq(named, &raw const TOOL_FORMATS[row]));
        for marked in format.marked {
            assert!(!marked.mark.is_empty() && !marked.body.is_empty());
            for other in format.marked {
                let same = std::ptr::eq(marked, other);
                assert!(same || !marked.mark.starts_with(other.mark));
            }
            let bare = format.bare.iter().map(|(first, _)| *first);
            assert!(
                bare.into_iter()
                    .all(|first| !marked.mark.starts_with(first))
            );
        }
    }
    assert!(ToolFormat::named("none").is_none());
}

#[test]
fn an_opening_makes_the_answer_a_call() {
    for (format, rest) in [
        ("hermes", " {\"a\": 1}}\n</tool_call>"),
        (
            "qwen3-coder",
            "<parameter=a>\n1\n</parameter>\n</function>\n</tool_call>",
        ),
        ("mistral-args", "{\"a\": 1}"),
        ("mistral", " {\"a\": 1}}]"),
        (
            "deepseek",
            "{\"a\": 1}\n```<｜tool▁call▁end｜><｜tool▁calls▁end｜>",
        ),
        (
            "deepseek-v3.1",
            "{\"a\": 1}<｜tool▁call▁end｜><｜tool▁calls▁end｜>",
        ),
        ("llama3", " {\"a\": 1}}"),
        ("json", " {\"a\": 1}}"),
    ] {
        let row = ToolFormat::named(format).unwrap();
        let opening = row.opening(Some("f"));
        let answer = [opening.as_str(), rest];
        assert_eq!(
            short(&parts(parser(format, false, false), answer)),
            ["f({\"a\": 1})"]
        );
        let open = row.opening(None);
        let behind = opening.strip_prefix(&open).unwrap();
        assert!(behind.starts_with('f'), "{behind}");
        assert_eq!(
            short(&parts(
                parser(format, false, false),
                [open.as_str(), behind, rest]
            )),
            ["f({\"a\": 1})"]
        );
    }
    let odd = ToolFormat::named("json").unwrap().opening(Some("\"a\\"));
    assert_eq!(odd, "{\"name\": \"\\\"a\\\\\", \"arguments\":");
    assert_eq!(TOOL_FORMATS.len(), 8, "the list above names every row");
}
