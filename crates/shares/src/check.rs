use equicrypt_ring::{IntegerWeights, MaskSeed, PRIMES, Residues, expand};

/// What the answers of one layer are checked with (Freivalds 1977): for each prime p two secret vectors s, uniform in Z_p^out,
/// and t = W^T s. An answer y to q is taken if `y . s = q . t` for all four.
///
/// If y is W q, then `y . s = q . W^T s` always. If it is not, then y - W q is not zero modulo one prime p at least, and
/// `(y - W q) . s` is uniform in Z_p over s: both vectors of that prime miss the error with probability p^-2, which is less than
/// 2^-61.99. A host learns of s only whether it was caught; when it is, the session ends and the host is named. So after n
/// wrong answers, each of which would be seen, one has passed with probability n / (p^2 - n) at most. One vector for each prime would
/// leave p^-1 to a host that is wrong modulo one prime alone.
pub(crate) struct LayerCheck {
    /// Two vectors of outputs.
    secret: Residues,
    /// Two vectors of inputs.
    product: Residues,
}

/// Secret vectors of a layer.
pub(crate) const VECTORS: usize = 2;

impl LayerCheck {
    /// Of layer number `layer`.
    pub(crate) fn new(
        seed: &MaskSeed,
        layer: usize,
        weights: &IntegerWeights,
    ) -> Result<Self, equicrypt_ring::Error> {
        let secret = secret(seed, layer, weights.outputs());
        let mut product = Residues::zeros(VECTORS, weights.inputs());
        for (which, prime) in PRIMES.into_iter().enumerate() {
            let vectors: Vec<&[u32]> = (0..VECTORS).map(|k| secret.row(k)[which]).collect();
            let products = weights.transposed_times(prime, &vectors)?;
            for (k, values) in products.into_iter().enumerate() {
                product.row_mut(k)[which].copy_from_slice(&values);
            }
        }
        Ok(Self { secret, product })
    }

    /// From what was kept of it.
    pub(crate) fn kept(seed: &MaskSeed, layer: usize, outputs: usize, product: Residues) -> Self {
        let secret = secret(seed, layer, outputs);
        Self { secret, product }
    }

    /// W^T s, which is kept.
    pub(crate) fn product(&self) -> &Residues {
        &self.product
    }

    /// q . t, which does not depend on the answer.
    pub(crate) fn expect(&self, query: [&[u32]; 2]) -> [[u32; VECTORS]; 2] {
        dots(query, &self.product)
    }

    /// Whether y . s is that.
    pub(crate) fn accepts(&self, expected: [[u32; VECTORS]; 2], answer: [&[u32]; 2]) -> bool {
        dots(answer, &self.secret) == expected
    }
}

fn secret(seed: &MaskSeed, layer: usize, outputs: usize) -> Residues {
    let mut secret = Residues::zeros(VECTORS, outputs);
    let first = (VECTORS * layer) as u64;
    expand(seed, first.., &mut secret);
    secret
}

fn dots(vector: [&[u32]; 2], others: &Residues) -> [[u32; VECTORS]; 2] {
    let mut dots = [[0; VECTORS]; 2];
    for (which, prime) in PRIMES.into_iter().enumerate() {
        for (k, dot) in dots[which].iter_mut().enumerate() {
            *dot = prime.dot(vector[which], others.row(k)[which]);
        }
    }
    dots
}

#[cfg(test)]
mod tests {
    use equicrypt_ring::PackedWeights;

    use super::*;

    fn weights() -> IntegerWeights {
        IntegerWeights::quantise(7, 5, |row, out| {
            out.extend((0..5).map(|i| ((row * 13 + i * 7) % 11) as f64 - 5.0));
        })
        .unwrap()
    }

    fn question() -> (LayerCheck, Residues, Residues) {
        let weights = weights();
        let check = LayerCheck::new(&MaskSeed::from_bytes([1; 32]), 3, &weights).unwrap();
        let mut queries = Residues::zeros(1, 5);
        expand(&MaskSeed::from_bytes([2; 32]), [9], &mut queries);
        let answers = PackedWeights::new(&weights).times(&queries).unwrap();
        (check, queries, answers)
    }

    #[test]
    fn right_answers_pass_and_what_is_kept_is_enough() {
        let (check, queries, answers) = question();
        let seed = MaskSeed::from_bytes([1; 32]);
        let kept = LayerCheck::kept(&seed, 3, 7, check.product().clone());
        for check in [check, kept] {
            assert!(check.accepts(check.expect(queries.row(0)), answers.row(0)));
        }
    }

    #[test]
    fn every_flipped_bit_is_seen() {
        let (check, queries, answers) = question();
        let expected = check.expect(queries.row(0));
        let mut bytes = Vec::new();
        answers.append_bytes(&mut bytes);
        let mut not_residues = 0;
        for bit in 0..8 * bytes.len() {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            match Residues::from_bytes(7, &flipped) {
                Ok(answer) => assert!(!check.accepts(expected, answer.row(0)), "bit {bit}"),
                Err(_) => not_residues += 1,
            }
        }
        assert!(
            not_residues >= 14,
            "the highest bit of each is none of a residue's"
        );
    }

    #[test]
    fn an_answer_that_is_wrong_modulo_one_prime_alone_is_seen() {
        let (check, queries, answers) = question();
        let expected = check.expect(queries.row(0));
        for (which, prime) in PRIMES.into_iter().enumerate() {
            for output in 0..7 {
                for error in [1, 2, prime.get() / 2, prime.get() - 1] {
                    let mut wrong = answers.clone();
                    let place = &mut wrong.row_mut(0)[which][output];
                    *place = prime.add(*place, error);
                    assert!(!check.accepts(expected, wrong.row(0)));
                }
            }
        }
    }

    /// An error that one secret vector misses, the other one sees.
    #[test]
    fn each_of_both_vectors_counts() {
        let (check, queries, answers) = question();
        let expected = check.expect(queries.row(0));
        for (which, prime) in PRIMES.into_iter().enumerate() {
            for k in 0..VECTORS {
                let s = check.secret.row(k)[which];
                let mut wrong = answers.clone();
                // (s_1, -s_0, 0, ...) is at right angles to s.
                let row = &mut wrong.row_mut(0)[which];
                row[0] = prime.add(row[0], s[1]);
                row[1] = prime.subtract(row[1], s[0]);
                let found = dots(wrong.row(0), &check.secret);
                assert_eq!(found[which][k], expected[which][k]);
                assert!(!check.accepts(expected, wrong.row(0)));
            }
        }
    }
}
