use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use crate::{Error, Text};

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
}

impl History {
    pub(crate) fn new(most_bytes: usize) -> Self {
        Self {
            turns: Mutex::default(),
            most_bytes,
        }
    }

    /// Remembers a conversation that ends with an answer.
    pub(crate) fn remember(&self, text: String, ids: Vec<u32>) {
        let mut turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
        // The turns before this one are its beginning; they are not needed any longer.
        turns.retain(|turn| !text.starts_with(&turn.text));
        turns.push_back(Turn { text, ids });
        let mut bytes: usize = turns.iter().map(Turn::bytes).sum();
        while bytes > self.most_bytes
            && let Some(oldest) = turns.pop_front()
        {
            bytes -= oldest.bytes();
        }
    }

    /// The ids of a text, of which the longest remembered beginning keeps its ids.
    pub(crate) fn encode(&self, tokenizer: &Text, text: &str) -> Result<Vec<u32>, Error> {
        let whole = tokenizer.encode(text)?;
        let Some((length, mut ids)) = self.beginning(text) else {
            return Ok(whole);
        };
        let Some(rest) = text.get(length..) else {
            return Ok(whole);
        };
        ids.extend(tokenizer.encode(rest)?);
        // Some tokenizers begin a text otherwise than they go on with it: a space more or less.
        let same = tokenizer.decode(&ids, false)? == tokenizer.decode(&whole, false)?;
        Ok(if same { ids } else { whole })
    }

    fn beginning(&self, text: &str) -> Option<(usize, Vec<u32>)> {
        let turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
        let known = turns.iter().filter(|turn| text.starts_with(&turn.text));
        let longest = known.max_by_key(|turn| turn.text.len())?;
        Some((longest.text.len(), longest.ids.clone()))
    }
}

impl Turn {
    fn bytes(&self) -> usize {
        self.text.len() + 4 * self.ids.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::{END, START, folder};

    #[test]
    fn a_turn_repeats_the_ids_of_the_answers_before_it() {
        let dir = folder();
        let text = Text::open(dir.path()).unwrap();
        let history = History::new(1000);
        // The tokenizer never writes this: bytes with a special token that has no text inside.
        let odd = vec![START, 97, 98];
        history.remember("<|im_start|>ab".into(), odd.clone());
        let next = "<|im_start|>ab<|im_end|>cd";
        assert_eq!(
            history.encode(&text, next).unwrap(),
            [START, 97, 98, END, 99, 100]
        );
        // Ids that read as another text are not used.
        history.remember("<|im_start|>ab<|im_end|>x".into(), vec![START, 97]);
        let other = "<|im_start|>ab<|im_end|>xy";
        assert_eq!(
            history.encode(&text, other).unwrap(),
            text.encode(other).unwrap()
        );
    }

    #[test]
    fn the_oldest_conversations_are_forgotten() {
        let history = History::new(100);
        for name in ["a", "b", "c"] {
            history.remember(name.repeat(20), vec![1; 5]);
        }
        let known = |name: &str| history.beginning(&name.repeat(30)).is_some();
        assert!(!known("a") && known("b") && known("c"));
        history.remember("c".repeat(25), vec![1; 5]);
        assert_eq!(
            history.turns.lock().unwrap().len(),
            2,
            "the longer turn replaces the shorter"
        );
        history.remember("d".repeat(200), vec![]);
        assert!(!known("d") && !known("c"));
    }
}
