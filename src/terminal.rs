//! Words and colours for people.

use std::io::{IsTerminal, Stdout, Write, stdout};

use anyhow::Result;

/// Standard output; coloured on a terminal unless NO_COLOR is set.
pub(crate) struct Terminal {
    out: Stdout,
    colour: bool,
}

/// What a piece of text is.
#[derive(Clone, Copy)]
pub(crate) enum Ink {
    /// A heading.
    Heading,
    /// Only the owner sees it.
    Owner,
    /// The host sees it.
    Host,
    /// Good news.
    Good,
    /// Bad news.
    Bad,
    /// Less important.
    Faint,
}

impl Terminal {
    /// Standard output.
    pub(crate) fn new() -> Self {
        let colour = stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
        Self {
            out: stdout(),
            colour,
        }
    }

    /// `text` in `ink`.
    pub(crate) fn paint(&self, ink: Ink, text: &str) -> String {
        let code = match ink {
            Ink::Heading => "1",
            Ink::Owner => "32",
            Ink::Host => "33",
            Ink::Good => "1;32",
            Ink::Bad => "1;31",
            Ink::Faint => "2",
        };
        if self.colour {
            format!("\x1b[{code}m{text}\x1b[0m")
        } else {
            text.to_owned()
        }
    }

    /// A line.
    pub(crate) fn line(&mut self, text: &str) -> Result<()> {
        writeln!(self.out, "{text}")?;
        Ok(())
    }

    /// Text as it comes, shown at once.
    pub(crate) fn text(&mut self, text: &str) -> Result<()> {
        write!(self.out, "{text}")?;
        self.out.flush()?;
        Ok(())
    }

    /// A JSON value on lines of its own.
    pub(crate) fn json(&mut self, value: &serde_json::Value) -> Result<()> {
        let text = serde_json::to_string_pretty(value)?;
        self.line(&text)
    }
}

/// Words of `text` in lines of at most `width` characters.
pub(crate) fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines = Vec::new();
    for paragraph in text.lines() {
        let mut line = String::new();
        for word in paragraph.split(' ') {
            if !line.is_empty() && line.chars().count() + 1 + word.chars().count() > width {
                lines.push(std::mem::take(&mut line));
            }
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(word);
        }
        lines.push(line);
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::wrap;

    #[test]
    fn lines_are_broken_at_spaces() {
        assert_eq!(
            wrap("one two three\n\nfour", 8),
            ["one two", "three", "", "four"]
        );
        assert_eq!(wrap("incomprehensible", 4), ["incomprehensible"]);
    }
}
