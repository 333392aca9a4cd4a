use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{ChaCha20Poly1305, Key, Nonce};
use equicrypt_spec::{Manifest, ModelConfig};
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use crate::schedule::{Schedule, expand};
use crate::{Error, MasterKey};

/// How many cipher ids each plain id has: m_i >= 1, of which m_i - 1 are extra. Secret: which plain ids are frequent is half of a
/// frequency attack.
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct Homophones {
    plain_ids: usize,
    /// The plain id of each extra cipher id, ascending.
    extra: Vec<u32>,
}

/// How extra cipher ids are given out, by how frequent the plain ids are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Allocation {
    /// m_i - 1 proportional to p_i: frequent ids become alike, rare ones stay as they are. It is nearest to what minimises
    /// `sum p_i^2 / m_i`, the chance that two cipher ids of a text are equal.
    Proportional,
    /// m_i - 1 proportional to sqrt(p_i): fewer for the most frequent ids, and some for more of the others.
    SquareRoot,
}

impl Homophones {
    /// One cipher id for each of `plain_ids` plain ids.
    #[must_use]
    pub fn none(plain_ids: usize) -> Self {
        Self {
            plain_ids,
            extra: Vec::new(),
        }
    }

    /// Exactly `extra` extra cipher ids, by the largest remainder: id i gets the whole part of its share of them, and those
    /// that are left go to the largest fractions, the lower id first. `weights[i]` is how frequent plain id i is, in any unit;
    /// an id of weight 0 gets none. `kept`, the one id that must stay itself, gets none either.
    ///
    /// # Errors
    /// If a weight is negative or no number, if there are extra ids and nothing to give them to, or too many.
    pub fn allocate(
        weights: &[f64],
        kept: Option<u32>,
        extra: usize,
        allocation: Allocation,
    ) -> Result<Self, Error> {
        let refuse = |reason: String| Err(Error::Homophones { reason });
        if extra == 0 {
            return Ok(Self::none(weights.len()));
        }
        if extra > MOST_EXTRA {
            return refuse(format!("expected at most {MOST_EXTRA}, found {extra}"));
        }
        if !weights
            .iter()
            .all(|weight| weight.is_finite() && *weight >= 0.0)
        {
            return refuse("frequencies must be finite and not negative".to_owned());
        }
        let share = |(id, weight): (usize, &f64)| match allocation {
            _ if kept == u32::try_from(id).ok() => 0.0,
            Allocation::Proportional => *weight,
            Allocation::SquareRoot => weight.sqrt(),
        };
        let shares: Vec<f64> = weights.iter().enumerate().map(share).collect();
        let all: f64 = shares.iter().sum();
        if !(all.is_finite() && all > 0.0) {
            return refuse(
                "no token of this vocabulary occurs in the text; give another with --homophones-text".to_owned(),
            );
        }
        let mut counts = vec![0; shares.len()];
        let mut fractions = Vec::with_capacity(shares.len());
        let mut left = extra;
        for (id, share) in shares.iter().enumerate().filter(|(_, share)| **share > 0.0) {
            let exact = share / all * extra as f64;
            let whole = (exact.floor() as usize).min(left);
            counts[id] = whole;
            left -= whole;
            fractions.push((exact - exact.floor(), id));
        }
        fractions.sort_by(|(a, i), (b, j)| b.total_cmp(a).then(i.cmp(j)));
        for (_, id) in fractions.iter().cycle().take(left) {
            counts[*id] += 1;
        }
        let ids = (0u32..).zip(counts);
        Ok(Self {
            plain_ids: weights.len(),
            extra: ids.flat_map(|(id, n)| std::iter::repeat_n(id, n)).collect(),
        })
    }

    /// m_i of each plain id, for a judge and for attackers who apply the public rule to text of their own.
    #[must_use]
    pub fn per_plain_id(&self) -> Vec<u32> {
        let mut counts = vec![1; self.plain_ids];
        for id in &self.extra {
            counts[*id as usize] += 1;
        }
        counts
    }

    /// How many extra cipher ids there are.
    #[must_use]
    pub fn extra(&self) -> usize {
        self.extra.len()
    }

    /// How many cipher ids belong to plain ids that have more than one: those that sampling needs a bias for.
    #[must_use]
    pub fn biased(&self) -> usize {
        let mut ids = self.extra.clone();
        ids.dedup();
        self.extra.len() + ids.len()
    }

    /// n + N.
    pub(crate) fn cipher_ids(&self) -> usize {
        self.plain_ids + self.extra.len()
    }

    /// The plain id of each cipher id, before these are put into their secret order.
    pub(crate) fn slots(&self) -> impl Iterator<Item = u32> {
        (0u32..)
            .take(self.plain_ids)
            .chain(self.extra.iter().copied())
    }

    /// Fails unless these are of a model with this configuration.
    pub(crate) fn fit(&self, source: &ModelConfig) -> Result<(), Error> {
        let refuse = |reason: String| Err(Error::Homophones { reason });
        if self.plain_ids != source.vocab_size {
            let (found, expected) = (self.plain_ids, source.vocab_size);
            return refuse(format!(
                "expected frequencies of {expected} ids, found {found}"
            ));
        }
        if (source.uncounted_id()).is_some_and(|kept| self.extra.contains(&kept)) {
            return refuse("the id that must stay itself cannot have homophones".to_owned());
        }
        Ok(())
    }

    /// `homophone_table`: base64 of nonce || ChaCha20-Poly1305(subkey("homophones/table"), nonce, the plain ids of all extra
    /// cipher ids, ascending, 4 bytes each, little-endian), which says no more than how many there are. The nonce is a keyed hash of
    /// what is sealed, so that nothing is sealed twice in two ways and no nonce is used for two tables. None if there are none.
    pub fn seal(&self, schedule: &Schedule, manifest: &Manifest) -> Result<Option<String>, Error> {
        if self.extra.is_empty() {
            return Ok(None);
        }
        let table: Vec<u8> = self.extra.iter().flat_map(|id| id.to_le_bytes()).collect();
        let table = Zeroizing::new(table);
        let about = about(manifest);
        let mut nonce = [0; NONCE];
        let subkey = Zeroizing::new(schedule.subkey("homophones/nonce"));
        expand(
            &subkey,
            &[],
            &[about.as_bytes(), &table].concat(),
            &mut nonce,
        );
        let payload = Payload {
            msg: &table,
            aad: about.as_bytes(),
        };
        let sealed = cipher(schedule).encrypt(Nonce::from_slice(&nonce), payload);
        let sealed = sealed.map_err(|_| Error::HomophoneTable {
            problem: "it is too long to be sealed",
        })?;
        Ok(Some(STANDARD.encode([&nonce[..], &sealed].concat())))
    }

    /// Those of an encrypted model, under the owner's key.
    ///
    /// # Errors
    /// As [`Homophones::open`].
    pub fn of(key: &MasterKey, manifest: &Manifest) -> Result<Self, Error> {
        let schedule = Schedule::new(key, &manifest.fingerprint()?, manifest.epoch);
        Self::open(&schedule, manifest)
    }

    /// Those of an encrypted model, from its manifest. Fails if the table is not there, or was not sealed under this schedule
    /// for this manifest.
    pub fn open(schedule: &Schedule, manifest: &Manifest) -> Result<Self, Error> {
        let refuse = |problem| Err(Error::HomophoneTable { problem });
        let (plain_ids, extra) = (manifest.plain_vocab_size, manifest.homophones());
        let sealed = match &manifest.homophone_table {
            None if extra == 0 => return Ok(Self::none(plain_ids)),
            None => return refuse("it is missing, and vocab_size is above plain_vocab_size"),
            Some(_) if extra == 0 || extra > MOST_EXTRA => {
                return refuse("vocab_size is no vocabulary with homophones");
            }
            Some(sealed) => sealed,
        };
        if sealed.len() != (NONCE + 4 * extra + TAG).div_ceil(3) * 4 {
            return refuse("expected 4 bytes for each homophone, found another length");
        }
        let Ok(sealed) = STANDARD.decode(sealed) else {
            return refuse("expected base64, found something else");
        };
        let Some((nonce, sealed)) = sealed.split_at_checked(NONCE) else {
            return refuse("expected a nonce, found less");
        };
        let about = about(manifest);
        let payload = Payload {
            msg: sealed,
            aad: about.as_bytes(),
        };
        let Ok(table) = cipher(schedule).decrypt(Nonce::from_slice(nonce), payload) else {
            return refuse("it was not sealed under this key for this manifest");
        };
        let table = Zeroizing::new(table);
        let id = |bytes: &[u8]| {
            bytes
                .iter()
                .rev()
                .fold(0, |id, byte| id << 8 | u32::from(*byte))
        };
        let ids: Vec<u32> = table.chunks_exact(4).map(id).collect();
        if ids.len() != extra || ids.iter().any(|id| *id as usize >= plain_ids) {
            return refuse("it names ids that the model does not have");
        }
        Ok(Self {
            plain_ids,
            extra: ids,
        })
    }
}

fn cipher(schedule: &Schedule) -> ChaCha20Poly1305 {
    let subkey = Zeroizing::new(schedule.subkey("homophones/table"));
    ChaCha20Poly1305::new(Key::from_slice(subkey.as_slice()))
}

/// What the table is bound to: every field of the manifest that the vocabulary depends on.
fn about(manifest: &Manifest) -> String {
    let kept = manifest
        .kept_id
        .map_or("none".to_owned(), |id| id.to_string());
    format!(
        "equicrypt homophones v1\n{}\n{}\n{}\n{}\n{}\n{kept}\n",
        manifest.key_id,
        manifest.epoch,
        manifest.source_fingerprint,
        manifest.plain_vocab_size,
        manifest.vocab_size,
    )
}

const NONCE: usize = 12;
const TAG: usize = 16;

/// As many as an owner who is sent a manifest believes in.
const MOST_EXTRA: usize = 1 << 20;

#[cfg(test)]
mod tests;
