/// Reads one JSON value (RFC 8259) character by character, strictly, and says where it ends, so that
/// everything taken is at any time the beginning of valid JSON. Values deeper than [`MOST_DEPTH`]
/// are refused, so that whoever reads the text later can.
pub(super) struct Scanner {
    open: Vec<Open>,
    next: Next,
}

/// What a [`Scanner`] says of a character.
#[derive(Clone, Copy, PartialEq, Eq)]
#[cfg_attr(test, derive(Debug))]
pub(super) enum Scan {
    /// Taken; the value goes on.
    More,
    /// Taken, and the value ends with it.
    Last,
    /// Not taken: the value, a number, ended before it.
    Before,
    /// Not taken: no valid value goes on so.
    Broken,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Open {
    List,
    Object,
}

/// What may come next.
#[derive(Clone, Copy)]
enum Next {
    Value,
    ValueOrEnd,
    Key,
    KeyOrEnd,
    Colon,
    CommaOrEnd,
    InString { key: bool },
    InEscape { key: bool },
    InHex { key: bool, left: u8 },
    InWord { rest: &'static str },
    InNumber(Number),
}

/// Where in a number the last character stood.
#[derive(Clone, Copy)]
enum Number {
    Minus,
    Zero,
    Whole,
    Point,
    Fraction,
    Exponent,
    ExponentSign,
    ExponentDigits,
}

impl Scanner {
    pub(super) fn new() -> Self {
        Self {
            open: Vec::new(),
            next: Next::Value,
        }
    }

    /// Takes the next character. After anything but [`Scan::More`] the value is over.
    pub(super) fn step(&mut self, c: char) -> Scan {
        self.next = match (self.next, c) {
            (Next::InString { key: true }, '"') => Next::Colon,
            (Next::InString { key: false }, '"') => return self.after_value(),
            (Next::InString { key }, '\\') => Next::InEscape { key },
            (Next::InString { .. }, '\0'..='\u{1f}') => return Scan::Broken,
            (Next::InString { key }, _) => Next::InString { key },
            (Next::InEscape { key }, 'u') => Next::InHex { key, left: 4 },
            (Next::InEscape { key }, '"' | '\\' | '/' | 'b' | 'f' | 'n' | 'r' | 't') => {
                Next::InString { key }
            }
            (Next::InHex { key, left }, c) if c.is_ascii_hexdigit() => match left {
                1 => Next::InString { key },
                _ => Next::InHex {
                    key,
                    left: left - 1,
                },
            },
            (Next::InWord { rest }, c) => match rest.strip_prefix(c) {
                Some("") => return self.after_value(),
                Some(rest) => Next::InWord { rest },
                None => return Scan::Broken,
            },
            (Next::InNumber(number), c) => match number.then(c) {
                Some(number) => Next::InNumber(number),
                None if !number.may_end() => return Scan::Broken,
                None if self.open.is_empty() => return Scan::Before,
                None => {
                    self.next = Next::CommaOrEnd;
                    return self.step(c);
                }
            },
            (Next::InEscape { .. } | Next::InHex { .. }, _) => return Scan::Broken,
            (next, ' ' | '\t' | '\n' | '\r') => next,
            (Next::Value | Next::ValueOrEnd, '{') => return self.open(Open::Object),
            (Next::Value | Next::ValueOrEnd, '[') => return self.open(Open::List),
            (Next::Value | Next::ValueOrEnd, '"') => Next::InString { key: false },
            (Next::Value | Next::ValueOrEnd, 't') => Next::InWord { rest: "rue" },
            (Next::Value | Next::ValueOrEnd, 'f') => Next::InWord { rest: "alse" },
            (Next::Value | Next::ValueOrEnd, 'n') => Next::InWord { rest: "ull" },
            (Next::Value | Next::ValueOrEnd, '-') => Next::InNumber(Number::Minus),
            (Next::Value | Next::ValueOrEnd, '0') => Next::InNumber(Number::Zero),
            (Next::Value | Next::ValueOrEnd, '1'..='9') => Next::InNumber(Number::Whole),
            (Next::Key | Next::KeyOrEnd, '"') => Next::InString { key: true },
            (Next::Colon, ':') => Next::Value,
            (Next::ValueOrEnd, ']') | (Next::KeyOrEnd, '}') => return self.close(),
            (Next::CommaOrEnd, c) => match (self.open.last(), c) {
                (Some(Open::List), ',') => Next::Value,
                (Some(Open::Object), ',') => Next::Key,
                (Some(Open::List), ']') | (Some(Open::Object), '}') => return self.close(),
                _ => return Scan::Broken,
            },
            _ => return Scan::Broken,
        };
        Scan::More
    }

    fn open(&mut self, open: Open) -> Scan {
        if self.open.len() >= MOST_DEPTH {
            return Scan::Broken;
        }
        self.open.push(open);
        self.next = match open {
            Open::List => Next::ValueOrEnd,
            Open::Object => Next::KeyOrEnd,
        };
        Scan::More
    }

    fn close(&mut self) -> Scan {
        self.open.pop();
        self.after_value()
    }

    fn after_value(&mut self) -> Scan {
        self.next = Next::CommaOrEnd;
        match self.open.is_empty() {
            true => Scan::Last,
            false => Scan::More,
        }
    }
}

impl Number {
    fn then(self, c: char) -> Option<Self> {
        match (self, c) {
            (Self::Minus, '0') => Some(Self::Zero),
            (Self::Minus, '1'..='9') | (Self::Whole, '0'..='9') => Some(Self::Whole),
            (Self::Zero | Self::Whole, '.') => Some(Self::Point),
            (Self::Point | Self::Fraction, '0'..='9') => Some(Self::Fraction),
            (Self::Zero | Self::Whole | Self::Fraction, 'e' | 'E') => Some(Self::Exponent),
            (Self::Exponent, '+' | '-') => Some(Self::ExponentSign),
            (Self::Exponent | Self::ExponentSign | Self::ExponentDigits, '0'..='9') => {
                Some(Self::ExponentDigits)
            }
            _ => None,
        }
    }

    fn may_end(self) -> bool {
        matches!(
            self,
            Self::Zero | Self::Whole | Self::Fraction | Self::ExponentDigits
        )
    }
}

/// The whole text as one JSON value, without the whitespace around it; `None` if it is none.
pub(super) fn value(text: &str) -> Option<&str> {
    let text = text.trim_matches([' ', '\t', '\n', '\r']);
    let mut scanner = Scanner::new();
    let mut last = Scan::More;
    for c in text.chars() {
        if last != Scan::More {
            return None;
        }
        last = scanner.step(c);
    }
    let ends = match last {
        Scan::More => scanner.step(' ') == Scan::Before,
        last => last == Scan::Last,
    };
    ends.then_some(text)
}

/// Below the 128 of serde_json, which reads the arguments when they come back in a conversation.
const MOST_DEPTH: usize = 100;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde::de::IgnoredAny;

    use super::*;

    #[test]
    fn values_and_what_is_none() {
        for text in [
            "0",
            "-0.5e+3",
            "1E9",
            "\"\"",
            "\"\\u00e9\\n\"",
            "true",
            "null",
            "[]",
            "{}",
            " [1 , 2] ",
            "{\"a\" : [ {\"b\":\"}\"} ] , \"c\":false}",
        ] {
            assert!(value(text).is_some(), "{text}");
        }
        for text in [
            "",
            " ",
            "-",
            "01",
            "1.",
            ".5",
            "1e",
            "+1",
            "\"",
            "\"\n\"",
            "\"\\x\"",
            "\"\\u00g0\"",
            "tru",
            "True",
            "[1,]",
            "{,}",
            "{\"a\"}",
            "{\"a\":1,}",
            "{a:1}",
            "[1}",
            "1 2",
            "{}}",
            "\"\\u 123\"",
            "nul l",
            "'a'",
        ] {
            assert!(value(text).is_none(), "{text}");
        }
    }

    #[test]
    fn depth_has_a_limit() {
        let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        assert!(value(&nested(MOST_DEPTH)).is_some());
        assert!(value(&nested(MOST_DEPTH + 1)).is_none());
    }

    proptest! {
        #[test]
        fn as_serde_json_judges(text in "[\\[\\]{}:,\"\\\\u0-9a.eE+\\- \ntruefalsn]{0,12}") {
            let known = serde_json::from_str::<IgnoredAny>(&text).is_ok();
            prop_assert_eq!(value(&text).is_some(), known);
        }
    }
}
