//! A secret code for the judge: what the owner's vocabulary does to text.

use zeroize::Zeroizing;

use super::corpus::Corpus;
use crate::Error;
use equicrypt_cipher::{MasterKey, Schedule, Vocabulary};

/// Cipher ids in secret order, `homophones[i]` of them for plain id i. Which homophone stands for an occurrence depends on
/// nothing that repeats.
pub struct SecretCode {
    /// The plain id of each cipher id.
    plain_of: Zeroizing<Vec<u32>>,
    /// The cipher ids of each plain id.
    classes: Zeroizing<Vec<Vec<u32>>>,
}

impl SecretCode {
    /// Under the key of this number.
    ///
    /// # Errors
    /// Never for a vocabulary that is one.
    pub fn new(homophones: &[u32], key: u8) -> Result<Self, Error> {
        let slots: Vec<u32> = (0u32..)
            .zip(homophones)
            .flat_map(|(id, count)| std::iter::repeat_n(id, *count as usize))
            .collect();
        let schedule = Schedule::new(&MasterKey::from_bytes([key; 32]), &[1; 32], 0);
        let all: Vec<u32> = (0u32..).take(slots.len()).collect();
        let order = Vocabulary::derive(&schedule, slots.len(), None).decrypt(&all)?;
        let plain_of: Vec<u32> = order.iter().map(|slot| slots[*slot as usize]).collect();
        let mut classes = vec![Vec::new(); homophones.len()];
        for (cipher, plain) in (0u32..).zip(&plain_of) {
            classes[*plain as usize].push(cipher);
        }
        Ok(Self {
            plain_of: Zeroizing::new(plain_of),
            classes: Zeroizing::new(classes),
        })
    }

    /// How many cipher ids there are.
    #[must_use]
    pub fn cipher_ids(&self) -> usize {
        self.plain_of.len()
    }

    /// Text as the log reader sees it. Ids outside the vocabulary are left out.
    #[must_use]
    pub fn encrypt(&self, text: &Corpus) -> Corpus {
        let mut state = 0x9E37_79B9_7F4A_7C15u64;
        let mut out = Corpus::default();
        for message in text.messages() {
            let ids = message.iter().filter_map(|plain| {
                let class = self.classes.get(*plain as usize)?;
                // xorshift64*: uniform enough to choose with, and the same each time.
                state ^= state >> 12;
                state ^= state << 25;
                state ^= state >> 27;
                let random = state.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 32;
                class.get((random as usize * class.len()) >> 32).copied()
            });
            out.push(&ids.collect::<Vec<_>>());
        }
        out
    }

    /// The plain id of each cipher id.
    pub(super) fn plain_of(&self) -> &[u32] {
        &self.plain_of
    }
}
