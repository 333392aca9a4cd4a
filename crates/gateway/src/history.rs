use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use crate::{Error, Session, Text};

/// The ids of recent conversations, so that the next turn of one repeats them: the ids that a model
/// generates for a text are often not those that a tokenizer gives for it, and a host finds a
/// conversation in its cache by its ids.
pub(crate) struct History {
    turns: Mutex<VecDeque<Turn>>,
    most_bytes: usize,
}

struct Turn {
    /// Prompt and answer, without the end of the turn.
    text: String,
    ids: Vec<u32>,
    /// The same ids as a host knows them.
    cipher: Seen,
}

/// Cipher ids that a host of one epoch has seen.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) epoch: u32,
    pub(crate) ids: Vec<u32>,
}

impl Seen {
    /// Those that hosts of this session's epoch have seen.
    pub(crate) fn under(&self, session: &Session) -> &[u32] {
        match self.epoch == session.epoch() {
            true => &self.ids,
            false => &[],
        }
    }
}

/// A text as ids.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Encoded {
    /// Plain ids.
    pub(crate) ids: Vec<u32>,
    /// The cipher ids of those that a host has seen, from the first on.
    pub(crate) known: Seen,
}

impl History {
    pub(crate) fn new(most_bytes: usize) -> Self {
        Self {
            turns: Mutex::default(),
            most_bytes,
        }
    }

    /// Remembers a conversation that ends with an answer.
    pub(crate) fn remember(&self, text: String, ids: Vec<u32>, cipher: Seen) {
        let mut turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
        // The turns before this one are its beginning; they are not needed any longer.
        turns.retain(|turn| !text.starts_with(&turn.text));
        turns.push_back(Turn { text, ids, cipher });
        let mut bytes: usize = turns.iter().map(Turn::bytes).sum();
        while bytes > self.most_bytes
            && let Some(oldest) = turns.pop_front()
        {
            bytes -= oldest.bytes();
        }
    }

    /// The ids of a text, of which the longest remembered beginning keeps its ids.
    pub(crate) fn encode(&self, tokenizer: &Text, text: &str) -> Result<Encoded, Error> {
        let whole = Encoded {
            ids: tokenizer.encode(text)?,
            known: Seen::default(),
        };
        let Some((length, mut ids, known)) = self.beginning(text) else {
            return Ok(whole);
        };
        let Some(rest) = text.get(length..) else {
            return Ok(whole);
        };
        ids.extend(tokenizer.encode(rest)?);
        // Some tokenizers begin a text otherwise than they go on with it: a space more or less.
        let same = tokenizer.decode(&ids, false)? == tokenizer.decode(&whole.ids, false)?;
        Ok(if same { Encoded { ids, known } } else { whole })
    }

    fn beginning(&self, text: &str) -> Option<(usize, Vec<u32>, Seen)> {
        let turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
        let known = turns.iter().filter(|turn| text.starts_with(&turn.text));
        let longest = known.max_by_key(|turn| turn.text.len())?;
        let (ids, cipher) = (longest.ids.clone(), longest.cipher.clone());
        Some((longest.text.len(), ids, cipher))
    }
}

impl Turn {
    fn bytes(&self) -> usize {
        self.text.len() + 4 * (self.ids.len() + self.cipher.ids.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::{END, START, folder};

    fn seen(ids: &[u32]) -> Seen {
        Seen {
            epoch: 0,
            ids: ids.to_vec(),
        }
    }

    #[test]
    fn a_turn_repeats_the_ids_of_the_answers_before_it() {
        let dir = folder();
        let text = Text::open(dir.path()).unwrap();
        let history = History::new(1000);
        // The tokenizer never writes this: bytes with a special token that has no text inside.
        let odd = vec![START, 97, 98];
        history.remember("<|im_start|>ab".into(), odd.clone(), seen(&[7, 8, 9]));
        let next = "<|im_start|>ab<|im_end|>cd";
        assert_eq!(
            history.encode(&text, next).unwrap(),
            Encoded {
                ids: vec![START, 97, 98, END, 99, 100],
                known: seen(&[7, 8, 9])
            }
        );
        // Ids that read as another text are not used.
        history.remember(
            "<|im_start|>ab<|im_end|>x".into(),
            vec![START, 97],
            seen(&[7, 8]),
        );
        let other = "<|im_start|>ab<|im_end|>xy";
        assert_eq!(
            history.encode(&text, other).unwrap(),
            Encoded {
                ids: text.encode(other).unwrap(),
                known: Seen::default()
            }
        );
    }

    #[test]
    fn the_oldest_conversations_are_forgotten() {
        let history = History::new(100);
        for name in ["a", "b", "c"] {
            history.remember(name.repeat(20), vec![1; 5], Seen::default());
        }
        let known = |name: &str| history.beginning(&name.repeat(30)).is_some();
        assert!(!known("a") && known("b") && known("c"));
        history.remember("c".repeat(25), vec![1; 5], Seen::default());
        assert_eq!(
            history.turns.lock().unwrap().len(),
            2,
            "the longer turn replaces the shorter"
        );
        history.remember("d".repeat(200), vec![], Seen::default());
        assert!(!known("d") && !known("c"));
    }
}
