//! Matching by neighbours.

use super::assign::assign;
use super::contexts::{Contexts, Labels};
use super::frequency::ranks;
use super::{Log, Prior};
use crate::evidence::{Guesses, NO_GUESS, Pair};

/// The neighbours of an id, at distances 1 and 2 on both sides, are a fingerprint of it once they have names in common with the
/// plain text. At first their names are no more than ranges of frequency ranks; ids that match both ways with a probability
/// above [`SURE`] get names of their own, and more and more of the rarer ids are matched:
///
/// `score(c, i) = k / sqrt(n_c) sum_label n(c, label) ln (P(label | i) / P(label)) - ln(f_c / f_i)^2 / (2 (s^2 + 1 / n_c + 1 / n_i))`.
///
/// The root of n_c stands for how far neighbouring words depend on each other. A plain id with m homophones is a column that m
/// cipher ids may claim, each with a share p / m; once named, its homophones are one neighbour again.
///
/// Source: seeded decipherment by contexts, after Dou and Knight (2012) and Nuhn and Ney (2014); ranges of ranks as first names
/// are ours.
pub(super) fn attack(prior: &Prior<'_>, log: &Log<'_>) -> Guesses {
    let cipher = Side::of_log(log);
    let plain = Side::of_prior(prior);
    let mut named: Vec<Pair> = log.known.to_vec();
    let mut guesses = vec![NO_GUESS; log.cipher_ids];
    for width in widths(cipher.ids.len()) {
        let rows = &cipher.ids[..width];
        let columns = plain.first(width + width / 2 + 50);
        let mut scores = score(&cipher, &plain, (log, prior), (rows, columns), &named);
        let capacities: Vec<f32> = columns
            .iter()
            .map(|id| prior.homophones[*id as usize] as f32)
            .collect();
        let assigned = assign(&mut scores, &capacities);
        let sure = assigned
            .iter()
            .filter(|one| one.mutual && one.probability > SURE)
            .count();
        let least = if sure < FEW { 0.0 } else { SURE };
        named = log.known.to_vec();
        for (cipher, one) in rows.iter().zip(&assigned) {
            let plain = columns[one.column];
            guesses[*cipher as usize] = plain;
            if one.mutual && one.probability > least {
                named.push(Pair {
                    cipher: *cipher,
                    plain,
                });
            }
        }
    }
    for pair in log.known {
        guesses[pair.cipher as usize] = pair.plain;
    }
    guesses
}

/// One side's ids by falling frequency, and how often each homophone occurs.
struct Side {
    ids: Vec<u32>,
    counts: Vec<f64>,
    /// The rank of each id by frequency; [`u32::MAX`] for those that do not occur.
    rank: Vec<u32>,
    /// How many cipher ids each id stands for.
    width: Vec<u32>,
    tokens: f64,
}

impl Side {
    fn of_log(log: &Log<'_>) -> Self {
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

    fn of_prior(prior: &Prior<'_>) -> Self {
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

    /// The most frequent ids that stand for `count` cipher ids in all.
    fn first(&self, count: usize) -> &[u32] {
        let mut left = count as i64;
        let end = self.ids.iter().position(|id| {
            left -= i64::from(self.width[*id as usize]);
            left < 0
        });
        &self.ids[..end.unwrap_or(self.ids.len())]
    }

    /// Names where there are some, ranges of ranks for all others.
    fn labels(&self, names: &[Option<u32>], named: u32) -> Labels {
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

/// Log-likelihoods, a row a cipher id, a column a plain id.
fn score(
    cipher: &Side,
    plain: &Side,
    (log, prior): (&Log<'_>, &Prior<'_>),
    (rows, columns): (&[u32], &[u32]),
    named: &[Pair],
) -> Vec<f32> {
    let (mut cipher_names, mut plain_names) =
        (vec![None; cipher.rank.len()], vec![None; plain.rank.len()]);
    let mut names = 0;
    for pair in named {
        let name = *plain_names[pair.plain as usize].get_or_insert_with(|| {
            names += 1;
            names - 1
        });
        cipher_names[pair.cipher as usize] = Some(name);
    }
    let kinds = names as usize + RANGES.len() + 1;
    let cipher_labels = cipher.labels(&cipher_names, names);
    let plain_labels = plain.labels(&plain_names, names);
    let mut scores = vec![0.0f32; rows.len() * columns.len()];
    for (distance, weight) in DISTANCES {
        let known = Contexts::count(prior.text, columns, &plain_labels, kinds, *distance);
        let shares = known.shares();
        let evidence = known.into_evidence(&shares, SMOOTHING);
        Contexts::count(log.traffic, rows, &cipher_labels, kinds, *distance).add_likelihood(
            &evidence,
            *weight,
            &mut scores,
        );
    }
    for (row, cipher_id) in scores.chunks_exact_mut(columns.len().max(1)).zip(rows) {
        let seen = cipher.counts[*cipher_id as usize];
        let scale = (TRUST / seen.sqrt()) as f32;
        let frequency = (seen / cipher.tokens).ln();
        for (value, plain_id) in row.iter_mut().zip(columns) {
            let known = plain.counts[*plain_id as usize] + 0.5;
            let variance = SPREAD * SPREAD + 1.0 / seen + 1.0 / known;
            let apart = frequency - (known / plain.tokens).ln();
            let unigram = -0.5 * (apart * apart / variance + variance.ln());
            *value = *value * scale + unigram as f32;
        }
    }
    scores
}

/// How many cipher ids are matched in each round.
fn widths(all: usize) -> Vec<usize> {
    let widest = all.min(WIDEST);
    let narrow = widest.min(NARROWEST);
    let growth = (widest as f64 / narrow.max(1) as f64).powf(1.0 / STEPS as f64);
    let growing = (0..STEPS).map(|step| (narrow as f64 * growth.powi(step)) as usize);
    let mut widths: Vec<usize> = growing.chain([widest; 3]).collect();
    widths.retain(|width| *width > 0);
    widths
}

/// Where each range of ranks ends.
const RANGES: &[u32] = &[
    1, 2, 3, 4, 5, 7, 9, 12, 16, 22, 30, 45, 70, 110, 180, 300, 600, 1200, 3000, 8000,
];
/// How far away neighbours are, and what they count.
const DISTANCES: &[(isize, f32)] = &[(1, 1.0), (-1, 1.0), (2, 0.5), (-2, 0.5)];
/// Occurrences below which a cipher id is left alone.
const LEAST: u32 = 2;
/// From which probability on an id gets a name of its own.
const SURE: f32 = 0.4;
/// Fewer sure ones than this do not do: all that match both ways get names.
const FEW: usize = 20;
const NARROWEST: usize = 150;
const WIDEST: usize = 5_000;
const STEPS: i32 = 13;
const SMOOTHING: f64 = 30.0;
const TRUST: f64 = 0.7;
/// By how much the logarithm of a frequency differs from text to text.
const SPREAD: f64 = 0.3;
