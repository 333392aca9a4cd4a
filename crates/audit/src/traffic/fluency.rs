//! How much a reading of a log reads like text.

use super::bigrams::Bigrams;
use super::corpus::Corpus;
use crate::evidence::NO_GUESS;

/// Pairs of neighbouring ids in a text.
pub(super) struct Pairs {
    counts: Bigrams,
    /// How often each id is the first of a pair, and its share as the second.
    firsts: Vec<f64>,
    shares: Vec<f64>,
}

impl Pairs {
    pub(super) fn of(text: &Corpus, size: usize) -> Self {
        let counts = Bigrams::count(text, size, &[1.0]);
        let [firsts, seconds] = counts.sums();
        let all: f64 = seconds.iter().sum::<f64>().max(1.0);
        Self {
            counts,
            firsts,
            shares: seconds.iter().map(|sum| (sum + 0.1) / all).collect(),
        }
    }

    /// The mean of `ln (P(b | a) / m_b)` over neighbours a, b that are both guessed, with P smoothed by [`SMOOTHING`] occurrences
    /// of b's share: the likelihood of the log's own ids, if the guesses are right.
    pub(super) fn fluency(&self, homophones: &[u32], traffic: &Corpus, guesses: &[u32]) -> f64 {
        let (mut sum, mut count) = (0.0, 0u32);
        for message in traffic.messages() {
            for pair in message.windows(2) {
                let [first, second] = [pair[0], pair[1]].map(|cipher| guesses[cipher as usize]);
                if first == NO_GUESS || second == NO_GUESS {
                    continue;
                }
                let together = f64::from(self.counts.of(first, second));
                let share = self.shares[second as usize];
                let width = f64::from(homophones[second as usize]);
                let first = self.firsts[first as usize];
                sum += ((together + SMOOTHING * share) / (first + SMOOTHING) / width).ln();
                count += 1;
            }
        }
        if count == 0 {
            f64::NEG_INFINITY
        } else {
            sum / f64::from(count)
        }
    }
}

const SMOOTHING: f64 = 30.0;
