use equicrypt_spec::Manifest;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use crate::homophone_chain::HomophoneChain;
use crate::homophones::Homophones;
use crate::schedule::Schedule;
use crate::{Error, MasterKey};

/// The secret vocabulary: a uniformly random partition of the cipher ids into a class for each plain id, of m_i >= 1
/// homophones each; a bijection where every m_i is 1. All ids take part: special tokens, padding rows, rows that no text uses.
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct Vocabulary {
    plain_of: Vec<u32>,
    /// The classes in the order of their plain ids, each ascending.
    cipher_of: Vec<u32>,
    /// Where each plain id's class begins in `cipher_of`, and the end of the last one.
    begins: Vec<u32>,
    /// What homophones are chosen under.
    choice: [u8; 32],
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

    /// The ids at these places; places outside are left out.
    #[must_use]
    pub fn select(&self, places: &[usize]) -> Self {
        let ids = places.iter().filter_map(|place| self.0.get(*place));
        Self(ids.copied().collect())
    }

    /// The ids.
    #[must_use]
    pub fn as_slice(&self) -> &[u32] {
        &self.0
    }
}

impl Vocabulary {
    /// The vocabulary of `size` ids under this schedule, one for each plain id: row c of the encrypted embedding is row
    /// `plain_of(c)` of the plain one. It is uniform among the bijections that keep the id `kept`, if one must be.
    #[must_use]
    pub fn derive(schedule: &Schedule, size: usize, kept: Option<u32>) -> Self {
        Self::with_homophones(schedule, &Homophones::none(size), kept)
    }

    /// The same with more than one cipher id for some plain ids: uniform among the partitions into classes of these sizes.
    #[must_use]
    pub fn with_homophones(
        schedule: &Schedule,
        homophones: &Homophones,
        kept: Option<u32>,
    ) -> Self {
        let size = homophones.cipher_ids();
        let slots: Zeroizing<Vec<u32>> = Zeroizing::new(homophones.slots().collect());
        let order = Zeroizing::new(schedule.stream("vocab").permutation(size));
        let mut plain_of: Vec<u32> = order.iter().map(|slot| slots[*slot as usize]).collect();
        // The cycle through the kept id is shortened by it: of each bijection that keeps it, `size` others become it.
        if let Some(kept) = kept
            && let Some(place) = plain_of.iter().position(|plain| *plain == kept)
        {
            plain_of.swap(place, kept as usize);
        }
        let plain_size = size - homophones.extra();
        let mut begins = vec![0; plain_size + 1];
        for plain in &plain_of {
            begins[*plain as usize + 1] += 1;
        }
        let mut sum = 0;
        for begin in &mut begins {
            sum += *begin;
            *begin = sum;
        }
        let mut next = Zeroizing::new(begins.clone());
        let mut cipher_of = vec![0; size];
        for (cipher, plain) in (0u32..).zip(&plain_of) {
            let place = &mut next[*plain as usize];
            cipher_of[*place as usize] = cipher;
            *place += 1;
        }
        Self {
            plain_of,
            cipher_of,
            begins,
            choice: schedule.subkey("homophones/choice"),
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
        let homophones = Homophones::open(&schedule, manifest)?;
        Ok(Self::with_homophones(
            &schedule,
            &homophones,
            manifest.kept_id,
        ))
    }

    /// Plain ids of a prompt to cipher ids. Which homophone stands for an id depends on the key and on everything before it, so
    /// that prompts with the same beginning have the same cipher ids there. Fails on an id outside the vocabulary.
    pub fn encrypt(&self, plain: &[u32]) -> Result<CipherIds, Error> {
        self.encrypt_knowing(plain, &[])
    }

    /// The same where the cipher ids of the beginning are known already, because a host generated some of them: those are kept,
    /// up to the first that is not a homophone of what stands there.
    pub fn encrypt_knowing(&self, plain: &[u32], known: &[u32]) -> Result<CipherIds, Error> {
        let mut chain = (self.has_homophones()).then(|| HomophoneChain::new(&self.choice));
        let mut known = known.iter().copied();
        let mut place = |(position, id): (usize, &u32)| {
            let class = self.class(*id).ok_or(Error::IdOutOfRange {
                position,
                count: plain.len(),
                size: self.plain_size(),
            })?;
            if let Some(chain) = &mut chain {
                chain.push(*id);
            }
            if let Some(cipher) = known.next() {
                if class.contains(&cipher) {
                    return Ok(cipher);
                }
                known = [].iter().copied();
            }
            let choice = chain.as_ref().map_or(0, |chain| chain.choose(class.len()));
            Ok(class[choice])
        };
        let cipher = plain.iter().enumerate().map(&mut place);
        Ok(CipherIds(cipher.collect::<Result<_, Error>>()?))
    }

    /// All cipher ids of these plain ids, ascending, so that their order does not tell which belong together. Fails on an id outside the vocabulary.
    pub fn encrypt_to_all(&self, plain: &[u32]) -> Result<CipherIds, Error> {
        let mut all = Vec::with_capacity(plain.len());
        for (position, id) in plain.iter().enumerate() {
            let class = self.class(*id).ok_or(Error::IdOutOfRange {
                position,
                count: plain.len(),
                size: self.plain_size(),
            })?;
            all.extend_from_slice(class);
        }
        all.sort_unstable();
        Ok(CipherIds(all))
    }

    /// Cipher ids to plain ids. Fails on an id outside the vocabulary.
    pub fn decrypt(&self, cipher: &[u32]) -> Result<Vec<u32>, Error> {
        look_up(&self.plain_of, cipher)
    }

    /// How many cipher ids there are.
    #[must_use]
    pub fn size(&self) -> usize {
        self.plain_of.len()
    }

    /// How many plain ids there are.
    #[must_use]
    pub fn plain_size(&self) -> usize {
        self.begins.len() - 1
    }

    /// Whether a plain id has more than one cipher id.
    #[must_use]
    pub fn has_homophones(&self) -> bool {
        self.size() > self.plain_size()
    }

    /// The cipher ids of a plain id, ascending; none outside the vocabulary.
    #[must_use]
    pub fn class(&self, plain: u32) -> Option<&[u32]> {
        let begin = *self.begins.get(plain as usize)? as usize;
        let end = *self.begins.get(plain as usize + 1)? as usize;
        self.cipher_of.get(begin..end)
    }

    /// The classes of more than one cipher id, each with its plain id.
    pub fn homophonic_classes(&self) -> impl Iterator<Item = (u32, &[u32])> {
        let ids = 0u32..self.plain_size() as u32;
        let classes = ids.filter_map(|id| Some((id, self.class(id)?)));
        classes.filter(|(_, class)| class.len() > 1)
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
