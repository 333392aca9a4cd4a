//! The nearest of many vectors.

use std::collections::HashSet;

use faer::linalg::matmul::matmul;
use faer::{Accum, MatMut, Par};
use rayon::prelude::*;

use crate::matrix::{Matrix, norm};

/// For each query the row of `candidates` with the largest cosine.
pub(crate) fn by_cosine(mut queries: Matrix, candidates: &Matrix) -> Vec<u32> {
    let mut candidates = candidates.clone();
    for matrix in [&mut queries, &mut candidates] {
        matrix.each_row_mut().for_each(|row| {
            let norm = norm(row) as f32;
            if norm > 0.0 {
                row.iter_mut().for_each(|value| *value /= norm);
            }
        });
    }
    largest(&queries, &candidates, &vec![0.0; candidates.rows()])
}

/// For each query the row of `candidates` at the least Euclidean distance.
///
/// Of few columns the differences themselves are squared: neighbours may be nearer than a product's rounding. Of many,
/// |q - c|^2 = |q|^2 - 2 (q . c - |c|^2 / 2), after the mean of the candidates is taken off both.
pub(crate) fn by_distance(mut queries: Matrix, candidates: &Matrix) -> Vec<u32> {
    if queries.columns() <= FEW {
        return by_differences(&queries, candidates);
    }
    let mut candidates = candidates.clone();
    let mean = mean(&candidates);
    for matrix in [&mut queries, &mut candidates] {
        matrix.each_row_mut().for_each(|row| {
            for (value, mean) in row.iter_mut().zip(&mean) {
                *value -= mean;
            }
        });
    }
    let halves: Vec<f32> = candidates
        .each_row()
        .map(|row| (norm(row).powi(2) / 2.0) as f32)
        .collect();
    largest(&queries, &candidates, &halves)
}

/// The same for single numbers, exactly.
pub(crate) fn of_numbers(queries: &[f64], candidates: &[f64]) -> Vec<u32> {
    let mut sorted: Vec<(f64, u32)> = candidates.iter().copied().zip(0..).collect();
    sorted.sort_by(|(a, _), (b, _)| a.total_cmp(b));
    let nearest = |query: &f64| {
        let above = sorted.partition_point(|(value, _)| value < query);
        let beside = [above.checked_sub(1), Some(above)].into_iter().flatten();
        let distance = |place: &usize| (sorted[*place].0 - query).abs();
        let place = beside
            .filter(|place| *place < sorted.len())
            .min_by(|a, b| distance(a).total_cmp(&distance(b)));
        place.map_or(0, |place| sorted[place].1)
    };
    queries.iter().map(nearest).collect()
}

/// For each query the nearest candidate, whatever a rewrite did to the scale and spread of the columns: as they are, with both
/// sides standardised as the candidates are, or each side by itself. Different ids have different names, so the way that
/// names the most candidates is taken.
pub(crate) fn calibrated(queries: &Matrix, candidates: &Matrix) -> Vec<u32> {
    let (ours, theirs) = (Standard::of(candidates), Standard::of(queries));
    let standard = ours.bring(candidates.clone());
    let ways = [
        by_distance(queries.clone(), candidates),
        by_distance(ours.bring(queries.clone()), &standard),
        by_distance(theirs.bring(queries.clone()), &standard),
    ];
    let names = |way: &Vec<u32>| way.iter().collect::<HashSet<_>>().len();
    ways.into_iter().max_by_key(names).unwrap_or_default()
}

/// What brings columns to mean 0 and variance 1: then each says equally much.
pub(crate) struct Standard {
    mean: Vec<f32>,
    scale: Vec<f32>,
}

impl Standard {
    /// By these rows.
    pub(crate) fn of(matrix: &Matrix) -> Self {
        let mean = mean(matrix);
        let rows = matrix.rows() as f64;
        let zero = || vec![0.0; mean.len()];
        let squares = matrix
            .each_row()
            .fold(zero, |mut sums, row| {
                for ((sum, value), mean) in sums.iter_mut().zip(row).zip(&mean) {
                    *sum += f64::from(value - mean).powi(2);
                }
                sums
            })
            .reduce(zero, add);
        let scale = squares.iter().map(|sum| match (sum / rows).sqrt() {
            deviation if deviation > 0.0 => (1.0 / deviation) as f32,
            _ => 0.0,
        });
        let scale = scale.collect();
        Self { mean, scale }
    }

    /// These rows brought there.
    pub(crate) fn bring(&self, mut matrix: Matrix) -> Matrix {
        matrix.each_row_mut().for_each(|row| {
            for ((value, mean), scale) in row.iter_mut().zip(&self.mean).zip(&self.scale) {
                *value = (*value - mean) * scale;
            }
        });
        matrix
    }
}

fn mean(matrix: &Matrix) -> Vec<f32> {
    let zero = || vec![0.0; matrix.columns()];
    let sums = matrix
        .each_row()
        .fold(zero, |mut sums, row| {
            for (sum, value) in sums.iter_mut().zip(row) {
                *sum += f64::from(*value);
            }
            sums
        })
        .reduce(zero, add);
    let rows = matrix.rows().max(1) as f64;
    sums.into_iter().map(|sum| (sum / rows) as f32).collect()
}

fn add(mut sums: Vec<f64>, more: Vec<f64>) -> Vec<f64> {
    sums.iter_mut()
        .zip(more)
        .for_each(|(sum, more)| *sum += more);
    sums
}

fn by_differences(queries: &Matrix, candidates: &Matrix) -> Vec<u32> {
    let columns = candidates.transposed();
    let nearest = |query: &[f32]| {
        let mut best = (f32::INFINITY, 0);
        let mut sums = vec![0.0f32; CANDIDATES];
        for start in (0..candidates.rows()).step_by(CANDIDATES) {
            let count = CANDIDATES.min(candidates.rows() - start);
            let sums = &mut sums[..count];
            sums.fill(0.0);
            for (column, query) in query.iter().enumerate() {
                let values = &columns.row(column)[start..start + count];
                for (sum, value) in sums.iter_mut().zip(values) {
                    let difference = value - query;
                    *sum += difference * difference;
                }
            }
            for (candidate, sum) in (start..).zip(sums.iter()) {
                if *sum < best.0 {
                    best = (*sum, candidate as u32);
                }
            }
        }
        best.1
    };
    queries.each_row().map(nearest).collect()
}

/// argmax_c q . c - offset(c), a block of queries and a block of candidates at a time.
fn largest(queries: &Matrix, candidates: &Matrix, offsets: &[f32]) -> Vec<u32> {
    let mut best = vec![(f32::NEG_INFINITY, 0u32); queries.rows()];
    let mut scores = vec![0.0; QUERIES * CANDIDATES];
    for (from, best) in (0..).step_by(QUERIES).zip(best.chunks_mut(QUERIES)) {
        let block = queries.view().subrows(from, best.len());
        for start in (0..candidates.rows()).step_by(CANDIDATES) {
            let count = CANDIDATES.min(candidates.rows() - start);
            let scores = &mut scores[..best.len() * count];
            matmul(
                MatMut::from_row_major_slice_mut(scores, best.len(), count),
                Accum::Replace,
                block,
                candidates.view().subrows(start, count).transpose(),
                1.0,
                Par::rayon(0),
            );
            let offsets = &offsets[start..start + count];
            let rows = best.par_iter_mut().zip(scores.par_chunks(count));
            rows.for_each(|(best, scores)| {
                for (candidate, (score, offset)) in scores.iter().zip(offsets).enumerate() {
                    if score - offset > best.0 {
                        *best = (score - offset, (start + candidate) as u32);
                    }
                }
            });
        }
    }
    best.into_iter().map(|(_, candidate)| candidate).collect()
}

const QUERIES: usize = 1024;
const CANDIDATES: usize = 2048;
/// Columns of which differences are taken.
const FEW: usize = 48;
