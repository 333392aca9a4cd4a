//! Who knows the truth, and marks the guesses.

use std::collections::{HashMap, HashSet};

use equicrypt_cipher::{MasterKey, Schedule, Vocabulary};
use zeroize::Zeroizing;

use crate::Error;
use crate::evidence::{Guesses, Pair};

/// The secret vocabulary of one encrypted copy, for marking guesses and for handing out known plaintext. No attack can take one.
pub struct Truth {
    plain_of: Zeroizing<Vec<u32>>,
    /// Of several homophones the first.
    cipher_of: Zeroizing<Vec<u32>>,
}

impl Truth {
    /// Of a model of ours.
    ///
    /// # Errors
    /// Never for a vocabulary that is one.
    pub fn of(vocabulary: &Vocabulary) -> Result<Self, Error> {
        let all: Vec<u32> = (0u32..).take(vocabulary.size()).collect();
        Ok(Self::of_rows(vocabulary.decrypt(&all)?))
    }

    /// Row c of the encrypted embedding is plain row `plain_of[c]`.
    #[must_use]
    pub fn of_rows(plain_of: Vec<u32>) -> Self {
        let plain_ids = plain_of.iter().max().map_or(0, |most| *most as usize + 1);
        let mut cipher_of = vec![0; plain_ids];
        for (cipher, plain) in plain_of.iter().enumerate().rev() {
            cipher_of[*plain as usize] = cipher as u32;
        }
        Self {
            plain_of: Zeroizing::new(plain_of),
            cipher_of: Zeroizing::new(cipher_of),
        }
    }

    /// Of a copy in which nothing is encrypted but the ids.
    pub(crate) fn of_control(tokens: usize) -> Result<Self, Error> {
        let schedule = Schedule::new(&MasterKey::from_bytes([0; 32]), &[0; 32], 0);
        Self::of(&Vocabulary::derive(&schedule, tokens, None))
    }

    pub(crate) fn rows(&self) -> &[u32] {
        &self.plain_of
    }

    pub(crate) fn encrypt(&self, plain: &[u32]) -> Vec<u32> {
        let cipher = plain
            .iter()
            .filter_map(|id| self.cipher_of.get(*id as usize));
        cipher.copied().collect()
    }

    fn tokens(&self) -> usize {
        self.plain_of.len()
    }

    fn plain_ids(&self) -> usize {
        self.cipher_of.len()
    }

    fn pair(&self, cipher: u32) -> Pair {
        let plain = self.plain_of[cipher as usize];
        Pair { cipher, plain }
    }
}

/// What is asked of an attack on one copy.
pub(crate) struct Exam<'a> {
    truth: &'a Truth,
    /// Cipher ids.
    pub(crate) asked: Vec<u32>,
    /// Plain ids among which all answers are.
    pub(crate) choices: Vec<u32>,
    /// Which of those asked stand for all types.
    types: HashSet<u32>,
    special: HashSet<u32>,
    /// How often each of those asked occurs in the held-out text.
    occurrences: HashMap<u32, usize>,
}

/// Shares of right guesses.
#[derive(Clone, Copy)]
pub(crate) struct Mark {
    pub(crate) types: f64,
    pub(crate) occurrences: f64,
    pub(crate) special: Option<f64>,
}

impl<'a> Exam<'a> {
    /// On all types of the held-out `text`, on `special` tokens, and on a sample of all types. Cipher ids are in random order, so
    /// evenly spread ones are a random sample; the first ones are for [`Exam::known`].
    pub(crate) fn new(truth: &'a Truth, text: &[u32], special: &[u32]) -> Self {
        let special: HashSet<u32> = truth.encrypt(special).into_iter().collect();
        let mut occurrences = HashMap::new();
        for cipher in truth.encrypt(text) {
            if !special.contains(&cipher) {
                *occurrences.entry(cipher).or_insert(0) += 1;
            }
        }
        let from = most_known(truth.tokens());
        let step = (truth.tokens() - from).div_ceil(SAMPLE).max(1);
        let sample = (from as u32..truth.tokens() as u32).step_by(step);
        let types: HashSet<u32> = sample.filter(|id| !special.contains(id)).collect();
        let all: HashSet<u32> = types
            .iter()
            .chain(&special)
            .chain(occurrences.keys())
            .copied()
            .collect();
        let mut asked: Vec<u32> = all.into_iter().collect();
        asked.sort_unstable();
        Self {
            truth,
            asked,
            choices: Vec::new(),
            types,
            special,
            occurrences,
        }
    }

    /// On a few hundred types, with a few thousand choices, the same under every key: the most frequent types of the text, and
    /// plain ids evenly spread.
    pub(crate) fn with_choices(mut self) -> Self {
        let tokens = self.truth.plain_ids();
        let spread = |count: usize| (0..tokens as u32).step_by(tokens.div_ceil(count).max(1));
        let is_special = |cipher: &u32| self.special.contains(cipher);
        let sample = self.truth.encrypt(&spread(CHOSEN).collect::<Vec<_>>());
        self.types = sample.into_iter().filter(|id| !is_special(id)).collect();

        let plain = |cipher: &u32| self.truth.pair(*cipher).plain;
        let mut frequent: Vec<(usize, u32, u32)> = (self.occurrences.iter())
            .map(|(cipher, count)| (*count, plain(cipher), *cipher))
            .collect();
        frequent.sort_unstable_by(|a, b| b.cmp(a));
        frequent.truncate(CHOSEN);
        self.occurrences = frequent
            .into_iter()
            .map(|(n, _, cipher)| (cipher, n))
            .collect();

        let all = self.types.iter().chain(self.occurrences.keys());
        let all: HashSet<u32> = all.copied().collect();
        self.special.clear();
        let asked = all.iter().map(|cipher| self.truth.pair(*cipher).plain);
        let choices: HashSet<u32> = asked
            .chain(spread(CHOICES - all.len().min(CHOICES)))
            .collect();
        self.choices = choices.into_iter().collect();
        self.choices.sort_unstable();
        self.asked = all.into_iter().collect();
        self.asked.sort_unstable();
        self
    }

    /// `count` pairs that an adversary knows, or fewer if the vocabulary is small: types at random, none of them asked for as a
    /// type.
    pub(crate) fn known(&self, count: usize) -> Vec<Pair> {
        let ids =
            (0..most_known(self.truth.tokens()) as u32).filter(|id| !self.special.contains(id));
        ids.take(count).map(|id| self.truth.pair(id)).collect()
    }

    /// The pairs that a text gives away.
    pub(crate) fn pairs_of(&self, text: &[u32]) -> Vec<Pair> {
        let cipher = self.truth.encrypt(text).into_iter();
        cipher.map(|id| self.truth.pair(id)).collect()
    }

    /// Marks the guesses for [`Exam::asked`]; what was known before does not count.
    pub(crate) fn mark(&self, guesses: &Guesses, known: &[Pair]) -> Mark {
        let known: HashSet<u32> = known.iter().map(|pair| pair.cipher).collect();
        let (mut types, mut special) = (Share::default(), Share::default());
        let mut occurrences = Share::default();
        for (cipher, guess) in self.asked.iter().zip(guesses) {
            if known.contains(cipher) {
                continue;
            }
            let right = self.truth.pair(*cipher).plain == *guess;
            if self.types.contains(cipher) {
                types.add(right, 1);
            }
            if self.special.contains(cipher) {
                special.add(right, 1);
            }
            if let Some(count) = self.occurrences.get(cipher) {
                occurrences.add(right, *count);
            }
        }
        Mark {
            types: types.share(),
            occurrences: occurrences.share(),
            special: (special.all > 0).then(|| special.share()),
        }
    }
}

/// Right ones of all.
#[derive(Default)]
pub(crate) struct Share {
    right: usize,
    all: usize,
}

impl Share {
    pub(crate) fn add(&mut self, right: bool, count: usize) {
        self.all += count;
        self.right += if right { count } else { 0 };
    }

    pub(crate) fn share(&self) -> f64 {
        self.right as f64 / self.all.max(1) as f64
    }
}

fn most_known(tokens: usize) -> usize {
    MOST_KNOWN.min(tokens / 2)
}

/// Types in the sample: a share of one half is then off by 0.8 points, one standard deviation.
const SAMPLE: usize = 4096;
/// Known pairs, at most.
const MOST_KNOWN: usize = 2048;
/// Frequent types, and types of the sample, of an exam with choices.
const CHOSEN: usize = 300;
/// How many choices, as many as there are of 3,000.
pub(crate) const CHOICES: usize = 3000;
