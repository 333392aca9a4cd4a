//! The linear algebra of attacks, through `faer`: products in f32, decompositions in f64.

use faer::linalg::matmul::matmul;
use faer::linalg::solvers::Solve;
use faer::{Accum, Mat, MatRef, Par, Side};
use rayon::prelude::*;

use crate::matrix::Matrix;

/// A B, of which both are given as rows: A of shape `[n, k]`, B of shape `[k, m]`.
pub(crate) fn product(a: MatRef<'_, f32>, b: MatRef<'_, f32>) -> Matrix {
    let (rows, columns) = (a.nrows(), b.ncols());
    let mut values = vec![0.0; rows * columns];
    let out = faer::MatMut::from_row_major_slice_mut(&mut values, rows, columns);
    matmul(out, Accum::Replace, a, b, 1.0, Par::rayon(0));
    Matrix::new(columns, values)
}

/// A^T B in f64, of matrices with equally many rows.
pub(crate) fn cross(a: &Matrix, b: &Matrix) -> Mat<f64> {
    let mut sum = Mat::zeros(a.columns(), b.columns());
    for start in (0..a.rows()).step_by(BLOCK) {
        let rows = start..(start + BLOCK).min(a.rows());
        let (a, b) = (wide(a, rows.clone()), wide(b, rows));
        matmul(
            sum.as_mut(),
            Accum::Add,
            a.transpose(),
            b.as_ref(),
            1.0,
            Par::rayon(0),
        );
    }
    sum
}

/// A^T A in f64.
pub(crate) fn gram(a: &Matrix) -> Mat<f64> {
    cross(a, a)
}

/// The X of shape `[a's columns, b's columns]` that minimises |A X - B|^2 + ridge |A|^2 / d |X|^2. None if A^T A is not
/// positive definite even so.
pub(crate) fn least_squares(a: &Matrix, b: &Matrix, ridge: f64) -> Option<Mat<f64>> {
    let mut normal = gram(a);
    let size = normal.nrows();
    let trace: f64 = (0..size).map(|i| normal[(i, i)]).sum();
    for i in 0..size {
        normal[(i, i)] += ridge * trace / size as f64;
    }
    let solver = normal.llt(Side::Lower).ok()?;
    Some(solver.solve(cross(a, b)))
}

/// The isometry between the spaces that A and B span which brings A nearest to B: X = U V^T with A^T B = U S V^T, of the
/// singular values that are not zero (the orthogonal Procrustes problem; Schönemann 1966).
pub(crate) fn procrustes(a: &Matrix, b: &Matrix) -> Option<[Mat<f64>; 2]> {
    let svd = cross(a, b).thin_svd().ok()?;
    let singular: Vec<f64> = svd.S().column_vector().iter().copied().collect();
    let largest = singular.first().copied().unwrap_or(0.0);
    let rank = (singular.iter())
        .take_while(|value| **value > 1e-9 * largest)
        .count();
    let part = |m: MatRef<'_, f64>| m.subcols(0, rank).to_owned();
    Some([part(svd.U()), part(svd.V())])
}

/// Eigenvalues, largest first, and eigenvectors, one a column, of a symmetric matrix.
pub(crate) fn eigen(symmetric: &Mat<f64>) -> Option<(Vec<f64>, Mat<f64>)> {
    let eigen = symmetric.self_adjoint_eigen(Side::Lower).ok()?;
    let mut values: Vec<f64> = eigen.S().column_vector().iter().copied().collect();
    values.reverse();
    let size = values.len();
    let vectors = Mat::from_fn(size, size, |i, j| eigen.U()[(i, size - 1 - j)]);
    Some((values, vectors))
}

/// A X in f32, for X in f64.
pub(crate) fn map(a: &Matrix, x: MatRef<'_, f64>) -> Matrix {
    let x = Mat::from_fn(x.nrows(), x.ncols(), |i, j| x[(i, j)] as f32);
    product(a.view(), x.as_ref())
}

/// x A^-1 x^T for each row x, for a symmetric positive A; by Cholesky's A = L L^T, |L^-1 x|^2.
pub(crate) fn leverages(rows: &Matrix, a: &Mat<f64>) -> Option<Vec<f64>> {
    let solver = a.llt(Side::Lower).ok()?;
    let size = a.nrows();
    let mut inverse = Mat::<f64>::identity(size, size);
    faer::linalg::triangular_solve::solve_lower_triangular_in_place(
        solver.L(),
        inverse.as_mut(),
        Par::rayon(0),
    );
    let starts: Vec<usize> = (0..rows.rows()).step_by(BLOCK).collect();
    let blocks = starts.into_iter().flat_map(|start| {
        let block = wide(rows, start..(start + BLOCK).min(rows.rows()));
        let mapped = &block * inverse.transpose();
        let squares = (0..mapped.nrows()).map(|i| mapped.row(i).squared_norm_l2());
        squares.collect::<Vec<_>>()
    });
    Some(blocks.collect())
}

fn wide(a: &Matrix, rows: std::ops::Range<usize>) -> Mat<f64> {
    let first = rows.start;
    Mat::from_fn(rows.len(), a.columns(), |i, j| {
        f64::from(a.row(first + i)[j])
    })
}

/// The sum of the cubes of each column.
pub(crate) fn third_moments(a: &Matrix) -> Vec<f64> {
    let zero = || vec![0.0; a.columns()];
    a.each_row()
        .fold(zero, |mut sums, row| {
            for (sum, value) in sums.iter_mut().zip(row) {
                *sum += f64::from(*value).powi(3);
            }
            sums
        })
        .reduce(zero, |mut sums, more| {
            sums.iter_mut()
                .zip(more)
                .for_each(|(sum, more)| *sum += more);
            sums
        })
}

/// Rows that are widened at once.
const BLOCK: usize = 4096;
