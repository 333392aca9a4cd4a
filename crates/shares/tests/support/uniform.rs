//! Whether residues are uniform.

use equicrypt_ring::{PRIMES, Residues};

/// chi^2 over equal ranges of residues, as standard deviations from what is expected of uniform ones.
pub fn deviation(counts: &[u64]) -> f64 {
    let total: u64 = counts.iter().sum();
    let expected = total as f64 / counts.len() as f64;
    let square = |count: &u64| (*count as f64 - expected).powi(2) / expected;
    let degrees = (counts.len() - 1) as f64;
    (counts.iter().map(square).sum::<f64>() - degrees) / (2.0 * degrees).sqrt()
}

/// How many residues modulo one of the primes are in each of so many ranges.
pub fn histogram(residues: &Residues, which: usize, counts: &mut [u64]) {
    let ranges = counts.len() as u64;
    for row in 0..residues.rows() {
        for value in residues.row(row)[which] {
            let place = u64::from(*value) * ranges / u64::from(PRIMES[which].get());
            counts[place as usize] += 1;
        }
    }
}
