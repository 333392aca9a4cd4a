use pulp::{Arch, Simd, WithSimd};

/// A prime p below 2^31; residues are 0 to p - 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Modulus(u32);

/// The two largest primes below 2^31: 2^31 - 1 and 2^31 - 19.
pub const PRIMES: [Modulus; 2] = [Modulus(2_147_483_647), Modulus(2_147_483_629)];

impl Modulus {
    /// Any prime below 2^31; for what is tried over small fields.
    ///
    /// # Panics
    /// If it is not below 2^31, or less than 2.
    #[must_use]
    pub const fn new(prime: u32) -> Self {
        assert!(prime >= 2 && prime < 1 << 31);
        Self(prime)
    }

    /// p
    #[must_use]
    pub const fn get(self) -> u32 {
        self.0
    }

    /// a + b
    #[must_use]
    #[inline]
    pub const fn add(self, a: u32, b: u32) -> u32 {
        let sum = a + b;
        if sum >= self.0 { sum - self.0 } else { sum }
    }

    /// a - b
    #[must_use]
    #[inline]
    pub const fn subtract(self, a: u32, b: u32) -> u32 {
        if a >= b { a - b } else { a + (self.0 - b) }
    }

    /// a b
    #[must_use]
    #[inline]
    pub const fn multiply(self, a: u32, b: u32) -> u32 {
        (a as u64 * b as u64 % self.0 as u64) as u32
    }

    /// The residue of any integer.
    #[must_use]
    #[inline]
    pub const fn reduce(self, value: i64) -> u32 {
        value.rem_euclid(self.0 as i64) as u32
    }

    /// a / b, for b that is no multiple of p: a b^(p - 2).
    #[must_use]
    pub const fn inverse(self, value: u32) -> u32 {
        let (mut power, mut square, mut exponent) = (1, value % self.0, self.0 - 2);
        while exponent > 0 {
            if exponent & 1 == 1 {
                power = self.multiply(power, square);
            }
            square = self.multiply(square, square);
            exponent >>= 1;
        }
        power
    }

    /// a_1 b_1 + a_2 b_2 + ..., as many as the shorter of the two has.
    #[must_use]
    pub fn dot(self, a: &[u32], b: &[u32]) -> u32 {
        let [low, high] = Arch::new().dispatch(Dot(a, b));
        let sum = (u128::from(high) << 32) + u128::from(low);
        (sum % u128::from(self.0)) as u32
    }
}

/// The sums of the lower and of the upper halves of the products: neither leaves 64 bits for up to 2^32 of them.
struct Dot<'a>(&'a [u32], &'a [u32]);

impl WithSimd for Dot<'_> {
    type Output = [u64; 2];

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) -> [u64; 2] {
        let (mut low, mut high) = ([0u64; LANES], [0u64; LANES]);
        let len = self.0.len().min(self.1.len());
        let (a, a_rest) = self.0[..len].as_chunks::<LANES>();
        let (b, b_rest) = self.1[..len].as_chunks::<LANES>();
        for (a, b) in a.iter().zip(b) {
            for i in 0..LANES {
                let product = u64::from(a[i]) * u64::from(b[i]);
                low[i] += product & 0xffff_ffff;
                high[i] += product >> 32;
            }
        }
        let mut sums = [low.iter().sum::<u64>(), high.iter().sum::<u64>()];
        for (a, b) in a_rest.iter().zip(b_rest) {
            let product = u64::from(*a) * u64::from(*b);
            sums[0] += product & 0xffff_ffff;
            sums[1] += product >> 32;
        }
        sums
    }
}

const LANES: usize = 8;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn is_prime(n: u32) -> bool {
        n >= 2
            && (2..)
                .take_while(|d| d * d <= n)
                .all(|d| !n.is_multiple_of(d))
    }

    #[test]
    fn the_primes_are_the_largest_below_2_to_the_31() {
        let mut largest = (0..1u32 << 31).rev().filter(|n| is_prime(*n));
        for prime in PRIMES {
            assert_eq!(Some(prime.get()), largest.next());
        }
    }

    #[test]
    fn every_element_but_zero_has_an_inverse() {
        for prime in [2, 3, 5, 31, 127].map(Modulus::new) {
            for value in 1..prime.get() {
                assert_eq!(prime.multiply(value, prime.inverse(value)), 1);
            }
        }
    }

    proptest! {
        #[test]
        fn arithmetic_is_that_of_the_integers(a: u64, b: u64, which in 0..2usize) {
            let p = PRIMES[which];
            let n = u64::from(p.get());
            let [a, b] = [a, b].map(|x| (x % n) as u32);
            let (wide_a, wide_b) = (u64::from(a), u64::from(b));
            prop_assert_eq!(u64::from(p.add(a, b)), (wide_a + wide_b) % n);
            prop_assert_eq!(u64::from(p.subtract(a, b)), (wide_a + n - wide_b) % n);
            prop_assert_eq!(u64::from(p.multiply(a, b)), wide_a * wide_b % n);
            prop_assert_eq!(p.add(p.subtract(a, b), b), a);
            if a != 0 {
                prop_assert_eq!(p.multiply(a, p.inverse(a)), 1);
            }
            prop_assert_eq!(p.reduce(-i64::from(a)), p.subtract(0, a));
        }

        #[test]
        fn dot_products_of_the_largest_residues_do_not_overflow(len in 0..70usize, seed: u64) {
            for p in PRIMES {
                let most = u64::from(p.get()) - 1;
                let values = |seed: u64| -> Vec<u32> {
                    let each = (0..len as u64).map(|i| most - (seed.wrapping_mul(i + 1) >> 60));
                    each.map(|value| value as u32).collect()
                };
                let (a, b) = (values(seed), values(!seed));
                let expected = a.iter().zip(&b).map(|(a, b)| u128::from(*a) * u128::from(*b));
                let expected = expected.sum::<u128>() % u128::from(p.get());
                prop_assert_eq!(u128::from(p.dot(&a, &b)), expected);
            }
        }
    }
}
