use chacha20::ChaCha20Rng;
use chacha20::rand_core::{Rng, SeedableRng};
use faer::Mat;

/// Random numbers of one part of the scheme: ChaCha20 (RFC 8439) under the seed, the part as its nonce.
///
/// They come from a seed of the audit's own and not from an owner's key: this is a baseline, and keeps nobody's secret.
pub(super) struct Draws(ChaCha20Rng);

/// What random numbers are for.
#[derive(Clone, Copy)]
pub(super) enum Part {
    /// The matrices that all key matrices share.
    Base,
    /// The permutation of ids.
    Vocabulary,
    /// What belongs to one layer.
    Layer(usize),
    /// The fresh key matrices of one tensor.
    Tensor(usize),
    /// The noise on one block of rows of one tensor.
    Noise(usize, usize),
}

impl Draws {
    pub(super) fn new(seed: &[u8; 32], part: Part) -> Self {
        let (kind, first, second) = match part {
            Part::Base => (0, 0, 0),
            Part::Vocabulary => (1, 0, 0),
            Part::Layer(layer) => (2, layer, 0),
            Part::Tensor(tensor) => (3, tensor, 0),
            Part::Noise(tensor, block) => (4, tensor, block),
        };
        let mut stream = ChaCha20Rng::from_seed(*seed);
        stream.set_stream((kind << 60) | ((first as u64) << 30) | second as u64);
        Self(stream)
    }

    fn next(&mut self) -> u64 {
        let low = u64::from(self.0.next_u32());
        low | (u64::from(self.0.next_u32()) << 32)
    }

    /// Uniform in 0 ... 1, in steps of 2^-53.
    pub(super) fn uniform(&mut self) -> f64 {
        (self.next() >> 11) as f64 * 2f64.powi(-53)
    }

    /// Uniform in 0 ... bound - 1, up to a bias of bound / 2^64.
    pub(super) fn below(&mut self, bound: usize) -> usize {
        ((u128::from(self.next()) * bound as u128) >> 64) as usize
    }

    /// A uniformly random permutation of 0 ... n - 1.
    pub(super) fn permutation(&mut self, n: usize) -> Vec<usize> {
        let mut order: Vec<usize> = (0..n).collect();
        for last in (1..n).rev() {
            order.swap(last, self.below(last + 1));
        }
        order
    }

    /// Adds N(0, deviation^2) to each value.
    pub(super) fn add_noise(&mut self, values: &mut [f64], deviation: f64) {
        for pair in values.chunks_mut(2) {
            let (a, b) = self.gaussian_pair();
            for (value, draw) in pair.iter_mut().zip([a, b]) {
                *value += deviation * draw;
            }
        }
    }

    /// Entries from N(0, variance).
    pub(super) fn gaussian(&mut self, rows: usize, columns: usize, variance: f64) -> Mat<f64> {
        let mut values = vec![0.0; rows * columns];
        self.add_noise(&mut values, variance.sqrt());
        Mat::from_fn(rows, columns, |row, column| values[row * columns + column])
    }

    /// Uniform in O(n): the orthogonal factor of a Gaussian matrix, its columns' signs those that make the diagonal of the
    /// triangular factor positive (Mezzadri 2007, arXiv math-ph/0609050).
    pub(super) fn orthogonal(&mut self, n: usize) -> Mat<f64> {
        let factors = self.gaussian(n, n, 1.0).qr();
        let q = factors.compute_Q();
        let r = factors.R();
        Mat::from_fn(n, n, |row, column| {
            q[(row, column)] * r[(column, column)].signum()
        })
    }

    /// -1 or 1, times a power of two whose exponent is uniform in -1 ... 1.
    pub(super) fn scale(&mut self) -> f64 {
        let sign = if self.below(2) == 0 { 1.0 } else { -1.0 };
        sign * libm::exp2(2.0 * self.uniform() - 1.0)
    }

    /// Two independent N(0, 1) draws: Marsaglia's polar method.
    fn gaussian_pair(&mut self) -> (f64, f64) {
        loop {
            let (u, v) = (2.0 * self.uniform() - 1.0, 2.0 * self.uniform() - 1.0);
            let square = u * u + v * v;
            if square < 1.0 && square > 0.0 {
                let factor = (-2.0 * libm::log(square) / square).sqrt();
                return (u * factor, v * factor);
            }
        }
    }
}
