//! Two languages laid on one another.

use faer::Mat;
use rayon::prelude::*;

use super::assign::{Assigned, assign};
use super::coordinates::Coordinates;
use super::lanes;
use crate::algebra::{map, procrustes, product};
use crate::matrix::{Matrix, dot};

/// Cipher ids and plain ids that may be the same.
pub(super) struct Candidates<'a> {
    pub(super) rows: &'a [u32],
    pub(super) columns: &'a [u32],
    /// For how many cipher ids each column stands.
    pub(super) capacities: &'a [f32],
}

/// Singular vectors come with any sign, and nearly equal ones are mixed: cipher coordinates Z are plain ones turned by some Q. The
/// ends of messages, which everybody sees, give signs to begin with. Then in turns, with one dimension more each time:
/// transport of the ids' shares from Z Q to the plain coordinates at least cost (Sinkhorn's scaling of exp (-|z Q - y|^2 / e)),
/// and the Q that brings ids nearest to where they are taken (Procrustes). `fluency` says how much each round's guesses read like
/// text; the best are returned.
///
/// Source: Grave, Joulin, Berthet (2019), arXiv 1805.11222, on word vectors; coordinates that survive homophones are ours.
pub(super) fn align(
    cipher: &Coordinates,
    plain: &Coordinates,
    candidates: &Candidates<'_>,
    fluency: impl Fn(&[usize]) -> f64,
) -> Option<Vec<Assigned>> {
    let dimensions = cipher.dimensions().min(plain.dimensions());
    let chosen = |sides: [&Matrix; 2], ids: &[u32], share: &[f64]| -> Cloud {
        let mass: Vec<f32> = ids.iter().map(|id| share[*id as usize] as f32).collect();
        Cloud {
            sides: sides.map(|side| columns(&side.gather(ids), dimensions)),
            mass: normalised(mass),
        }
    };
    let ours = chosen(
        [&cipher.left, &cipher.right],
        candidates.rows,
        &cipher.share,
    );
    let theirs = chosen(
        [&plain.left, &plain.right],
        candidates.columns,
        &plain.share,
    );
    let mut turn = Mat::from_fn(dimensions, dimensions, |i, j| match i == j {
        true => sign(cipher, plain, i),
        false => 0.0,
    });
    let mut best: Option<(f64, Matrix)> = None;
    for round in 0..ROUNDS {
        let used = (FIRST + round).min(dimensions);
        let turned = ours.sides.each_ref().map(|side| map(side, turn.as_ref()));
        let mut plan = distances(
            &weighted(&turned, &plain.singular[..used]),
            &weighted(&theirs.sides, &plain.singular[..used]),
        );
        heat(&mut plan, HOT.max(WARM * COOLING.powi(round as i32)));
        transport(&mut plan, &ours.mass, &theirs.mass);
        let reads = fluency(&likeliest(&plan));
        if best.as_ref().is_none_or(|(known, _)| reads > *known) {
            best = Some((reads, plan.clone()));
        }
        turn = next_turn(&ours, &theirs, plan)?;
    }
    let (_, mut plan) = best?;
    plan.each_row_mut().for_each(|row| {
        let ln = |value: &mut f32| *value = value.max(f32::MIN_POSITIVE).ln();
        row.iter_mut().for_each(ln);
    });
    Some(assign(plan.values_mut(), candidates.capacities))
}

/// The column of each row's largest value.
fn likeliest(plan: &Matrix) -> Vec<usize> {
    let largest = |row: &[f32]| {
        let most = lanes::most(row);
        row.iter().position(|value| *value == most).unwrap_or(0)
    };
    plan.each_row().map(largest).collect()
}

/// Some ids: coordinates by what stands behind and before, and shares.
struct Cloud {
    sides: [Matrix; 2],
    mass: Vec<f32>,
}

/// Whether a coordinate of the ends of messages has the same sign on both sides.
fn sign(cipher: &Coordinates, plain: &Coordinates, dimension: usize) -> f64 {
    let at = |of: &Coordinates, side: &Matrix| f64::from(side.row(of.share.len() - 1)[dimension]);
    let left = at(cipher, &cipher.left) * at(plain, &plain.left);
    let right = at(cipher, &cipher.right) * at(plain, &plain.right);
    (left + right).signum()
}

/// Both sides beside one another, in the first dimensions, each as large as its singular value.
fn weighted(sides: &[Matrix; 2], singular: &[f32]) -> Matrix {
    let cut = |side: &Matrix| {
        let mut cut = columns(side, singular.len());
        cut.scale_columns(singular);
        cut
    };
    Matrix::beside(&sides.each_ref().map(cut))
}

fn columns(matrix: &Matrix, count: usize) -> Matrix {
    Matrix::from_rows(matrix.rows(), count, |row, out| {
        out.copy_from_slice(&matrix.row(row)[..count]);
    })
}

/// |a - b|^2 of each row of `a` and each of `b`.
fn distances(a: &Matrix, b: &Matrix) -> Matrix {
    let mut out = product(a.view(), b.view().transpose());
    let lengths: Vec<f32> = b.each_row().map(|row| dot(row, row) as f32).collect();
    out.each_row_mut().zip(a.each_row()).for_each(|(out, row)| {
        let length = dot(row, row) as f32;
        for (value, other) in out.iter_mut().zip(&lengths) {
            *value = (length + other - 2.0 * *value).max(0.0);
        }
    });
    out
}

/// exp (-(d - least d of its row) / e), with e `temperature` times the mean of the least.
fn heat(distances: &mut Matrix, temperature: f32) {
    let sum: f32 = distances.each_row().map(lanes::least).sum();
    let scale = (sum / distances.rows() as f32 * temperature).max(f32::MIN_POSITIVE);
    distances.each_row_mut().for_each(|row| {
        let least = lanes::least(row);
        row.iter_mut()
            .for_each(|value| *value = ((least - *value) / scale).exp());
    });
}

/// Scales rows and columns in turns until they sum to `rows` and `columns`.
fn transport(plan: &mut Matrix, rows: &[f32], columns: &[f32]) {
    let mut of_columns = vec![1.0f32; columns.len()];
    let mut of_rows = vec![1.0f32; rows.len()];
    for step in 0..=SCALINGS {
        let is_last = step == SCALINGS;
        let zero = || vec![0.0f32; columns.len()];
        let each = plan.each_row().zip(rows).zip(&mut of_rows);
        let sums = each.fold(zero, |mut sums, ((row, mass), out)| {
            *out = mass / lanes::dot(row, &of_columns).max(TINY);
            if !is_last {
                let factor = *out;
                sums.iter_mut()
                    .zip(row)
                    .for_each(|(sum, value)| *sum += value * factor);
            }
            sums
        });
        let sums = sums.reduce(zero, |mut sums, more| {
            sums.iter_mut()
                .zip(more)
                .for_each(|(sum, more)| *sum += more);
            sums
        });
        if is_last {
            break;
        }
        for ((out, mass), sum) in of_columns.iter_mut().zip(columns).zip(sums) {
            *out = mass / sum.max(TINY);
        }
    }
    plan.scale_columns(&of_columns);
    plan.each_row_mut().zip(&of_rows).for_each(|(row, factor)| {
        row.iter_mut().for_each(|value| *value *= factor);
    });
}

/// The Q that brings each id nearest to the middle of where the plan takes it, frequent ones first.
fn next_turn(ours: &Cloud, theirs: &Cloud, mut plan: Matrix) -> Option<Mat<f64>> {
    plan.each_row_mut().for_each(|row| {
        let sum = lanes::sum(row);
        row.iter_mut().for_each(|value| *value /= sum.max(TINY));
    });
    let heavy = |side: &Matrix| {
        let mut side = side.clone();
        side.each_row_mut().zip(&ours.mass).for_each(|(row, mass)| {
            row.iter_mut().for_each(|value| *value *= mass.sqrt());
        });
        side
    };
    let middles = theirs
        .sides
        .each_ref()
        .map(|side| product(plan.view(), side.view()));
    let from = Matrix::stacked(ours.sides.each_ref().map(&heavy).into())?;
    let to = Matrix::stacked(middles.each_ref().map(heavy).into())?;
    let [left, right] = procrustes(&from, &to)?;
    Some(&left * right.transpose())
}

fn normalised(mut mass: Vec<f32>) -> Vec<f32> {
    let sum: f32 = mass.iter().sum();
    mass.iter_mut().for_each(|value| *value /= sum.max(TINY));
    mass
}

/// Dimensions of the first round.
const FIRST: usize = 3;
const ROUNDS: usize = 20;
const SCALINGS: usize = 12;
const WARM: f32 = 0.6;
const COOLING: f32 = 0.93;
const HOT: f32 = 0.15;
const TINY: f32 = 1e-30;
