//! Matching by rank.

use super::{Log, Prior};
use crate::evidence::{Guesses, NO_GUESS};

/// The cipher id of rank r by frequency is taken for the plain id of rank r; a plain id with m homophones stands m times, with
/// a share p / m each.
///
/// Source: al-Kindi; for token vocabularies AloePri, arXiv 2603.01499, section 6.
pub(super) fn attack(prior: &Prior<'_>, log: &Log<'_>) -> Guesses {
    let seen = log.traffic.counts(log.cipher_ids);
    let mut cipher: Vec<u32> = (0u32..).take(log.cipher_ids).collect();
    cipher.retain(|id| seen[*id as usize] > 0);
    cipher.sort_by_key(|id| std::cmp::Reverse(seen[*id as usize]));
    let mut guesses = vec![NO_GUESS; log.cipher_ids];
    for (cipher, plain) in cipher.iter().zip(ranks(prior)) {
        guesses[*cipher as usize] = plain;
    }
    for pair in log.known {
        guesses[pair.cipher as usize] = pair.plain;
    }
    guesses
}

/// Plain ids, the most frequent homophones first.
pub(super) fn ranks(prior: &Prior<'_>) -> Vec<u32> {
    let counts = prior.text.counts(prior.homophones.len());
    let mut ranks: Vec<(f64, u32)> = (0u32..)
        .zip(counts.iter().zip(prior.homophones))
        .filter(|(_, (count, _))| **count > 0)
        .flat_map(|(id, (count, homophones))| {
            let share = f64::from(*count) / f64::from(*homophones);
            std::iter::repeat_n((share, id), *homophones as usize)
        })
        .collect();
    ranks.sort_by(|(a, i), (b, j)| b.total_cmp(a).then(i.cmp(j)));
    ranks.into_iter().map(|(_, id)| id).collect()
}
