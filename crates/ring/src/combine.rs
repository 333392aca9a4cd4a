use crate::{Modulus, PRIMES};

/// P = p1 p2: how many elements the ring has, a little less than 2^62.
pub const ORDER: i64 = PRIMES[0].get() as i64 * PRIMES[1].get() as i64;

/// The integer between -(P - 1) / 2 and (P - 1) / 2 that has these residues: y1 + p1 ((y2 - y1) / p1 mod p2), less P if that
/// is in the upper half. No step leaves 63 bits.
#[must_use]
#[inline]
pub fn combine(residues: [u32; 2]) -> i64 {
    let [first, second] = PRIMES;
    let [y1, y2] = residues;
    // Both are less than 2 p2.
    let reduced = if y1 >= second.get() {
        y1 - second.get()
    } else {
        y1
    };
    let quotient = second.multiply(second.subtract(y2, reduced), INVERSE);
    let value = i64::from(y1) + i64::from(first.get()) * i64::from(quotient);
    if value > (ORDER - 1) / 2 {
        value - ORDER
    } else {
        value
    }
}

/// 1 / p1 modulo p2.
const INVERSE: u32 = {
    let second: Modulus = PRIMES[1];
    second.inverse(PRIMES[0].get() % second.get())
};

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn residues(value: i64) -> [u32; 2] {
        PRIMES.map(|prime| prime.reduce(value))
    }

    #[test]
    fn the_edges_come_back() {
        let half = (ORDER - 1) / 2;
        for value in [
            0,
            1,
            -1,
            half,
            -half,
            half - 1,
            2_147_483_647,
            2_147_483_629,
        ] {
            assert_eq!(combine(residues(value)), value);
        }
        assert_eq!(combine(residues(half + 1)), -half);
    }

    proptest! {
        #[test]
        fn every_integer_of_the_ring_comes_back(value in -(ORDER - 1) / 2..=(ORDER - 1) / 2) {
            prop_assert_eq!(combine(residues(value)), value);
        }

        #[test]
        fn sums_are_sums(a in -ORDER / 4..ORDER / 4, b in -ORDER / 4..ORDER / 4) {
            let (x, y) = (residues(a), residues(b));
            let sum = [0, 1].map(|i| PRIMES[i].add(x[i], y[i]));
            prop_assert_eq!(combine(sum), a + b);
        }
    }
}
