/// Reads one of some texts, with white space before it.
pub(super) struct Literal {
    texts: &'static [&'static str],
    read: String,
    spaces: usize,
}

/// What a [`Literal`] says of a character.
pub(super) enum Match {
    /// It may become one of the texts.
    More,
    /// It ends this one.
    Whole(&'static str),
    /// What was read, so many bytes with the white space and the character itself, is none.
    None { bytes: usize },
}

impl Literal {
    pub(super) fn new(texts: &'static [&'static str]) -> Self {
        Self {
            texts,
            read: String::new(),
            spaces: 0,
        }
    }

    pub(super) fn step(&mut self, c: char) -> Match {
        if self.read.is_empty() && c.is_whitespace() {
            self.spaces += c.len_utf8();
            return Match::More;
        }
        self.read.push(c);
        let begun = self.texts.iter().find(|text| text.starts_with(&self.read));
        match begun {
            Some(text) if text.len() == self.read.len() => Match::Whole(text),
            Some(_) => Match::More,
            None => Match::None {
                bytes: self.spaces + self.read.len(),
            },
        }
    }
}
