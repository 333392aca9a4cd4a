//! Small dense matrices for secrets, in scalar f64.

use crate::rng::SecretRng;

/// A random n x n orthogonal matrix, row by row, from the Haar measure: Gaussian rows, orthonormalised in order
/// (Gram-Schmidt, twice for accuracy), which is the QR factor with a positive diagonal (Mezzadri 2007, arXiv
/// math-ph/0609050).
pub(crate) fn haar(rng: &mut SecretRng, n: usize) -> Vec<f64> {
    let mut matrix = vec![0.0; n * n];
    for row in 0..n {
        let (done, rest) = matrix.split_at_mut(row * n);
        let new = &mut rest[..n];
        loop {
            for pair in new.chunks_mut(2) {
                let (a, b) = rng.gaussian_pair();
                for (value, draw) in pair.iter_mut().zip([a, b]) {
                    *value = draw;
                }
            }
            for _ in 0..2 {
                for earlier in done.chunks_exact(n) {
                    let overlap = dot(earlier, new);
                    new.iter_mut()
                        .zip(earlier)
                        .for_each(|(x, e)| *x -= overlap * e);
                }
            }
            let norm = dot(new, new).sqrt();
            if norm > SMALLEST_NORM {
                new.iter_mut().for_each(|x| *x /= norm);
                break;
            }
        }
    }
    matrix
}

/// A random n x n orthogonal matrix that keeps the vector of ones, row by row: H diag(1, Q) H with Q Haar-distributed and H
/// the reflection that exchanges the first unit vector with the ones divided by sqrt(n).
pub(crate) fn mean_keeping(rng: &mut SecretRng, n: usize) -> Vec<f64> {
    let rest = haar(rng, n - 1);
    let mut matrix = vec![0.0; n * n];
    matrix[0] = 1.0;
    for (row, values) in matrix.chunks_exact_mut(n).skip(1).enumerate() {
        values[1..].copy_from_slice(&rest[row * (n - 1)..][..n - 1]);
    }
    let one = 1.0 / (n as f64).sqrt();
    let mut normal = vec![-one; n];
    normal[0] += 1.0;
    let square = dot(&normal, &normal);
    if square < SMALLEST_NORM {
        return matrix;
    }
    let reflect = |vector: &mut [f64]| {
        let overlap = 2.0 * dot(vector, &normal) / square;
        vector
            .iter_mut()
            .zip(&normal)
            .for_each(|(x, n)| *x -= overlap * n);
    };
    matrix.chunks_exact_mut(n).for_each(reflect);
    for column in 0..n {
        let mut vector: Vec<f64> = matrix.iter().skip(column).step_by(n).copied().collect();
        reflect(&mut vector);
        for (row, value) in vector.into_iter().enumerate() {
            matrix[row * n + column] = value;
        }
    }
    matrix
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// A row this close to the span of the earlier ones is drawn again; its direction would be rounding noise.
const SMALLEST_NORM: f64 = 1e-6;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn haar_matrices_are_orthogonal() {
        let mut rng = SecretRng::new(&[1; 32]);
        let all = [1, 2, 3, 16, 33].map(|n| (n, haar(&mut rng, n)));
        let kept = [1, 2, 3, 16].map(|n| (n, mean_keeping(&mut rng, n)));
        for (n, q) in all.into_iter().chain(kept) {
            for i in 0..n {
                for j in 0..n {
                    let product = dot(&q[i * n..][..n], &q[j * n..][..n]);
                    let expected = f64::from(i == j);
                    assert!(
                        (product - expected).abs() < 1e-13,
                        "n {n}: ({i}, {j}) is {product}"
                    );
                }
            }
        }
    }

    #[test]
    fn haar_entries_have_mean_zero_and_variance_one_over_n() {
        let mut rng = SecretRng::new(&[2; 32]);
        let entries: Vec<f64> = (0..2000).flat_map(|_| haar(&mut rng, 3)).collect();
        let mean = entries.iter().sum::<f64>() / entries.len() as f64;
        let square = dot(&entries, &entries) / entries.len() as f64;
        assert!(mean.abs() < 0.02 && (square - 1.0 / 3.0).abs() < 1e-12);
    }
}
