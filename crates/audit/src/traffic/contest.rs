//! Only what promises more than it costs.

use super::cooccurrence::read;
use super::{Log, Prior};
use crate::evidence::{Guesses, NO_GUESS};

/// What a right name earns, and what a wrong one costs.
pub(super) const RIGHT: f64 = 10.0;
pub(super) const WRONG: f64 = 1.0;

/// A public challenge to break such a vocabulary gives +10 for a right name and -1 for a wrong one. Whoever plays it names what
/// `cooccurrence` is sure enough of: where 10 p > 1 - p.
///
/// Source: the rules of Nesa's "Hack EE" challenge.
pub(super) fn attack(prior: &Prior<'_>, log: &Log<'_>) -> Guesses {
    let reading = read(prior, log);
    let enough = (WRONG / (RIGHT + WRONG)) as f32;
    let guesses = reading.guesses.into_iter().zip(reading.probability);
    let named = guesses.map(|(guess, p)| if p > enough { guess } else { NO_GUESS });
    named.collect()
}

/// The score of guesses for the cipher ids that occur.
pub(super) fn score(occurring: &[bool], guesses: &[u32], truth: &[u32]) -> f64 {
    let named = occurring.iter().zip(guesses.iter().zip(truth));
    let named = named.filter(|(occurs, (guess, _))| **occurs && **guess != NO_GUESS);
    named
        .map(|(_, (guess, truth))| if guess == truth { RIGHT } else { -WRONG })
        .sum()
}
