//! The ids of one side, and how frequent they are.

use super::contexts::Labels;
use super::frequency::ranks;
use super::{Log, Prior};
use crate::evidence::Guesses;

/// One side's ids by falling frequency, and how often each homophone occurs.
pub(super) struct Side {
    pub(super) ids: Vec<u32>,
    pub(super) counts: Vec<f64>,
    /// The rank of each id by frequency; [`u32::MAX`] for those that do not occur.
    pub(super) rank: Vec<u32>,
    /// How many cipher ids each id stands for.
    width: Vec<u32>,
    pub(super) tokens: f64,
}

impl Side {
    pub(super) fn of_log(log: &Log<'_>) -> Self {
        let seen = log.traffic.counts(log.cipher_ids);
        let mut ids: Vec<u32> = (0u32..).take(log.cipher_ids).collect();
        ids.retain(|id| seen[*id as usize] >= LEAST);
        ids.sort_by_key(|id| std::cmp::Reverse(seen[*id as usize]));
        let rank = rank_of(&ids, log.cipher_ids, &vec![1; log.cipher_ids]);
        Self {
            ids,
            counts: seen.iter().map(|count| f64::from(*count)).collect(),
            rank,
            width: vec![1; log.cipher_ids],
            tokens: log.traffic.ids().len() as f64,
        }
    }

    pub(super) fn of_prior(prior: &Prior<'_>) -> Self {
        let size = prior.homophones.len();
        let mut ids = ranks(prior);
        ids.dedup();
        let counts = prior.text.counts(size);
        let counts = counts.iter().zip(prior.homophones);
        Self {
            rank: rank_of(&ids, size, prior.homophones),
            ids,
            counts: counts.map(|(n, m)| f64::from(*n) / f64::from(*m)).collect(),
            width: prior.homophones.to_vec(),
            tokens: prior.text.ids().len() as f64,
        }
    }

    /// Ranks of flattened ids say nothing: what they are taken for has one.
    pub(super) fn rank_as_guessed(&mut self, plain: &Side, guesses: &Guesses) {
        for (rank, guess) in self.rank.iter_mut().zip(guesses) {
            if let Some(of_guess) = plain.rank.get(*guess as usize) {
                *rank = *of_guess;
            }
        }
    }

    /// The most frequent ids that stand for `count` cipher ids in all.
    pub(super) fn first(&self, count: usize) -> &[u32] {
        let mut left = count as i64;
        let end = self.ids.iter().position(|id| {
            left -= i64::from(self.width[*id as usize]);
            left < 0
        });
        &self.ids[..end
            .unwrap_or(self.ids.len())
            .max(count.min(self.ids.len()).min(AT_LEAST))]
    }

    /// Names where there are some, ranges of ranks for all others.
    pub(super) fn labels(&self, names: &[Option<u32>], named: u32) -> Labels {
        let range = |rank: u32| RANGES.partition_point(|end| *end <= rank) as u32;
        let label = |(rank, name): (&u32, &Option<u32>)| name.unwrap_or(named + range(*rank));
        Labels {
            of: self.rank.iter().zip(names).map(label).collect(),
        }
    }
}

fn rank_of(ids: &[u32], size: usize, width: &[u32]) -> Vec<u32> {
    let mut rank = vec![u32::MAX; size];
    let mut next = 0;
    for id in ids {
        rank[*id as usize] = next;
        next += width[*id as usize];
    }
    rank
}

/// Where each range of ranks ends.
pub(super) const RANGES: &[u32] = &[
    1, 2, 3, 4, 5, 7, 9, 12, 16, 22, 30, 45, 70, 110, 180, 300, 600, 1200, 3000, 8000,
];
/// Occurrences below which a cipher id is left alone.
const LEAST: u32 = 2;
/// However many homophones they have, the first ids are at least so many.
const AT_LEAST: usize = 20;
