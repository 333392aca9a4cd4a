use std::sync::Arc;

use tokenizers::Tokenizer;

use crate::Error;
use crate::text::decode;

/// Decodes an answer id by id: the pieces, joined, are the decoded answer.
///
/// A decoder may treat the first token otherwise than the next (it may drop a space), so each piece is the difference of
/// two decodings of a short window that begins one piece earlier.
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

    /// Takes the next plain id; gives the text that it completes, if any. Incomplete UTF-8 is held back.
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
        Ok(after.strip_prefix(&before).unwrap_or_default().to_owned())
    }
}

/// A character has at most 4 bytes and a token at least one, so only ids without text (special ones) or broken UTF-8 can
/// keep more than 4 ids waiting. The bound keeps the work for each id constant whatever a host sends.
const MOST_HELD: usize = 32;
