use equicrypt_cipher::Vocabulary;
use serde_json::{Value, json};
use zeroize::Zeroizing;

use crate::Error;

/// The cipher id of every plain id.
pub(super) struct Ids(Zeroizing<Vec<u32>>);

impl Ids {
    /// Of a vocabulary in which each plain id has one cipher id.
    pub(super) fn new(vocabulary: &Vocabulary) -> Result<Self, Error> {
        let plain: Vec<u32> = (0u32..).take(vocabulary.size()).collect();
        let cipher = vocabulary.encrypt(&plain)?;
        Ok(Self(Zeroizing::new(cipher.as_slice().to_vec())))
    }

    /// How many there are.
    pub(super) fn count(&self) -> usize {
        self.0.len()
    }

    /// None outside the vocabulary.
    pub(super) fn of(&self, plain: u32) -> Option<u32> {
        self.0.get(plain as usize).copied()
    }

    /// The same of an id in a JSON file.
    pub(super) fn of_json(&self, plain: &Value) -> Option<u32> {
        self.of(u32::try_from(plain.as_u64()?).ok()?)
    }

    /// Replaces an id of a JSON file, or every id of a list; false if it is something else.
    pub(super) fn replace(&self, place: &mut Value) -> bool {
        if let Value::Array(list) = place {
            return list.iter_mut().all(|item| self.replace(item));
        }
        match self.of_json(place) {
            Some(cipher) => *place = json!(cipher),
            None => return false,
        }
        true
    }
}
