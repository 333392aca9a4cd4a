use equicrypt_spec::Manifest;
use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::schedule::Schedule;
use crate::{Error, MasterKey};

/// The secret vocabulary: a uniformly random bijection between plain ids and cipher ids. All ids take part: special tokens,
/// padding rows, rows that no text uses.
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct Vocabulary {
    plain_of: Vec<u32>,
    cipher_of: Vec<u32>,
}

/// Ids that a host may see. What sends ids takes this type, so that plain ones cannot be sent by mistake.
pub struct CipherIds(Vec<u32>);

impl CipherIds {
    /// Declares plain ids fit to be seen. Uses of this function should explain why: the one reason is a comparison with
    /// the plain model, on a text that is no secret.
    #[must_use]
    pub fn of_public_text(plain: Vec<u32>) -> Self {
        Self(plain)
    }

    /// No ids.
    #[must_use]
    pub fn none() -> Self {
        Self(Vec::new())
    }

    /// The ids.
    #[must_use]
    pub fn as_slice(&self) -> &[u32] {
        &self.0
    }
}

impl Vocabulary {
    /// The vocabulary of `size` ids under this schedule: row c of the encrypted embedding is row `plain_of(c)` of the
    /// plain one. It is uniform among the bijections that keep the id `kept`, if one must be.
    #[must_use]
    pub fn derive(schedule: &Schedule, size: usize, kept: Option<u32>) -> Self {
        let mut plain_of = schedule.stream("vocab").permutation(size);
        // The cycle through the kept id is shortened by it: of each bijection that keeps it, `size` others become it.
        if let Some(kept) = kept
            && let Some(place) = plain_of.iter().position(|plain| *plain == kept)
        {
            plain_of.swap(place, kept as usize);
        }
        let mut cipher_of = vec![0; size];
        for (cipher, plain) in plain_of.iter().enumerate() {
            cipher_of[*plain as usize] = cipher as u32;
        }
        Self {
            plain_of,
            cipher_of,
        }
    }

    /// The vocabulary of an encrypted model, from its manifest. Fails if the key is not the one that encrypted it.
    pub fn open(key: &MasterKey, manifest: &Manifest) -> Result<Self, Error> {
        let found = key.id();
        if found != manifest.key_id {
            return Err(Error::WrongKey {
                expected: manifest.key_id,
                found,
            });
        }
        let schedule = Schedule::new(key, &manifest.fingerprint()?, manifest.epoch);
        Ok(Self::derive(
            &schedule,
            manifest.vocab_size,
            manifest.kept_id,
        ))
    }

    /// Plain ids to cipher ids. Fails on an id outside the vocabulary.
    pub fn encrypt(&self, plain: &[u32]) -> Result<CipherIds, Error> {
        look_up(&self.cipher_of, plain).map(CipherIds)
    }

    /// Cipher ids to plain ids. Fails on an id outside the vocabulary.
    pub fn decrypt(&self, cipher: &[u32]) -> Result<Vec<u32>, Error> {
        look_up(&self.plain_of, cipher)
    }

    /// How many ids there are.
    #[must_use]
    pub fn size(&self) -> usize {
        self.plain_of.len()
    }

    /// The plain row behind each row of the encrypted embedding.
    pub(crate) fn rows(&self) -> &[u32] {
        &self.plain_of
    }
}

fn look_up(table: &[u32], ids: &[u32]) -> Result<Vec<u32>, Error> {
    ids.iter()
        .enumerate()
        .map(|(position, id)| {
            table.get(*id as usize).copied().ok_or(Error::IdOutOfRange {
                position,
                count: ids.len(),
                size: table.len(),
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn vocabulary(byte: u8, fingerprint: u8, epoch: u32, size: usize) -> Vocabulary {
        let key = MasterKey::from_bytes([byte; 32]);
        Vocabulary::derive(&Schedule::new(&key, &[fingerprint; 32], epoch), size, None)
    }

    proptest! {
        #[test]
        fn decrypting_undoes_encrypting(byte: u8, size in 1usize..500) {
            let vocabulary = vocabulary(byte, 0, 0, size);
            let ids: Vec<u32> = (0..size as u32).collect();
            let cipher = vocabulary.encrypt(&ids).unwrap();
            prop_assert_eq!(vocabulary.decrypt(cipher.as_slice()).unwrap(), ids);
        }
    }

    #[test]
    fn a_kept_id_is_kept_and_every_other_may_move() {
        let size = 5;
        let mut seen = std::collections::BTreeMap::new();
        for byte in 0..=255 {
            let key = MasterKey::from_bytes([byte; 32]);
            for epoch in 0..8 {
                let schedule = Schedule::new(&key, &[0; 32], epoch);
                let rows = Vocabulary::derive(&schedule, size, Some(3)).rows().to_vec();
                assert_eq!(rows[3], 3);
                *seen.entry(rows).or_insert(0) += 1;
            }
        }
        assert_eq!(seen.len(), 24);
        assert!(
            seen.values().all(|count| (45..130).contains(count)),
            "{seen:?}"
        );
    }

    #[test]
    fn key_model_and_epoch_each_give_another_vocabulary() {
        let all =
            [(1, 1, 0), (2, 1, 0), (1, 2, 0), (1, 1, 1)].map(|(k, f, e)| vocabulary(k, f, e, 1000));
        for (i, a) in all.iter().enumerate() {
            for b in &all[..i] {
                let same = a
                    .rows()
                    .iter()
                    .zip(b.rows())
                    .filter(|(a, b)| a == b)
                    .count();
                assert!(same < 10, "{same} of 1000 ids equal");
            }
        }
    }

    #[test]
    fn ids_outside_are_refused_without_naming_them() {
        let error = vocabulary(1, 1, 0, 10)
            .encrypt(&[3, 77_777])
            .err()
            .unwrap()
            .to_string();
        assert!(
            error.contains("token 1 of 2") && !error.contains("77777"),
            "{error}"
        );
    }
}
