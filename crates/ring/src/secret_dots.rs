use crate::{Error, IntegerWeights, PRIMES, PackedWeights, Residues};

/// Products of many vectors with a few fixed ones s, one for each prime each: for each vector y the residues of y . s.
///
/// A residue s is cut into `low + 2^15 high` with 16 bits each, signs included, so that the products are those of a linear layer
/// with a few outputs.
pub struct SecretDots {
    count: usize,
    packed: PackedWeights,
}

impl SecretDots {
    /// For these vectors s.
    #[must_use]
    pub fn new(vectors: &Residues) -> Self {
        let mut rows = Vec::with_capacity(4 * vectors.values().len());
        for vector in 0..vectors.rows() {
            for (half, prime) in vectors.row(vector).into_iter().zip(PRIMES) {
                let p = prime.get() as i32;
                let centred = |value: &u32| {
                    let value = *value as i32;
                    if value > p / 2 { value - p } else { value }
                };
                // From 0 to 2^15 - 1, and from -2^15 to 2^15 - 1.
                rows.extend(half.iter().map(|value| (centred(value) & LOW) as i16));
                rows.extend(half.iter().map(|value| (centred(value) >> BITS) as i16));
            }
        }
        Self {
            count: vectors.rows(),
            packed: PackedWeights::new(&IntegerWeights::of_integers(vectors.width(), rows)),
        }
    }

    /// For each vector y, and for each s, `y . s` modulo both primes.
    ///
    /// # Errors
    /// If the vectors have another width.
    pub fn of(&self, vectors: &Residues) -> Result<Vec<[u32; 2]>, Error> {
        let products = self.packed.times(vectors)?;
        let mut dots = Vec::with_capacity(self.count * vectors.rows());
        for row in 0..products.rows() {
            let halves = products.row(row);
            for s in 0..self.count {
                dots.push([0, 1].map(|which| {
                    let (prime, place) = (PRIMES[which], 2 * (2 * s + which));
                    let (low, high) = (halves[which][place], halves[which][place + 1]);
                    prime.add(low, prime.multiply(high, 1 << BITS))
                }));
            }
        }
        Ok(dots)
    }
}

const BITS: u32 = 15;
const LOW: i32 = (1 << BITS) - 1;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{MaskSeed, expand};

    #[test]
    fn they_are_the_dot_products() {
        let mut s = Residues::zeros(3, 500);
        expand(&MaskSeed::from_bytes([1; 32]), 0..3, &mut s);
        // The edges of both parts.
        for (half, prime) in s.row_mut(0).into_iter().zip(PRIMES) {
            let p = prime.get();
            let edges = [0, 1, p - 1, p / 2, p / 2 + 1, 32_767, 32_768, p - 32_768];
            half[..edges.len()].copy_from_slice(&edges);
        }
        let mut y = Residues::zeros(13, 500);
        expand(&MaskSeed::from_bytes([2; 32]), 0..13, &mut y);
        y.row_mut(5)
            .into_iter()
            .zip(PRIMES)
            .for_each(|(half, p)| half.fill(p.get() - 1));
        y.row_mut(6)
            .into_iter()
            .zip(PRIMES)
            .for_each(|(half, p)| half.fill(p.get() / 2));
        let dots = SecretDots::new(&s).of(&y).unwrap();
        for row in 0..13 {
            for k in 0..3 {
                let expected = [0, 1].map(|i| PRIMES[i].dot(y.row(row)[i], s.row(k)[i]));
                assert_eq!(dots[3 * row + k], expected);
            }
        }
        assert!(SecretDots::new(&s).of(&Residues::zeros(1, 499)).is_err());
    }

    /// All s at their largest size, and all y too.
    #[test]
    fn the_largest_sums_are_exact() {
        let width = 400;
        for value in [|p: u32| p / 2, |p: u32| p / 2 + 1] {
            let [mut s, mut y] = [Residues::zeros(1, width), Residues::zeros(4, width)];
            for vectors in [&mut s, &mut y] {
                for row in 0..vectors.rows() {
                    for (half, p) in vectors.row_mut(row).into_iter().zip(PRIMES) {
                        half.fill(value(p.get()));
                    }
                }
            }
            let expected = [0, 1].map(|i| PRIMES[i].dot(y.row(0)[i], s.row(0)[i]));
            assert_eq!(SecretDots::new(&s).of(&y).unwrap(), [expected; 4]);
        }
    }
}
