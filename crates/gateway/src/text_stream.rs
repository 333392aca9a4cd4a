use std::sync::Arc;

use tokenizers::Tokenizer;

use crate::Error;
use crate::text::decode;

/// Decodes an answer id by id: the pieces, joined, are the decoded answer.
///
/// A decoder may treat the first token otherwise than the next (it may drop a space), so each piece
/// is the difference of two decodings of a short window that begins one piece earlier.
pub struct TextStream {
    tokenizer: Arc<Tokenizer>,
    /// The ids of the last piece, then those held back.
    window: Vec<u32>,
    /// How many ids of the window are released.
    released: usize,
}

impl TextStream {
    pub(crate) fn new(tokenizer: Arc<Tokenizer>) -> Self {
        Self {
            tokenizer,
            window: Vec::new(),
            released: 0,
        }
    }

    /// Takes the next plain id; gives the text that it completes, if any. Incomplete UTF-8 is held
    /// back.
    pub fn push(&mut self, id: u32) -> Result<Option<String>, Error> {
        self.window.push(id);
        let held = self.window.len() - self.released;
        let piece = self.piece()?;
        if piece.is_empty() || (piece.ends_with('\u{fffd}') && held < MOST_HELD) {
            if piece.is_empty() && held >= MOST_HELD {
                self.window.drain(self.released..);
            }
            return Ok(None);
        }
        self.window.drain(..self.released);
        self.released = self.window.len();
        Ok(Some(piece))
    }

    /// Ends the answer: gives what is still held back, incomplete UTF-8 as U+FFFD.
    pub fn finish(self) -> Result<Option<String>, Error> {
        Ok(Some(self.piece()?).filter(|piece| !piece.is_empty()))
    }

    /// The text of the ids held back.
    fn piece(&self) -> Result<String, Error> {
        let (released, _) = self.window.split_at(self.released.min(self.window.len()));
        let before = decode(&self.tokenizer, released, true)?;
        let after = decode(&self.tokenizer, &self.window, true)?;
        let alike = before
            .chars()
            .zip(after.chars())
            .take_while(|(a, b)| a == b);
        let alike: usize = alike.map(|(a, _)| a.len_utf8()).sum();
        Ok(after.get(alike..).unwrap_or_default().to_owned())
    }
}

/// A character has at most 4 bytes and a token at least one, so only ids without text (special
/// ones) or broken UTF-8 can keep more than 4 ids waiting. The bound keeps the work for each id
/// constant whatever a host sends.
const MOST_HELD: usize = 32;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use crate::Text;
    use crate::fixture::{END, START, folder};

    fn streamed(text: &Text, ids: &[u32]) -> String {
        let mut stream = text.stream();
        let mut out = String::new();
        for id in ids {
            out.extend(stream.push(*id).unwrap());
        }
        out.extend(stream.finish().unwrap());
        out
    }

    #[test]
    fn characters_come_whole() {
        let dir = folder();
        let text = Text::open(dir.path()).unwrap();
        let mut stream = text.stream();
        let pieces: Vec<_> = [
            START,
            0xc3,
            0xa9,
            b'a'.into(),
            0xf0,
            0x9f,
            END,
            0x98,
            0x80,
            END,
            0xe4,
            0xbd,
        ]
        .map(|id| stream.push(id).unwrap())
        .into();
        let some = |text: &str| Some(text.to_owned());
        assert_eq!(pieces[..4], [None, None, some("é"), some("a")]);
        assert_eq!(
            pieces[4..],
            [None, None, None, None, some("😀"), None, None, None]
        );
        assert_eq!(stream.finish().unwrap(), some("\u{fffd}"));
    }

    #[test]
    fn endless_broken_text_is_let_go() {
        let dir = folder();
        let text = Text::open(dir.path()).unwrap();
        let mut stream = text.stream();
        let pieces = (0..1000).filter_map(|_| stream.push(0x80).unwrap());
        assert!(pieces.map(|piece| piece.chars().count()).sum::<usize>() > 900);
        let ids: Vec<u32> = std::iter::repeat_n(0xe4, 40)
            .chain([0xbd, 0xa0, 97])
            .collect();
        assert!(streamed(&text, &ids).ends_with("你a"));
        let mut stream = text.stream();
        assert!((0..1000).all(|_| stream.push(END).unwrap().is_none()));
        assert!(stream.window.len() < 100);
        assert_eq!(stream.push(b'a'.into()).unwrap().as_deref(), Some("a"));
    }

    proptest! {
        #[test]
        fn pieces_join_to_the_decoded_answer(
            text in "\\PC{0,40}",
            special in prop::collection::vec(0usize..200, 0..4),
        ) {
            let dir = folder();
            let tokenizer = Text::open(dir.path()).unwrap();
            let mut ids = tokenizer.encode(&text).unwrap();
            for place in special {
                ids.insert(place.min(ids.len()), END);
            }
            prop_assert_eq!(streamed(&tokenizer, &ids), text);
        }

        #[test]
        fn arbitrary_ids_lose_nothing(ids in prop::collection::vec(0u32..300, 0..31)) {
            let dir = folder();
            let tokenizer = Text::open(dir.path()).unwrap();
            prop_assert_eq!(streamed(&tokenizer, &ids), tokenizer.decode(&ids, true).unwrap());
        }
    }
}
