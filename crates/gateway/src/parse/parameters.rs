use super::literal::{Literal, Match};
use super::object::{MOST_NAME, valid_name};
use super::output::Output;
use super::scan;

/// Reads arguments that are written as elements, `<parameter=key>value</parameter>` each, as far as
/// `</function>`. Each argument is given when its element ends. Values have no types in this
/// writing: what is a JSON object, list, number, `true`, `false` or `null` (in Python's spelling
/// too) is given as such, all else as a string.
pub(super) struct Parameters {
    at: At,
    key: String,
    value: String,
    any: bool,
}

enum At {
    Between(Literal),
    Key,
    Value,
}

/// What the elements say of a character.
pub(super) enum Element {
    /// Taken; there is more.
    More,
    /// Taken, and the arguments end with it.
    Last,
    /// The last bytes, so many, are no such elements.
    Broken(usize),
}

impl Parameters {
    pub(super) fn new() -> Self {
        Self {
            at: At::Between(Literal::new(BETWEEN)),
            key: String::new(),
            value: String::new(),
            any: false,
        }
    }

    pub(super) fn step(&mut self, c: char, output: &mut Output) -> Element {
        match &mut self.at {
            At::Between(literal) => match literal.step(c) {
                Match::More => {}
                Match::Whole(PARAMETER) => self.at = At::Key,
                Match::Whole(_) => {
                    output.arguments(if self.any { "}" } else { "{}" });
                    return Element::Last;
                }
                Match::None { bytes } => return Element::Broken(bytes),
            },
            At::Key if c == '>' && valid_name(&self.key) => self.at = At::Value,
            At::Key if c == '>' || self.key.len() >= MOST_NAME => {
                return Element::Broken(c.len_utf8());
            }
            At::Key => self.key.push(c),
            At::Value => {
                self.value.push(c);
                if c == '>' && self.value.ends_with(PARAMETER_END) {
                    self.end_element(output);
                }
            }
        }
        Element::More
    }

    fn end_element(&mut self, output: &mut Output) {
        let value = self
            .value
            .strip_suffix(PARAMETER_END)
            .unwrap_or(&self.value);
        let value = value.strip_prefix('\n').unwrap_or(value);
        let value = value.strip_suffix('\n').unwrap_or(value);
        let before = if self.any { ", " } else { "{" };
        let key = serde_json::Value::from(self.key.trim());
        output.arguments(&format!("{before}{key}: {}", json_of(value)));
        self.any = true;
        self.key.clear();
        self.value.clear();
        self.at = At::Between(Literal::new(BETWEEN));
    }
}

fn json_of(value: &str) -> String {
    match value.trim() {
        "True" => return "true".to_owned(),
        "False" => return "false".to_owned(),
        "None" => return "null".to_owned(),
        _ => {}
    }
    match scan::value(value) {
        Some(json) if !json.starts_with('"') => json.to_owned(),
        _ => serde_json::Value::from(value).to_string(),
    }
}

const PARAMETER: &str = "<parameter=";
const PARAMETER_END: &str = "</parameter>";
const BETWEEN: &[&str] = &[PARAMETER, "</function>"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_json_where_they_can_be() {
        for (value, json) in [
            ("Oslo", "\"Oslo\""),
            ("two\nlines", "\"two\\nlines\""),
            ("\"quoted\"", "\"\\\"quoted\\\"\""),
            ("", "\"\""),
            ("12", "12"),
            ("012", "\"012\""),
            ("True", "true"),
            ("null", "null"),
            (" [1, {\"a\": 2}]\n", "[1, {\"a\": 2}]"),
            ("{\"a\": ", "\"{\\\"a\\\": \""),
        ] {
            assert_eq!(json_of(value), json);
        }
    }
}
