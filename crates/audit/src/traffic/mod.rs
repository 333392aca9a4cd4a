//! The log reader: attacks on cipher ids alone, from statistics of text that the attacker knows.

mod align;
mod allocation;
mod assign;
mod audit;
mod bigrams;
mod code;
mod contest;
mod contexts;
mod cooccurrence;
mod coordinates;
mod corpus;
mod fluency;
mod frequency;
mod judge;
mod lanes;
mod language;
mod oracle;
mod side;
mod template;
#[cfg(test)]
mod tests;

pub use audit::{LogAudit, LogDefence};
pub use code::SecretCode;
pub use corpus::Corpus;
pub use equicrypt_cipher::Allocation;

pub use language::Language;

use std::sync::OnceLock;

use self::coordinates::Coordinates;
use self::fluency::Pairs;
use crate::Error;
use crate::evidence::Guesses;
pub use crate::evidence::Pair;

/// What a log reader holds.
pub struct Log<'a> {
    /// Cipher ids, message by message.
    pub traffic: &'a Corpus,
    /// How many cipher ids there are.
    pub cipher_ids: usize,
    /// Cipher ids that are known for certain, such as those of a chat template.
    pub known: &'a [Pair],
}

/// What a log reader knows of the language.
pub struct Prior<'a> {
    /// Plain text of a kind that the attacker takes for like the owner's.
    pub text: &'a Corpus,
    /// How many homophones each plain id has, by the public rule applied to that text.
    pub homophones: &'a [u32],
    /// A language model over the plain ids.
    pub language: Option<&'a dyn Language>,
    studied: Studied,
}

/// What is made of the text alone, once.
#[derive(Default)]
struct Studied {
    coordinates: OnceLock<Option<Coordinates>>,
    pairs: OnceLock<Pairs>,
}

impl<'a> Prior<'a> {
    /// Of a text, and how many homophones each plain id has by the public rule applied to it.
    #[must_use]
    pub fn new(
        text: &'a Corpus,
        homophones: &'a [u32],
        language: Option<&'a dyn Language>,
    ) -> Self {
        Self {
            text,
            homophones,
            language,
            studied: Studied::default(),
        }
    }

    fn coordinates(&self) -> Option<&Coordinates> {
        let of_text = || Coordinates::of(self.text, self.homophones);
        self.studied.coordinates.get_or_init(of_text).as_ref()
    }

    fn pairs(&self) -> &Pairs {
        let of_text = || Pairs::of(self.text, self.homophones.len());
        self.studied.pairs.get_or_init(of_text)
    }
}

/// An attack on a log: for each cipher id the plain id that it is taken for.
pub type LogAttack = fn(&Prior<'_>, &Log<'_>) -> Result<Guesses, Error>;

/// Matching by rank of frequency.
///
/// # Errors
/// None.
pub fn frequency(prior: &Prior<'_>, log: &Log<'_>) -> Result<Guesses, Error> {
    Ok(frequency::attack(prior, log))
}

/// Matching by neighbours.
///
/// # Errors
/// None.
pub fn cooccurrence(prior: &Prior<'_>, log: &Log<'_>) -> Result<Guesses, Error> {
    Ok(cooccurrence::read(prior, log).guesses)
}

/// The fixed parts of prompts.
///
/// # Errors
/// None.
pub fn template(prior: &Prior<'_>, log: &Log<'_>) -> Result<Guesses, Error> {
    Ok(template::attack(prior, log))
}

/// Matching by neighbours, abstaining where a wrong name costs more than a right one promises.
///
/// # Errors
/// None.
pub fn contest(prior: &Prior<'_>, log: &Log<'_>) -> Result<Guesses, Error> {
    Ok(contest::attack(prior, log))
}

/// Hill-climbing by a language model's likelihood, from what neighbours say.
///
/// # Errors
/// If the model cannot be run.
pub fn oracle(prior: &Prior<'_>, log: &Log<'_>) -> Result<Guesses, Error> {
    oracle::attack(prior, log)
}

/// The likeliest of some random vocabularies.
///
/// # Errors
/// If the model cannot be run.
pub fn random_search(prior: &Prior<'_>, log: &Log<'_>) -> Result<Guesses, Error> {
    oracle::random_search(prior, log)
}

/// Hill-climbing by a language model's likelihood, from a random vocabulary.
///
/// # Errors
/// If the model cannot be run.
pub fn hill_climb(prior: &Prior<'_>, log: &Log<'_>) -> Result<Guesses, Error> {
    oracle::hill_climb(prior, log)
}
