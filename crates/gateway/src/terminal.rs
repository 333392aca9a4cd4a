/// The text with everything escaped that could steer a terminal: control characters (except line
/// feed and tab) and marks that change the direction of writing or are invisible. For text from a
/// host or a model.
#[must_use]
pub fn terminal_safe(text: &str) -> String {
    escape(text, |c| !matches!(c, '\n' | '\t') && is_unsafe(c))
}

/// As [`terminal_safe`], on one line.
pub(crate) fn one_line(text: &str) -> String {
    escape(text, is_unsafe)
}

/// Foreign words for an error message: on one line, not too long.
pub(crate) fn excerpt(text: &str) -> String {
    let mut short: String = text.chars().take(MOST_MESSAGE).collect();
    if short.len() < text.len() {
        short.push_str("...");
    }
    one_line(&short)
}

fn escape(text: &str, escaped: impl Fn(char) -> bool) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if escaped(c) {
            out.extend(c.escape_default());
        } else {
            out.push(c);
        }
    }
    out
}

fn is_unsafe(c: char) -> bool {
    let invisible = matches!(
        c,
        '\u{ad}'
            | '\u{61c}'
            | '\u{180e}'
            | '\u{200b}'..='\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}'
            | '\u{feff}'
            | '\u{fff9}'..='\u{fffb}'
            | '\u{e0000}'..='\u{e007f}'
    );
    c.is_control() || invisible
}

const MOST_MESSAGE: usize = 400;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escape_sequences_and_direction_marks_are_shown() {
        assert_eq!(
            terminal_safe("a\u{1b}[2J\u{9b}b\n\tc\u{202e}d é 你 😀"),
            "a\\u{1b}[2J\\u{9b}b\n\tc\\u{202e}d é 你 😀"
        );
        assert_eq!(one_line("a\r\n\tb"), "a\\r\\n\\tb");
    }
}
