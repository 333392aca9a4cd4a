//! What stands beside each id.

use rayon::prelude::*;

use super::corpus::Corpus;

/// Labels of ids: neighbours of one label are counted together.
pub(super) struct Labels {
    /// Of each id, below [`Labels::END`].
    pub(super) of: Vec<u32>,
}

/// ln (P(label | id) / P(label)) of some ids, at one distance: a row a label, the last one for the ends of messages; a column an id.
pub(super) struct Evidence {
    columns: usize,
    values: Vec<f32>,
}

impl Evidence {
    /// Of what stands `distance` behind (or, negative, before) each of `ids` in `text`, in `labels` kinds; P(label | id) is
    /// smoothed by `strength` occurrences of P(label).
    pub(super) fn new(
        text: &Corpus,
        ids: &[u32],
        labels: &Labels,
        kinds: usize,
        distance: isize,
        strength: f64,
    ) -> Self {
        let columns = ids.len();
        let mut values = vec![0.0f32; (kinds + 1) * columns];
        let mut all = vec![0.0f64; columns];
        each_neighbour(text, ids, labels, kinds, distance, |column, label| {
            values[label * columns + column] += 1.0;
            all[column] += 1.0;
        });
        let sums: Vec<f64> = (values.par_chunks(columns))
            .map(|row| row.iter().map(|count| f64::from(*count)).sum())
            .collect();
        let total: f64 = all.iter().sum::<f64>().max(1.0);
        // Most labels never stand beside an id, and then it does not matter which.
        let never: Vec<f32> = all
            .iter()
            .map(|n| (strength / (n + strength)).ln() as f32)
            .collect();
        let rows = values.par_chunks_mut(columns).zip(&sums);
        rows.for_each(|(row, sum)| {
            let share = (sum + 0.1) / total;
            for ((value, n), never) in row.iter_mut().zip(&all).zip(&never) {
                *value = match *value > 0.0 {
                    true => {
                        let smoothed = (f64::from(*value) + strength * share) / (n + strength);
                        (smoothed / share).ln() as f32
                    }
                    false => *never,
                };
            }
        });
        Self { columns, values }
    }

    fn of(&self, label: usize) -> &[f32] {
        &self.values[label * self.columns..][..self.columns]
    }
}

/// Neighbours of some ids in a log: of each the labels that occur, and how often.
pub(super) struct Neighbours {
    of: Vec<Vec<(usize, f32)>>,
}

impl Neighbours {
    pub(super) fn count(
        text: &Corpus,
        ids: &[u32],
        labels: &Labels,
        kinds: usize,
        distance: isize,
    ) -> Self {
        let mut seen: Vec<Vec<usize>> = vec![Vec::new(); ids.len()];
        each_neighbour(text, ids, labels, kinds, distance, |row, label| {
            seen[row].push(label)
        });
        let counted = seen.into_par_iter().map(|mut labels| {
            labels.sort_unstable();
            let same = labels.chunk_by(|a, b| a == b);
            same.map(|run| (run[0], run.len() as f32)).collect()
        });
        Self {
            of: counted.collect(),
        }
    }

    /// `scores` += `weight` x counts x evidence, a row a cipher id, a column a plain id.
    pub(super) fn add_likelihood(&self, evidence: &Evidence, weight: f32, scores: &mut [f32]) {
        let rows = scores.par_chunks_mut(evidence.columns).zip(&self.of);
        rows.for_each(|(scores, labels)| {
            for (label, count) in labels {
                let factor = weight * count;
                let known = evidence.of(*label);
                scores
                    .iter_mut()
                    .zip(known)
                    .for_each(|(score, known)| *score += factor * known);
            }
        });
    }
}

/// Calls `visit` with the place in `ids` and the label of the neighbour for each occurrence.
fn each_neighbour(
    text: &Corpus,
    ids: &[u32],
    labels: &Labels,
    kinds: usize,
    distance: isize,
    mut visit: impl FnMut(usize, usize),
) {
    let mut place_of = vec![u32::MAX; labels.of.len()];
    for (place, id) in (0u32..).zip(ids) {
        place_of[*id as usize] = place;
    }
    for message in text.messages() {
        for (place, id) in message.iter().enumerate() {
            let Some(row) = place_of.get(*id as usize).filter(|row| **row != u32::MAX) else {
                continue;
            };
            let beside = place
                .checked_add_signed(distance)
                .and_then(|place| message.get(place))
                .and_then(|beside| labels.of.get(*beside as usize));
            visit(*row as usize, beside.map_or(kinds, |label| *label as usize));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn evidence_is_what_an_occurrence_says() {
        let text = Corpus::of([&[0, 1, 0, 1, 0, 2][..]]);
        let labels = Labels { of: vec![0, 1, 1] };
        let evidence = Evidence::new(&text, &[0, 1], &labels, 2, 1, 2.0);
        // Behind 0 stand two ones and a two, label 1; behind 1 stand two zeros.
        let shares = [2.1 / 5.0, 3.1 / 5.0, 0.1 / 5.0];
        let expected = |count: f64, n: f64, label: usize| {
            ((count + 2.0 * shares[label]) / (n + 2.0) / shares[label]).ln() as f32
        };
        let close = |a: f32, b: f32| assert!((a - b).abs() < 1e-5, "{a} {b}");
        close(evidence.of(0)[0], expected(0.0, 3.0, 0));
        close(evidence.of(1)[0], expected(3.0, 3.0, 1));
        close(evidence.of(0)[1], expected(2.0, 2.0, 0));
        close(evidence.of(2)[1], expected(0.0, 2.0, 2));
        let seen = Neighbours::count(&text, &[1, 2], &labels, 2, 1);
        assert_eq!(seen.of, [vec![(0, 2.0)], vec![(2, 1.0)]]);
        let mut scores = vec![1.0; 4];
        seen.add_likelihood(&evidence, 0.5, &mut scores);
        close(scores[1], 1.0 + evidence.of(0)[1]);
        close(scores[2], 1.0 + 0.5 * evidence.of(2)[0]);
    }
}
