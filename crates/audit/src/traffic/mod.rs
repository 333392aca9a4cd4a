//! The log reader: attacks on cipher ids alone, from statistics of text that the attacker knows.

mod allocation;
mod assign;
mod audit;
mod code;
mod contexts;
mod cooccurrence;
mod corpus;
mod frequency;
mod template;
#[cfg(test)]
mod tests;

pub use audit::{LogAudit, LogDefence};
pub use code::SecretCode;
pub use corpus::Corpus;
pub use equicrypt_cipher::Allocation;

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
}

/// An attack on a log: for each cipher id the plain id that it is taken for.
pub type LogAttack = fn(&Prior<'_>, &Log<'_>) -> Guesses;

/// Matching by rank of frequency.
pub fn frequency(prior: &Prior<'_>, log: &Log<'_>) -> Guesses {
    frequency::attack(prior, log)
}

/// Matching by neighbours.
pub fn cooccurrence(prior: &Prior<'_>, log: &Log<'_>) -> Guesses {
    cooccurrence::attack(prior, log)
}

/// The fixed parts of prompts.
pub fn template(prior: &Prior<'_>, log: &Log<'_>) -> Guesses {
    template::attack(prior, log)
}
