//! What stands beside each id.

use faer::linalg::matmul::matmul;
use faer::{Accum, MatMut, MatRef, Par};
use rayon::prelude::*;

use super::corpus::Corpus;

/// Labels of ids: neighbours of one label are counted together.
pub(super) struct Labels {
    /// Of each id, below [`Labels::END`].
    pub(super) of: Vec<u32>,
}

/// Neighbour counts of some ids: a row an id, a column a label, and the last column for the ends of messages.
pub(super) struct Contexts {
    rows: usize,
    columns: usize,
    counts: Vec<f32>,
}

impl Contexts {
    /// Counts what stands `distance` behind (or, negative, before) each of `ids` in `text`, in `labels` kinds.
    pub(super) fn count(
        text: &Corpus,
        ids: &[u32],
        labels: &Labels,
        kinds: usize,
        distance: isize,
    ) -> Self {
        let columns = kinds + 1;
        let mut row_of = vec![u32::MAX; labels.of.len()];
        for (row, id) in (0u32..).zip(ids) {
            row_of[*id as usize] = row;
        }
        let mut counts = vec![0.0f32; ids.len() * columns];
        for message in text.messages() {
            for (place, id) in message.iter().enumerate() {
                let Some(row) = row_of.get(*id as usize).filter(|row| **row != u32::MAX) else {
                    continue;
                };
                let beside = place
                    .checked_add_signed(distance)
                    .and_then(|place| message.get(place))
                    .and_then(|beside| labels.of.get(*beside as usize));
                let column = beside.map_or(kinds, |label| *label as usize);
                counts[*row as usize * columns + column] += 1.0;
            }
        }
        Self {
            rows: ids.len(),
            columns,
            counts,
        }
    }

    /// ln (P(label | id) / P(label)) in place of counts, P smoothed by `strength` occurrences of P(label).
    pub(super) fn into_evidence(mut self, shares: &[f64], strength: f64) -> Self {
        self.counts.par_chunks_mut(self.columns).for_each(|row| {
            let all: f64 = row.iter().map(|count| f64::from(*count)).sum();
            for (value, share) in row.iter_mut().zip(shares) {
                let smoothed = (f64::from(*value) + strength * share) / (all + strength);
                *value = (smoothed / share).ln() as f32;
            }
        });
        self
    }

    /// P(label) over all occurrences, none of them 0.
    pub(super) fn shares(&self) -> Vec<f64> {
        let mut sums = vec![0.0f64; self.columns];
        for row in self.counts.chunks_exact(self.columns) {
            for (sum, count) in sums.iter_mut().zip(row) {
                *sum += f64::from(*count);
            }
        }
        let all: f64 = sums.iter().sum::<f64>().max(1.0);
        sums.iter().map(|sum| (sum + 0.1) / all).collect()
    }

    /// `scores` += `weight` x counts x evidence^T, a row a cipher id, a column a plain id.
    pub(super) fn add_likelihood(&self, evidence: &Self, weight: f32, scores: &mut [f32]) {
        let counts = MatRef::from_row_major_slice(&self.counts, self.rows, self.columns);
        let evidence =
            MatRef::from_row_major_slice(&evidence.counts, evidence.rows, evidence.columns);
        let scores = MatMut::from_row_major_slice_mut(scores, self.rows, evidence.nrows());
        matmul(
            scores,
            Accum::Add,
            counts,
            evidence.transpose(),
            weight,
            Par::rayon(0),
        );
    }
}
