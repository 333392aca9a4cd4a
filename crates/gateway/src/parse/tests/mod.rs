mod astray;
mod families;
mod formats;
mod properties;

use super::{AnswerParser, Part, REASONING_FORMATS, ReasoningFormat, ToolFormat};

/// A parser for tests: a format by name, or none by "", and reasoning or not.
pub(super) fn parser(tools: &str, reasoning: bool, inside: bool) -> AnswerParser {
    let tools = ToolFormat::named(tools);
    let reasoning = reasoning.then(think);
    let known = ["get_weather", "add", "f"].map(str::to_owned).to_vec();
    AnswerParser::new(tools, reasoning, inside, known)
}

pub(super) fn think() -> &'static ReasoningFormat {
    let mut formats = REASONING_FORMATS.iter();
    formats.find(|format| format.name == "think").unwrap()
}

/// All parts, neighbours of one kind joined.
pub(super) fn parts<'a>(
    mut parser: AnswerParser,
    pieces: impl IntoIterator<Item = &'a str>,
) -> Vec<Part> {
    let mut parts = Vec::new();
    for piece in pieces {
        parser.push(piece, &mut parts);
    }
    parser.finish(&mut parts);
    let calls = parts.iter().any(|part| matches!(part, Part::Call { .. }));
    assert_eq!(parser.called(), calls);
    join(parts)
}

pub(super) fn join(parts: Vec<Part>) -> Vec<Part> {
    let mut joined: Vec<Part> = Vec::new();
    for part in parts {
        match (joined.last_mut(), part) {
            (Some(Part::Content(all)), Part::Content(text))
            | (Some(Part::Reasoning(all)), Part::Reasoning(text)) => all.push_str(&text),
            (Some(Part::Arguments { index, text: all }), Part::Arguments { index: of, text })
                if *index == of =>
            {
                all.push_str(&text);
            }
            (_, part) => joined.push(part),
        }
    }
    joined
}

/// The parts in short: `text`, `~reasoning`, `name(arguments)`.
pub(super) fn short(parts: &[Part]) -> Vec<String> {
    let mut all: Vec<String> = Vec::new();
    let mut begun = 0;
    for part in parts {
        match part {
            Part::Content(text) => all.push(text.clone()),
            Part::Reasoning(text) => all.push(format!("~{text}")),
            Part::Call { index, name } => {
                assert_eq!(*index, begun);
                begun += 1;
                all.push(format!("{name}()"));
            }
            Part::Arguments { index, text } => {
                assert_eq!(*index + 1, begun);
                let call = all.last_mut().unwrap();
                call.truncate(call.len() - 1);
                call.push_str(text);
                call.push(')');
            }
        }
    }
    all
}

/// What an answer gives, whole and character by character.
pub(super) fn read(tools: &str, answer: &str) -> Vec<String> {
    let whole = parts(parser(tools, true, false), [answer]);
    let cut = parts(parser(tools, true, false), answer.split_inclusive(|_| true));
    assert_eq!(whole, cut);
    short(&whole)
}
