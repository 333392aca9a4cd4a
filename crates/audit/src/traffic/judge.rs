//! How well each plain id stands where a cipher id stands.

use rayon::prelude::*;

use super::contexts::{Evidence, Labels, Neighbours};
use super::side::{RANGES, Side};
use super::{Log, Prior};
use crate::evidence::Pair;

/// What plain ids have for neighbours, under their names.
pub(super) struct Judge<'a> {
    cipher: &'a Side,
    plain: &'a Side,
    columns: &'a [u32],
    labels: Labels,
    kinds: usize,
    /// One for each of [`DISTANCES`].
    evidence: Vec<Evidence>,
}

impl<'a> Judge<'a> {
    pub(super) fn new(
        cipher: &'a Side,
        plain: &'a Side,
        prior: &Prior<'_>,
        columns: &'a [u32],
        named: &[Pair],
    ) -> Self {
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
        let plain_labels = plain.labels(&plain_names, names);
        let evidence = DISTANCES.iter().map(|(distance, _)| {
            Evidence::new(
                prior.text,
                columns,
                &plain_labels,
                kinds,
                *distance,
                SMOOTHING,
            )
        });
        Self {
            cipher,
            plain,
            columns,
            labels: cipher.labels(&cipher_names, names),
            kinds,
            evidence: evidence.collect(),
        }
    }

    /// Log-likelihoods, a row a cipher id, a column a plain id.
    pub(super) fn score(&self, log: &Log<'_>, rows: &[u32]) -> Vec<f32> {
        let beside: Vec<Neighbours> = DISTANCES
            .iter()
            .map(|(distance, _)| {
                Neighbours::count(log.traffic, rows, &self.labels, self.kinds, *distance)
            })
            .collect();
        let columns = self.columns.len();
        let mut scores = vec![0.0f32; rows.len() * columns];
        let each = scores.par_chunks_mut(columns.max(1)).zip(rows).enumerate();
        // Rows come by frequency: many have the one of the row before.
        let unigrams = || (0.0, Vec::new());
        each.for_each_init(unigrams, |unigrams, (place, (row, cipher_id))| {
            for (((_, weight), evidence), beside) in
                DISTANCES.iter().zip(&self.evidence).zip(&beside)
            {
                beside.add_likelihood(place, evidence, *weight, row);
            }
            let seen = self.cipher.counts[*cipher_id as usize];
            if unigrams.0 != seen {
                *unigrams = (seen, self.unigrams(seen));
            }
            let scale = (TRUST / seen.sqrt()) as f32;
            for (value, unigram) in row.iter_mut().zip(&unigrams.1) {
                *value = *value * scale + unigram;
            }
        });
        scores
    }

    /// Log-likelihood, by frequency alone, of each plain id for a cipher id that was seen so often.
    fn unigrams(&self, seen: f64) -> Vec<f32> {
        let frequency = (seen / self.cipher.tokens).ln();
        let of = |plain_id: &u32| {
            let known = self.plain.counts[*plain_id as usize] + 0.5;
            let variance = SPREAD * SPREAD + 1.0 / seen + 1.0 / known;
            let apart = frequency - (known / self.plain.tokens).ln();
            (-0.5 * (apart * apart / variance + variance.ln())) as f32
        };
        self.columns.iter().map(of).collect()
    }
}

/// How far away neighbours are, and what they count.
const DISTANCES: &[(isize, f32)] = &[(1, 1.0), (-1, 1.0), (2, 0.5), (-2, 0.5)];
const SMOOTHING: f64 = 30.0;
const TRUST: f64 = 0.7;
/// By how much the logarithm of a frequency differs from text to text.
const SPREAD: f64 = 0.3;
