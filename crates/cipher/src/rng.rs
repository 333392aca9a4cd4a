//! Randomness that anyone can derive again from the same subkey: ChaCha20, and sampling of our own on top in integers and
//! scalar f64 with `libm`, because the samplers of general libraries may change between versions and platforms.

use chacha20::ChaCha20Rng;
use chacha20::rand_core::{Rng, SeedableRng};

/// A stream of secret random numbers.
pub(crate) struct SecretRng {
    stream: ChaCha20Rng,
}

impl SecretRng {
    /// ChaCha20 (RFC 8439) with this key and nonce 0.
    pub(crate) fn new(subkey: &[u8; 32]) -> Self {
        Self {
            stream: ChaCha20Rng::from_seed(*subkey),
        }
    }

    /// Uniform in 0 ... 2^64 - 1: two little-endian words of the stream.
    pub(crate) fn next_u64(&mut self) -> u64 {
        let low = u64::from(self.stream.next_u32());
        low | u64::from(self.stream.next_u32()) << 32
    }

    /// Uniform in 0 ... bound - 1, without bias: the high word of bound * u64, redrawn where the low word falls into the
    /// incomplete last interval (Lemire 2019, arXiv 1805.10941, Algorithm 5). `bound` is at least 1.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        loop {
            let product = u128::from(self.next_u64()) * u128::from(bound);
            if product as u64 >= bound.wrapping_neg() % bound {
                return (product >> 64) as u64;
            }
        }
    }

    /// Uniform in -1 ... 1, in steps of 2^-52.
    fn symmetric(&mut self) -> f64 {
        (self.next_u64() >> 11) as f64 * 2f64.powi(-52) - 1.0
    }

    /// Two independent N(0, 1) draws: Marsaglia's polar method, rejecting points outside the unit disc.
    pub(crate) fn gaussian_pair(&mut self) -> (f64, f64) {
        loop {
            let (u, v) = (self.symmetric(), self.symmetric());
            let square = u * u + v * v;
            if square < 1.0 && square > 0.0 {
                let factor = (-2.0 * libm::log(square) / square).sqrt();
                return (u * factor, v * factor);
            }
        }
    }

    /// A uniformly random permutation of 0 ... n - 1: Fisher-Yates from the end.
    pub(crate) fn permutation(&mut self, n: usize) -> Vec<u32> {
        let mut order: Vec<u32> = (0..n as u32).collect();
        for last in (1..n).rev() {
            order.swap(last, self.below(last as u64 + 1) as usize);
        }
        order
    }

    /// -1 or 1.
    pub(crate) fn sign(&mut self) -> f64 {
        if self.below(2) == 0 { 1.0 } else { -1.0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rng() -> SecretRng {
        SecretRng::new(&[7; 32])
    }

    #[test]
    fn permutations_are_uniform() {
        let (mut rng, mut counts) = (rng(), [0f64; 24]);
        let draws = 48_000;
        for _ in 0..draws {
            let p = rng.permutation(4);
            let rank = |i: usize| p[i + 1..].iter().filter(|later| **later < p[i]).count();
            counts[rank(0) * 6 + rank(1) * 2 + rank(2)] += 1.0;
        }
        let expected = f64::from(draws) / 24.0;
        let chi2: f64 = counts
            .iter()
            .map(|c| (c - expected).powi(2) / expected)
            .sum();
        assert!(
            chi2 < 49.7,
            "chi-square {chi2} exceeds the 0.1 % point for 23 degrees"
        );
    }

    #[test]
    fn gaussians_have_their_moments() {
        let mut rng = rng();
        let draws: Vec<f64> = (0..50_000)
            .flat_map(|_| <[f64; 2]>::from(rng.gaussian_pair()))
            .collect();
        let moment = |k: i32| draws.iter().map(|x| x.powi(k)).sum::<f64>() / draws.len() as f64;
        assert!(moment(1).abs() < 0.015);
        assert!((moment(2) - 1.0).abs() < 0.02);
        assert!(moment(3).abs() < 0.05);
        assert!((moment(4) - 3.0).abs() < 0.15);
    }
}
