//! From scores to an assignment in which no plain id stands for more cipher ids than it has homophones.

use rayon::prelude::*;

use super::lanes::{most, sum};

/// For each cipher id its best plain id.
pub(super) struct Assigned {
    /// The column.
    pub(super) column: usize,
    /// Its probability, in 0..=1.
    pub(super) probability: f32,
    /// Whether the plain id has no better cipher ids for itself.
    pub(super) mutual: bool,
}

/// Soft assignment: rows of `scores` (log-likelihoods, a row a cipher id) become probabilities, columns are scaled down to
/// their capacity, and rows brought to 1 again, alternately (Sinkhorn); then each row's best column.
pub(super) fn assign(scores: &mut [f32], capacities: &[f32]) -> Vec<Assigned> {
    let columns = capacities.len();
    let mut sums = pass(scores, columns, |row| {
        let largest = most(row);
        row.iter_mut()
            .for_each(|value| *value = (*value - largest).exp());
        normalise(row);
    });
    for _ in 0..ROUNDS {
        let scales: Vec<f32> = sums
            .iter()
            .zip(capacities)
            .map(|(sum, capacity)| (capacity / sum.max(f32::MIN_POSITIVE)).min(1.0))
            .collect();
        sums = pass(scores, columns, |row| {
            row.iter_mut()
                .zip(&scales)
                .for_each(|(value, scale)| *value *= scale);
            normalise(row);
        });
    }
    let best: Vec<(usize, f32)> = scores.par_chunks(columns).map(largest).collect();
    let mut claims: Vec<Vec<f32>> = vec![Vec::new(); columns];
    for (column, probability) in &best {
        claims[*column].push(*probability);
    }
    let least: Vec<f32> = claims
        .into_iter()
        .zip(capacities)
        .map(|(mut claims, capacity)| {
            claims.sort_by(|a, b| b.total_cmp(a));
            claims.get(*capacity as usize - 1).copied().unwrap_or(0.0)
        })
        .collect();
    let assigned = |(column, probability): (usize, f32)| Assigned {
        column,
        probability,
        mutual: probability >= least[column],
    };
    best.into_iter().map(assigned).collect()
}

fn normalise(row: &mut [f32]) {
    let sum = sum(row);
    if sum > 0.0 {
        row.iter_mut().for_each(|value| *value /= sum);
    }
}

/// Changes each row, and sums the columns of what comes of it.
fn pass(values: &mut [f32], columns: usize, change: impl Fn(&mut [f32]) + Sync) -> Vec<f32> {
    let zero = || vec![0.0f32; columns];
    let rows = values.par_chunks_mut(columns);
    let sums = rows.fold(zero, |sums, row| {
        change(row);
        added(sums, row)
    });
    sums.reduce(zero, |sums, more| added(sums, &more))
}

fn added(mut sums: Vec<f32>, row: &[f32]) -> Vec<f32> {
    sums.iter_mut()
        .zip(row)
        .for_each(|(sum, value)| *sum += value);
    sums
}

fn largest(row: &[f32]) -> (usize, f32) {
    let most = most(row);
    let column = row.iter().position(|value| *value == most);
    (column.unwrap_or(0), most)
}

const ROUNDS: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_column_is_given_as_often_as_it_can_be() {
        // Both rows like column 0 best, the second less surely.
        let scores = [5.0, 0.0, 3.0, 2.5];
        let one = assign(&mut scores.clone(), &[1.0, 1.0]);
        assert_eq!([one[0].column, one[1].column], [0, 1]);
        assert!(one.iter().all(|one| one.mutual));
        let two = assign(&mut scores.clone(), &[2.0, 1.0]);
        assert_eq!([two[0].column, two[1].column], [0, 0]);
        assert!(two.iter().all(|one| one.mutual));
    }
}
