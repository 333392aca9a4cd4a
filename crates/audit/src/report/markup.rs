//! Markup that is well-formed and escaped because it can only be built from elements and text.

/// A piece of HTML or SVG.
#[derive(Debug, Clone, Default)]
pub(super) struct Markup(String);

impl Markup {
    /// As it goes to a file.
    pub(super) fn into_string(self) -> String {
        self.0
    }

    /// Whether there is nothing.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Adds `next` behind this.
    pub(super) fn push(&mut self, next: Self) {
        self.0 += &next.0;
    }
}

impl Extend<Markup> for Markup {
    fn extend<I: IntoIterator<Item = Self>>(&mut self, pieces: I) {
        for piece in pieces {
            self.push(piece);
        }
    }
}

impl FromIterator<Markup> for Markup {
    fn from_iter<I: IntoIterator<Item = Self>>(pieces: I) -> Self {
        let mut all = Self::default();
        all.extend(pieces);
        all
    }
}

/// Text, escaped; what is no letter of a text is replaced.
pub(super) fn text(raw: &str) -> Markup {
    let mut out = String::with_capacity(raw.len());
    // A number and its sign stay on one line.
    escape_into(&mut out, &raw.replace(" %", "\u{a0}%"));
    Markup(out)
}

/// `<name attributes>children</name>`.
pub(super) fn element<const N: usize>(
    name: &'static str,
    attributes: &[(&'static str, &str)],
    children: [Markup; N],
) -> Markup {
    wrap(name, attributes, Markup::from_iter(children))
}

/// The same with children that are one piece already.
pub(super) fn wrap(
    name: &'static str,
    attributes: &[(&'static str, &str)],
    children: Markup,
) -> Markup {
    let Markup(mut out) = void(name, attributes);
    out += &children.0;
    out += "</";
    out += name;
    out.push('>');
    Markup(out)
}

/// `<name attributes>` of an element of HTML that has no end.
pub(super) fn void(name: &'static str, attributes: &[(&'static str, &str)]) -> Markup {
    let mut out = format!("<{name}");
    for (attribute, value) in attributes {
        out.push(' ');
        out += attribute;
        out += "=\"";
        escape_into(&mut out, value);
        out.push('"');
    }
    out.push('>');
    Markup(out)
}

/// A style sheet of this program.
pub(super) fn style(sheet: &str) -> Markup {
    Markup(format!("<style>\n{sheet}</style>"))
}

/// The line that says that HTML follows.
pub(super) fn doctype() -> Markup {
    Markup("<!doctype html>\n".to_owned())
}

fn escape_into(out: &mut String, raw: &str) {
    for letter in super::number::printable(raw).chars() {
        match letter {
            '&' => *out += "&amp;",
            '<' => *out += "&lt;",
            '>' => *out += "&gt;",
            '"' => *out += "&quot;",
            '\'' => *out += "&#39;",
            letter => out.push(letter),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_attributes_are_escaped() {
        let markup = element(
            "p",
            &[("title", "\"><script>")],
            [text("<b>&'\u{0}"), void("br", &[])],
        );
        assert_eq!(
            markup.into_string(),
            "<p title=\"&quot;&gt;&lt;script&gt;\">&lt;b&gt;&amp;&#39;\u{fffd}<br></p>"
        );
    }
}
