use std::ops::Range;
use std::sync::{Mutex, PoisonError};

use equicrypt_spec::ModelConfig;

use super::text::Text;
use crate::kernel::Real;

/// The tokens of several texts, one after the other.
pub(super) struct Batch {
    pub(super) places: Vec<Place>,
    /// Tokens of each text.
    pub(super) lengths: Vec<usize>,
}

/// A token, and where it stands.
pub(super) struct Place {
    pub(super) id: u32,
    /// Which of two texts it belongs to.
    pub(super) kind: u32,
    /// Among the text's tokens.
    pub(super) offset: usize,
    /// For the embedding of positions.
    pub(super) position: usize,
    /// The text's tokens among all.
    pub(super) text: Range<usize>,
}

impl Batch {
    pub(super) fn new(config: &ModelConfig, texts: &[Text<'_>]) -> Self {
        let lengths: Vec<usize> = texts.iter().map(|text| text.tokens.len()).collect();
        let mut places = Vec::with_capacity(lengths.iter().sum());
        for text in texts {
            let range = places.len()..places.len() + text.tokens.len();
            let positions = positions(config, text.tokens);
            for ((offset, id), position) in text.tokens.iter().enumerate().zip(positions) {
                places.push(Place {
                    id: *id,
                    kind: text.token_types.get(offset).copied().unwrap_or(0),
                    offset,
                    position,
                    text: range.clone(),
                });
            }
        }
        Self { places, lengths }
    }

    /// Tokens of the longest text.
    pub(super) fn longest(&self) -> usize {
        self.lengths.iter().copied().max().unwrap_or(0)
    }
}

/// Memory that threads use in turn.
pub(super) struct Rooms<T>(Mutex<Vec<Room<T>>>);

/// Two lists of numbers, which are arbitrary when they are asked for in another length.
pub(super) struct Room<T> {
    first: Vec<T>,
    second: Vec<T>,
}

impl<T> Default for Rooms<T> {
    fn default() -> Self {
        Self(Mutex::new(Vec::new()))
    }
}

impl<T> Rooms<T> {
    pub(super) fn take(&self) -> Room<T> {
        let mut rooms = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        rooms.pop().unwrap_or(Room {
            first: Vec::new(),
            second: Vec::new(),
        })
    }

    pub(super) fn give_back(&self, room: Room<T>) {
        let mut rooms = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        rooms.push(room);
    }
}

impl<T: Real> Room<T> {
    pub(super) fn first(&mut self, len: usize) -> &mut [T] {
        self.both(len, 0).0
    }

    pub(super) fn both(&mut self, first: usize, second: usize) -> (&mut [T], &mut [T]) {
        for (list, len) in [(&mut self.first, first), (&mut self.second, second)] {
            if list.len() < len {
                list.resize(len, T::zero());
            }
        }
        (&mut self.first[..first], &mut self.second[..second])
    }
}

/// The positions of a text's tokens. An id that is not counted has its own.
fn positions(config: &ModelConfig, tokens: &[u32]) -> Vec<usize> {
    let uncounted = config.uncounted_id();
    let mut next = config.first_position;
    let mut place = |id: &u32| {
        if uncounted == Some(*id) {
            return config.first_position - 1;
        }
        next += 1;
        next - 1
    };
    tokens.iter().map(&mut place).collect()
}
