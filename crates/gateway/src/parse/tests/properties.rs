use proptest::prelude::*;
use serde_json::Value;

use super::{parser, parts, short};
use crate::parse::scan::{Scan, Scanner};
use crate::parse::{AnswerParser, Part, REASONING_FORMATS, TOOL_FORMATS};

/// Text made of marks, their fragments, and what stands between them.
fn text() -> impl Strategy<Value = String> {
    let mut fragments: Vec<String> = FRAGMENTS.iter().map(|text| (*text).to_owned()).collect();
    let reasoning = REASONING_FORMATS.iter().flat_map(|format| format.marks());
    let marks = TOOL_FORMATS.iter().flat_map(|format| format.marks());
    for mark in reasoning.chain(marks).copied().chain(["```", "<function="]) {
        let half = mark.char_indices().nth(mark.chars().count() / 2);
        let half = half.map_or(0, |(at, _)| at);
        fragments.extend([mark, &mark[..half], &mark[half..]].map(str::to_owned));
    }
    let fragment = prop_oneof![
        8 => prop::sample::select(fragments),
        1 => any::<String>(),
        1 => "[ -~]{0,8}",
    ];
    prop::collection::vec(fragment, 0..40).prop_map(|all| all.concat())
}

const FRAGMENTS: &[&str] = &[
    " ",
    "\n",
    "a",
    "😀",
    "{",
    "}",
    "[",
    "]",
    ",",
    ";",
    ":",
    "\"",
    "\\",
    "```json\n",
    "\n```",
    "f",
    "{\"name\": \"f\"",
    "{\"name\":\"g\",",
    "\"name\"",
    ", \"arguments\": ",
    "\"parameters\": {",
    "{\"a\": [1, -2.5e3, true, null], \"b\": \"\\u00e9\"}",
    "\"{\\\"a\\\": 1}\"",
    "function",
    "{\"name\": \"f\", \"arguments\": {\"a\": 1}}",
    "<parameter=k>",
    "</parameter>",
    "</function>",
    ">",
    "<function=f>",
    "12",
    "nul",
    "\"id\": 1, ",
    "[ARGS]{",
    "f[ARGS]{\"a\":\"",
];

fn new(format: usize, reasoning: usize, inside: bool) -> AnswerParser {
    let known = vec!["f".to_owned()];
    AnswerParser::new(
        TOOL_FORMATS.get(format),
        REASONING_FORMATS.get(reasoning),
        inside,
        known,
    )
}

/// All text that was given, in its order.
fn given(parts: &[Part]) -> String {
    parts
        .iter()
        .map(|part| match part {
            Part::Content(text) | Part::Reasoning(text) => text.as_str(),
            Part::Call { name, .. } => name,
            Part::Arguments { text, .. } => text,
        })
        .collect()
}

fn arguments(parts: &[Part]) -> Vec<String> {
    let mut all = Vec::new();
    for part in parts {
        match part {
            Part::Call { .. } => all.push(String::new()),
            Part::Arguments { index, text } => all[*index].push_str(text),
            _ => {}
        }
    }
    all
}

fn json_object() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<String>().prop_map(Value::from),
        prop::sample::select(FRAGMENTS).prop_map(Value::from),
    ];
    let value = leaf.prop_recursive(3, 12, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec((any::<String>(), inner), 0..4)
                .prop_map(|fields| Value::Object(fields.into_iter().collect())),
        ]
    });
    prop::collection::vec((any::<String>(), value), 0..4)
        .prop_map(|fields| Value::Object(fields.into_iter().collect()))
}

/// Calls as the format writes them.
fn written(format: &str, calls: &[(String, Value)]) -> String {
    let object = |key: &str| {
        calls
            .iter()
            .map(|(name, arguments)| format!("{{\"name\": \"{name}\", \"{key}\": {arguments}}}"))
            .collect::<Vec<_>>()
    };
    let each = |write: &dyn Fn(&str, &Value) -> String| -> String {
        calls
            .iter()
            .map(|(name, arguments)| write(name, arguments))
            .collect()
    };
    match format {
        "hermes" => each(&|name, arguments| {
            format!(
                "\n<tool_call>\n{{\"name\": \"{name}\", \"arguments\": {arguments}}}\n</tool_call>"
            )
        }),
        "mistral-args" => each(&|name, arguments| format!("[TOOL_CALLS]{name}[ARGS]{arguments}")),
        "mistral" => format!("[TOOL_CALLS][{}]", object("arguments").join(", ")),
        "deepseek" => format!(
            "<｜tool▁calls▁begin｜>{}<｜tool▁calls▁end｜>",
            each(&|name, arguments| format!(
                "<｜tool▁call▁begin｜>function<｜tool▁sep｜>{name}\n```json\n{arguments}\n```<｜tool▁call▁end｜>\n"
            ))
        ),
        "deepseek-v3.1" => format!(
            "<｜tool▁calls▁begin｜>{}<｜tool▁calls▁end｜>",
            each(&|name, arguments| format!(
                "<｜tool▁call▁begin｜>{name}<｜tool▁sep｜>{arguments}<｜tool▁call▁end｜>"
            ))
        ),
        "llama3" => object("parameters").join("; "),
        "json" => format!("```json\n[{}]\n```", object("arguments").join(",\n")),
        _ => each(&|name, arguments| {
            let fields = arguments.as_object().unwrap().iter();
            let fields: String = fields
                .map(|(key, value)| format!("<parameter={key}>\n{value}\n</parameter>\n"))
                .collect();
            format!("<tool_call>\n<function={name}>\n{fields}</function>\n</tool_call>\n")
        }),
    }
}

/// Without odd keys, and without strings and closing marks in values: the writing in elements cannot
/// tell them from the rest.
fn plain(arguments: Value) -> Value {
    let fields = arguments.as_object().into_iter().flatten();
    let fields = fields.enumerate().map(|(at, (_, value))| {
        let odd = value.is_string() || value.to_string().contains("</parameter>");
        let value = if odd { Value::Null } else { value.clone() };
        (format!("k{at}"), value)
    });
    Value::Object(fields.collect())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn any_cutting_gives_the_same_parts(
        text in text(),
        format in 0..=TOOL_FORMATS.len(),
        reasoning in 0..=REASONING_FORMATS.len(),
        inside: bool,
        cuts in prop::collection::vec(0usize..300, 0..12),
    ) {
        let whole = parts(new(format, reasoning, inside), [text.as_str()]);
        let single = parts(new(format, reasoning, inside), text.split_inclusive(|_| true));
        prop_assert_eq!(&single, &whole);
        let mut cuts: Vec<usize> =
            cuts.into_iter().filter(|at| text.is_char_boundary(*at)).collect();
        cuts.extend([0, text.len()]);
        cuts.sort_unstable();
        let pieces = cuts.windows(2).map(|pair| &text[pair[0]..pair[1]]);
        prop_assert_eq!(&parts(new(format, reasoning, inside), pieces), &whole);
    }

    #[test]
    fn nothing_is_made_up(text in text(), format in 0..=TOOL_FORMATS.len(), inside: bool) {
        let parts = parts(new(format, 1, inside), [text.as_str()]);
        for arguments in arguments(&parts) {
            let mut scanner = Scanner::new();
            let mut scans = arguments.chars().map(|c| scanner.step(c)).collect::<Vec<_>>();
            let last = scans.pop();
            prop_assert!(scans.iter().all(|scan| *scan == Scan::More));
            prop_assert!(matches!(last, None | Some(Scan::More | Scan::Last)));
            let begins = arguments.is_empty() || arguments.starts_with('{');
            prop_assert!(begins);
        }
        let given: String = parts
            .iter()
            .filter(|part| matches!(part, Part::Content(_) | Part::Reasoning(_)))
            .map(|part| given(std::slice::from_ref(part)))
            .collect();
        let mut all = text.chars();
        prop_assert!(given.chars().all(|c| all.any(|of| of == c)));
    }

    #[test]
    fn without_tools_no_text_is_lost(text in text()) {
        let none = parts(new(usize::MAX, usize::MAX, false), [text.as_str()]);
        prop_assert_eq!(given(&none), text.clone());
        prop_assert!(none.iter().all(|part| matches!(part, Part::Content(_))));
        let reasoned = given(&parts(new(usize::MAX, 1, false), [text.as_str()]));
        let kept = |text: &str| text.replace(['\n', '\r', ' '], "");
        let marks = |text: &str| kept(&text.replace("<think>", "").replace("</think>", ""));
        prop_assert_eq!(marks(&reasoned), marks(&text));
    }

    #[test]
    fn without_calls_no_text_is_lost(text in text(), format in 0..TOOL_FORMATS.len()) {
        let parts = parts(new(format, usize::MAX, false), [text.as_str()]);
        if !parts.iter().any(|part| matches!(part, Part::Call { .. })) {
            prop_assert_eq!(given(&parts), text);
        }
    }

    #[test]
    fn the_time_is_linear_in_the_text(
        text in text(),
        times in 1usize..40,
        format in 0..=TOOL_FORMATS.len(),
        inside: bool,
    ) {
        let text = text.repeat(times);
        let mut parser = new(format, 1, inside);
        let mut parts = Vec::new();
        parser.push(&text, &mut parts);
        prop_assert!(parser.steps <= 8 * text.chars().count());
        parser.finish(&mut parts);
        parser.push(&text, &mut parts);
    }

    #[test]
    fn what_is_written_is_read(
        format in 0..TOOL_FORMATS.len(),
        calls in prop::collection::vec(("f|add|get_weather", json_object()), 1..4),
        thought in "[a-z<>/ ]{0,9}[a-z]",
        content in "[a-z.<\\[]{0,9}[a-z.]",
        cut in 1usize..9,
    ) {
        let format = TOOL_FORMATS[format].name;
        let calls: Vec<(String, Value)> = match format {
            "qwen3-coder" => calls.into_iter().map(|(name, a)| (name, plain(a))).collect(),
            _ => calls,
        };
        let content = match format {
            "llama3" => String::new(),
            _ => content,
        };
        let answer = format!("<think>\n{thought}</think>\n\n{content}{}", written(format, &calls));
        let chars: Vec<char> = answer.chars().collect();
        let pieces: Vec<String> = chars.chunks(cut).map(|piece| piece.iter().collect()).collect();
        let parts = parts(parser(format, true, false), pieces.iter().map(String::as_str));
        let parts = short(&parts);
        let texts = parts.len() - calls.len();
        prop_assert_eq!(&parts[0], &format!("~{thought}"));
        let text = parts[1..texts].concat();
        prop_assert_eq!(text.trim(), content);
        for ((name, arguments), part) in calls.iter().zip(&parts[texts..]) {
            let text = part.strip_prefix(&format!("{name}(")).unwrap().strip_suffix(')').unwrap();
            prop_assert_eq!(&serde_json::from_str::<Value>(text).unwrap(), arguments);
        }
    }
}
