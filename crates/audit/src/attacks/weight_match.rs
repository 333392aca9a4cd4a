use faer::Mat;
use rayon::prelude::*;

use crate::Error;
use crate::algebra::{cross, map};
use crate::assignment::assignment;
use crate::evidence::Attacker;
use crate::matrix::Matrix;
use crate::nearest;
use crate::weights::{Weights, responses};

/// Permutations of neurons and a signed permutation S of the hidden axis that bring two models together: neurons are matched
/// first by their sorted absolute weights; S maximises sum_ij |C_ij| over C = sum over layers of G_z^T G', by linear assignment,
/// with the signs of C; neurons are matched anew by assignment on G S G'^T; again until nothing changes. E' S^T then has the
/// rows of E, but for their order.
///
/// It aligns monomial secrets only; against rotations of the hidden axis it has nothing to find.
///
/// Source: git-re-basin, Ainsworth, Hayase and Srinivasa 2022, arXiv 2209.04836 (weight matching).
pub(super) fn study(public: &Weights) -> Result<Attacker<'_>, Error> {
    let embedding = public.embedding()?;
    let mut known = Vec::new();
    for layer in public.some_layers(LAYERS) {
        if let Some(gates) = public.gates(layer)? {
            known.push((layer, sorted(&gates), gates));
        }
    }
    Ok(Box::new(move |seen| {
        let rows = seen.weights.embedding()?.gather(seen.asked);
        if rows.columns() != embedding.columns() {
            return Ok(super::none(seen));
        }
        let mut layers = Vec::new();
        for (layer, prints, gates) in &known {
            if let Some(theirs) = seen.weights.gates(*layer)? {
                let matched = nearest::by_distance(sorted(&theirs), prints);
                layers.push((gates, theirs, matched));
            }
        }
        let mut signed = None;
        for _ in 0..ROUNDS {
            let next = signed_permutation(&layers);
            if signed.as_ref() == Some(&next) {
                break;
            }
            for (ours, theirs, matched) in &mut layers {
                *matched = match_neurons(ours, theirs, &next);
            }
            signed = Some(next);
        }
        match signed {
            Some(signed) => Ok(nearest::by_distance(
                map(&rows, signed.transpose()),
                embedding,
            )),
            None => Ok(super::none(seen)),
        }
    }))
}

fn signed_permutation(layers: &[(&Matrix, Matrix, Vec<u32>)]) -> Mat<f64> {
    let sums = layers
        .iter()
        .map(|(ours, theirs, z)| cross(&ours.gather(z), theirs));
    let Some(correlation) = sums.reduce(|sum, more| sum + more) else {
        return Mat::zeros(0, 0);
    };
    let size = correlation.nrows();
    let entry = |i: usize| correlation[(i / size, i % size)].abs() as f32;
    let gain: Vec<f32> = (0..size * size).into_par_iter().map(entry).collect();
    let mut signed = Mat::zeros(size, size);
    for (row, column) in assignment(&gain, size).into_iter().enumerate() {
        let column = column as usize;
        signed[(row, column)] = correlation[(row, column)].signum();
    }
    signed
}

/// For each encrypted neuron the one of ours.
fn match_neurons(ours: &Matrix, theirs: &Matrix, signed: &Mat<f64>) -> Vec<u32> {
    let mapped = map(ours, signed.as_ref());
    if theirs.rows() > ASSIGNED || ours.rows() != theirs.rows() {
        return nearest::by_cosine(theirs.clone(), &mapped);
    }
    let gain = responses(theirs, &mapped);
    let all: Vec<f32> = (0..gain.rows())
        .flat_map(|row| gain.row(row).to_vec())
        .collect();
    assignment(&all, gain.rows())
}

fn sorted(rows: &Matrix) -> Matrix {
    Matrix::from_rows(rows.rows(), rows.columns(), |row, out| {
        let sorted = rows.row(row).iter().map(|value| value.abs());
        out.iter_mut()
            .zip(sorted)
            .for_each(|(out, value)| *out = value);
        out.sort_unstable_by(f32::total_cmp);
    })
}

const LAYERS: usize = 3;
const ROUNDS: usize = 5;
/// More neurons than these are matched by the nearest, not by assignment.
const ASSIGNED: usize = 4096;
