//! Any cutting of an answer gives the same content, reasoning and calls, in every format.
#![no_main]

use equicrypt_gateway::{AnswerParser, Part, REASONING_FORMATS, TOOL_FORMATS};

libfuzzer_sys::fuzz_target!(|input: (u8, u8, u8, &str)| {
    let (format, reasoning, cut, text) = input;
    let parse = |pieces: &[String]| {
        let mut parser = AnswerParser::new(
            TOOL_FORMATS.get(usize::from(format) % (TOOL_FORMATS.len() + 1)),
            REASONING_FORMATS.get(usize::from(reasoning / 2) % (REASONING_FORMATS.len() + 1)),
            reasoning % 2 == 1,
            vec!["get_weather".into(), "f".into()],
        );
        let mut parts = Vec::new();
        for piece in pieces {
            parser.push(piece, &mut parts);
        }
        parser.finish(&mut parts);
        joined(parts)
    };
    let characters: Vec<char> = text.chars().collect();
    let pieces: Vec<String> = characters
        .chunks(usize::from(cut).max(1))
        .map(|piece| piece.iter().collect())
        .collect();
    assert!(parse(&[text.to_owned()]) == parse(&pieces));
});

/// Neighbours of one kind are one text.
fn joined(parts: Vec<Part>) -> Vec<Part> {
    let mut joined: Vec<Part> = Vec::new();
    for part in parts {
        match (joined.last_mut(), part) {
            (Some(Part::Content(before)), Part::Content(more))
            | (Some(Part::Reasoning(before)), Part::Reasoning(more)) => before.push_str(&more),
            (Some(Part::Arguments { text: before, .. }), Part::Arguments { text, .. }) => {
                before.push_str(&text);
            }
            (_, part) => joined.push(part),
        }
    }
    joined
}
