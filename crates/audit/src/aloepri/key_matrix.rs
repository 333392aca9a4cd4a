//! Algorithm 1 of the paper: key matrices and their inverses.
//!
//! P = [B C E] Z of shape d x D and Q = Z^T [B^-1; F; N] of shape D x d, with D = d + 2h, C F = 0 and E N = 0. B, E, F and Z
//! are drawn once, C and N anew for each key matrix, and so P Q = B B^-1 + C F + E N = I for every P with every Q.

use faer::linalg::matmul::matmul;
use faer::linalg::solvers::DenseSolveCore;
use faer::{Accum, Mat, MatMut, MatRef, Par};

use super::draws::Draws;

/// The two families of key matrices of one model.
pub(super) struct KeyMatrices {
    /// P: behind what writes the residual stream.
    pub(super) writing: Family,
    /// Q^T: behind what reads it, as Hugging Face stores linear layers (outputs by inputs).
    pub(super) reading: Family,
}

/// The matrices `base + G spread` for G with independent entries from N(0, 1/d): d x D + (d x h/2) (h/2 x D).
///
/// A row of C is a combination of an orthonormal basis of the left null space of F, which has h/2 vectors; `spread` is that
/// basis carried through Z. So a fresh key matrix acts on a row x as x base + (x G) spread, and is never formed.
pub(super) struct Family {
    base: Mat<f64>,
    spread: Mat<f64>,
}

/// One key matrix of a family.
pub(super) struct KeyMatrix<'a> {
    family: &'a Family,
    coefficients: Mat<f64>,
}

impl KeyMatrices {
    /// INIT(d, h, lambda) of Algorithm 1, with what does not change of KEYMATGEN and INVKEYMATGEN. `h` is even.
    pub(super) fn draw(rng: &mut Draws, d: usize, h: usize, lambda: f64) -> Self {
        let (half, wide, variance) = (h / 2, d + 2 * h, 1.0 / d as f64);
        let b = rng.orthogonal(d) + rng.gaussian(d, d, lambda * lambda * variance);
        let inverse = b.partial_piv_lu().inverse();
        let (e1, e2) = (
            rng.gaussian(d, half, variance),
            rng.gaussian(half, h, variance),
        );
        let (f1, f2) = (
            rng.gaussian(h, half, variance),
            rng.gaussian(half, d, variance),
        );
        let z = rng.orthogonal(wide);

        let (e, f) = (
            product(e1.as_ref(), e2.as_ref()),
            product(f1.as_ref(), f2.as_ref()),
        );
        let (first, middle, last) = (z.subrows(0, d), z.subrows(d, h), z.subrows(d + h, h));
        let writing = Family {
            base: product(b.as_ref(), first) + product(e.as_ref(), last),
            spread: product(complement(f1.as_ref()).transpose(), middle),
        };
        let reading = Family {
            base: product(inverse.transpose(), first) + product(f.transpose(), middle),
            spread: product(complement(e2.transpose()).transpose(), last),
        };
        Self { writing, reading }
    }

    /// kappa = E[rms(x P) / rms(x)] for x with independent N(0, 1) coordinates, as the root of the mean of the squares,
    /// ||P||_F^2 / D: the ratio's own spread is of the order 1 / d.
    pub(super) fn kappa(&self) -> f64 {
        let Family { base, spread } = &self.writing;
        let square = base.squared_norm_l2() + spread.squared_norm_l2();
        (square / base.ncols() as f64).sqrt()
    }
}

impl Family {
    /// D.
    pub(super) fn width(&self) -> usize {
        self.base.ncols()
    }

    /// KEYMATGEN or INVKEYMATGEN of Algorithm 1.
    pub(super) fn draw(&self, rng: &mut Draws) -> KeyMatrix<'_> {
        let (d, half) = (self.base.nrows(), self.spread.nrows());
        KeyMatrix {
            family: self,
            coefficients: rng.gaussian(d, half, 1.0 / d as f64),
        }
    }
}

impl KeyMatrix<'_> {
    /// out = X K for X with rows of d numbers.
    pub(super) fn apply(&self, x: MatRef<'_, f64>, mut out: MatMut<'_, f64>) {
        let Family { base, spread } = self.family;
        let fresh = product(x, self.coefficients.as_ref());
        matmul(
            out.as_mut(),
            Accum::Replace,
            x,
            base.as_ref(),
            1.0,
            Par::Seq,
        );
        matmul(
            out,
            Accum::Add,
            fresh.as_ref(),
            spread.as_ref(),
            1.0,
            Par::Seq,
        );
    }
}

/// A B on the calling thread.
pub(super) fn product(a: MatRef<'_, f64>, b: MatRef<'_, f64>) -> Mat<f64> {
    let mut out = Mat::zeros(a.nrows(), b.ncols());
    matmul(out.as_mut(), Accum::Replace, a, b, 1.0, Par::Seq);
    out
}

/// An orthonormal basis, as columns, of what is orthogonal to the columns of an h x h/2 matrix.
fn complement(columns: MatRef<'_, f64>) -> Mat<f64> {
    let (rows, rank) = (columns.nrows(), columns.ncols());
    let q = columns.to_owned().qr().compute_Q();
    q.subcols(rank, rows - rank).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aloepri::draws::Part;

    fn formed(key: &KeyMatrix<'_>) -> Mat<f64> {
        let d = key.family.base.nrows();
        let mut out = Mat::zeros(d, key.family.width());
        key.apply(Mat::<f64>::identity(d, d).as_ref(), out.as_mut());
        out
    }

    #[test]
    fn every_key_matrix_meets_every_inverse_in_the_identity() {
        for (d, h, lambda) in [(24, 8, 0.3), (24, 0, 0.0), (24, 64, 1.0), (65, 32, 0.3)] {
            let mut rng = Draws::new(&[3; 32], Part::Base);
            let keys = KeyMatrices::draw(&mut rng, d, h, lambda);
            let [p1, p2] = [(); 2].map(|()| formed(&keys.writing.draw(&mut rng)));
            let [q1, q2] = [(); 2].map(|()| formed(&keys.reading.draw(&mut rng)));
            assert_eq!((p1.nrows(), p1.ncols()), (d, d + 2 * h));
            for (p, q) in [(&p1, &q1), (&p1, &q2), (&p2, &q1), (&p2, &q2)] {
                let error = product(p.as_ref(), q.transpose()) - Mat::<f64>::identity(d, d);
                assert!(
                    error.norm_max() < 1e-10,
                    "d {d}, h {h}: {}",
                    error.norm_max()
                );
            }
            assert_eq!((&p1 - &p2).norm_max() > 0.01, h > 0);
            assert_eq!((&q1 - &q2).norm_max() > 0.01, h > 0);
        }
    }

    #[test]
    fn kappa_is_the_mean_ratio_of_gaussian_vectors() {
        let mut rng = Draws::new(&[4; 32], Part::Base);
        let keys = KeyMatrices::draw(&mut rng, 200, 40, 0.3);
        let samples = 400;
        let mut sum = 0.0;
        for _ in 0..samples {
            let x = rng.gaussian(1, 200, 1.0);
            let mut y = Mat::zeros(1, 280);
            keys.writing.draw(&mut rng).apply(x.as_ref(), y.as_mut());
            sum += y.norm_l2() / x.norm_l2() * (200f64 / 280.0).sqrt();
        }
        let mean = sum / f64::from(samples);
        assert!(
            (mean / keys.kappa() - 1.0).abs() < 0.01,
            "{mean} {}",
            keys.kappa()
        );
    }
}
