use equicrypt_ring::{
    Error as RingError, IntegerWeights, MaskSeed, PRIMES, Residues, SecretDots, expand,
};

/// What the answers of one layer are checked with (Freivalds 1977): for each prime p two secret vectors s, uniform in Z_p^out,
/// and t = W^T s. An answer y to q is taken if `y . s = q . t` for all four.
///
/// If y is W q, then `y . s = q . W^T s` always. If it is not, then y - W q is not zero modulo one prime p at least, and
/// `(y - W q) . s` is uniform in Z_p over s: both vectors of that prime miss the error with probability p^-2, which is less than
/// 2^-61.99. A host learns of s only whether it was caught; when it is, the session ends and the host is named. So after n
/// wrong answers, each of which would be seen, one has passed with probability n / (p^2 - n) at most. One vector for each prime would
/// leave p^-1 to a host that is wrong modulo one prime alone.
pub(crate) struct LayerCheck {
    /// With two vectors of outputs.
    secret: SecretDots,
    /// With two vectors of inputs.
    product: SecretDots,
}

/// What the answer to a question must give: for each vector, and for each secret one, residues for both primes.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Expected(Vec<[u32; 2]>);

/// Secret vectors of a layer.
pub(crate) const VECTORS: usize = 2;

impl LayerCheck {
    /// W^T s of layer number `layer`, which is kept.
    pub(crate) fn product_of(
        seed: &MaskSeed,
        layer: usize,
        weights: &IntegerWeights,
    ) -> Result<Residues, RingError> {
        let secret = secret(seed, layer, weights.outputs());
        let mut product = Residues::zeros(VECTORS, weights.inputs());
        for (which, prime) in PRIMES.into_iter().enumerate() {
            let vectors: Vec<&[u32]> = (0..VECTORS).map(|k| secret.row(k)[which]).collect();
            let products = weights.transposed_times(prime, &vectors)?;
            for (k, values) in products.into_iter().enumerate() {
                product.row_mut(k)[which].copy_from_slice(&values);
            }
        }
        Ok(product)
    }

    /// From what was kept of it.
    pub(crate) fn new(seed: &MaskSeed, layer: usize, outputs: usize, product: &Residues) -> Self {
        Self {
            secret: SecretDots::new(&secret(seed, layer, outputs)),
            product: SecretDots::new(product),
        }
    }

    /// q . t for each vector q, which does not depend on the answers.
    pub(crate) fn expect(&self, queries: &Residues) -> Result<Expected, RingError> {
        self.product.of(queries).map(Expected)
    }

    /// Whether y . s is that for each answer y.
    pub(crate) fn accepts(
        &self,
        expected: &Expected,
        answers: &Residues,
    ) -> Result<bool, RingError> {
        Ok(self.secret.of(answers)? == expected.0)
    }
}

fn secret(seed: &MaskSeed, layer: usize, outputs: usize) -> Residues {
    let mut secret = Residues::zeros(VECTORS, outputs);
    let first = (VECTORS * layer) as u64;
    expand(seed, first.., &mut secret);
    secret
}

#[cfg(test)]
mod tests {
    use equicrypt_ring::PackedWeights;

    use super::*;

    const SEED: [u8; 32] = [1; 32];

    /// A layer's check, a question of two vectors, and the answer to it.
    fn question() -> (LayerCheck, Residues, Residues) {
        let weights = IntegerWeights::quantise(7, 5, |row, out| {
            out.extend((0..5).map(|i| ((row * 13 + i * 7) % 11) as f64 - 5.0));
        });
        let (seed, weights) = (MaskSeed::from_bytes(SEED), weights.unwrap());
        let product = LayerCheck::product_of(&seed, 3, &weights).unwrap();
        let mut queries = Residues::zeros(2, 5);
        expand(&MaskSeed::from_bytes([2; 32]), [9, 10], &mut queries);
        let answers = PackedWeights::new(&weights).times(&queries).unwrap();
        (LayerCheck::new(&seed, 3, 7, &product), queries, answers)
    }

    #[test]
    fn right_answers_pass() {
        let (check, queries, answers) = question();
        let expected = check.expect(&queries).unwrap();
        assert!(check.accepts(&expected, &answers).unwrap());
    }

    #[test]
    fn every_flipped_bit_is_seen() {
        let (check, queries, answers) = question();
        let expected = check.expect(&queries).unwrap();
        let mut bytes = Vec::new();
        answers.append_bytes(&mut bytes);
        let mut not_residues = 0;
        for bit in 0..8 * bytes.len() {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            match Residues::from_bytes(7, &flipped) {
                Ok(answers) => {
                    assert!(!check.accepts(&expected, &answers).unwrap(), "bit {bit}");
                }
                Err(_) => not_residues += 1,
            }
        }
        assert!(
            not_residues >= 28,
            "the highest bit of each is none of a residue's"
        );
    }

    #[test]
    fn an_answer_that_is_wrong_modulo_one_prime_alone_is_seen() {
        let (check, queries, answers) = question();
        let expected = check.expect(&queries).unwrap();
        for (which, prime) in PRIMES.into_iter().enumerate() {
            for place in 0..14 {
                for error in [1, 2, prime.get() / 2, prime.get() - 1] {
                    let mut wrong = answers.clone();
                    let place = &mut wrong.row_mut(place / 7)[which][place % 7];
                    *place = prime.add(*place, error);
                    assert!(!check.accepts(&expected, &wrong).unwrap());
                }
            }
        }
    }

    /// An error that one secret vector misses, the other one sees.
    #[test]
    fn each_of_both_vectors_counts() {
        let (check, queries, answers) = question();
        let expected = check.expect(&queries).unwrap();
        let secret = secret(&MaskSeed::from_bytes(SEED), 3, 7);
        for (which, prime) in PRIMES.into_iter().enumerate() {
            for k in 0..VECTORS {
                let s = secret.row(k)[which];
                let mut wrong = answers.clone();
                // (s_1, -s_0, 0, ...) is at right angles to s.
                let [first, second] = wrong.row_mut(0);
                let row = if which == 0 { first } else { second };
                row[0] = prime.add(row[0], s[1]);
                row[1] = prime.subtract(row[1], s[0]);
                let found = check.secret.of(&wrong).unwrap();
                let missed = found[k] == expected.0[k];
                let seen = found[1 - k] != expected.0[1 - k];
                assert!(missed && seen);
            }
        }
    }
}
