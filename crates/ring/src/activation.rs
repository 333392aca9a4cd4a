use pulp::{Arch, Simd, WithSimd};

use crate::weights::LARGEST_WEIGHT;
use crate::{Error, ORDER, PRIMES, combine};

/// B: the bits that the numbers of a vector of `inputs` may have, so that no sum of products with weights can wrap around.
///
/// An output is a sum of d products of a weight, of size 32,767 at most, with an integer of size 2^B at most. B is the largest
/// with `d 32,767 2^B <= (P - 1) / 2`, so that every output lies between -(P - 1) / 2 and (P - 1) / 2, where [`combine`] finds
/// it from its residues: an overflow is impossible, whatever weights and activations are. For d = 1,536, B is 35.
///
/// What is lost is the rounding of a vector to integers, half a unit: at most 2^-(B + 1) of the power of two that bounds its
/// largest number. With B = 35 that is less than what f32, whose numbers have 24 bits, loses of the vector's largest number
/// by a factor of 2,048; over d inputs the error of an output is at most `2^-(B + 1) (|w_1| + ... + |w_d|)` of that bound.
///
/// # Errors
/// If the layer has no inputs, or more than 2^24: there would be fewer bits than f32 has.
pub fn activation_bits(inputs: usize) -> Result<u32, Error> {
    if inputs == 0 || inputs > MOST_INPUTS {
        return Err(Error::Inputs {
            inputs,
            most: MOST_INPUTS,
        });
    }
    let room = (ORDER - 1) / 2 / (inputs as i64 * i64::from(LARGEST_WEIGHT));
    Ok(room.ilog2())
}

/// A vector x as integers with a power of two for all of them: `x_i = integer_i 2^-shift`, but for the rounding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Scaled {
    shift: i32,
}

impl Scaled {
    /// Rounds a vector to integers of at most [`activation_bits`] bits, to even where two are as near, and gives their
    /// residues. The scale, which says how large the vector's numbers are, is for who holds the vector alone.
    ///
    /// # Errors
    /// If a number is not finite, or there are more than the ring has room for.
    pub fn quantise(x: &[f64], out: [&mut [u32]; 2]) -> Result<Self, Error> {
        let bits = activation_bits(x.len())?;
        if let Some(place) = x.iter().position(|x| !x.is_finite()) {
            return Err(Error::Activation { place });
        }
        let largest = x.iter().fold(0.0, |largest: f64, x| largest.max(x.abs()));
        // The largest is less than 2^exponent.
        let shift = match largest {
            0.0 => 0,
            _ => bits as i32 - (exponent(largest) + 1),
        };
        Arch::new().dispatch(Round {
            x,
            factors: powers(shift),
            out,
        });
        Ok(Self { shift })
    }

    /// The outputs of the layer, from their residues and the scales of their weights; as many as there are scales.
    pub fn restore(self, residues: [&[u32]; 2], weight_scales: &[f64], out: &mut [f64]) {
        let factors = powers(-self.shift);
        let [first, second] = residues;
        let outputs = out.iter_mut().zip(weight_scales);
        for ((out, scale), (a, b)) in outputs.zip(first.iter().zip(second)) {
            *out = combine([*a, *b]) as f64 * scale * factors[0] * factors[1];
        }
    }
}

struct Round<'a, 'b> {
    x: &'a [f64],
    factors: [f64; 2],
    out: [&'b mut [u32]; 2],
}

/// Every step is exact but the rounding to integers: their size is less than 2^51, quotients by a prime are less than 2^20.
impl WithSimd for Round<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let [first, second] = self.factors;
        for (half, prime) in self.out.into_iter().zip(PRIMES) {
            let (p, inverse) = (f64::from(prime.get()), 1.0 / f64::from(prime.get()));
            for (to, x) in half.iter_mut().zip(self.x) {
                let integer = (x * first * second + WHOLE) - WHOLE;
                let quotient = (integer * inverse + WHOLE) - WHOLE;
                let residue = (integer - quotient * p) as i32;
                *to = (if residue < 0 {
                    residue + prime.get() as i32
                } else {
                    residue
                }) as u32;
            }
        }
    }
}

/// A number of this size has no bits behind the point: what is added to it is rounded to an integer, to even in between.
const WHOLE: f64 = 1.5 * (1u64 << 52) as f64;

/// Floor of the binary logarithm of a positive number.
fn exponent(x: f64) -> i32 {
    let bits = (x.to_bits() >> 52) as i32;
    match bits {
        // Subnormal: below 2^-1022.
        0 => -1011 - x.to_bits().leading_zeros() as i32,
        _ => bits - 1023,
    }
}

/// Two factors that make 2^shift: one alone may not be a number.
fn powers(shift: i32) -> [f64; 2] {
    let half = shift / 2;
    [half, shift - half].map(|shift| f64::from_bits(((1023 + shift) as u64) << 52))
}

const MOST_INPUTS: usize = 1 << 24;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::Residues;

    /// x as integers, and their scale.
    fn integers(x: &[f64]) -> (Vec<i64>, Scaled) {
        let mut residues = Residues::zeros(1, x.len());
        let scaled = Scaled::quantise(x, residues.row_mut(0)).unwrap();
        let [first, second] = residues.row(0);
        let both = first.iter().zip(second);
        (both.map(|(a, b)| combine([*a, *b])).collect(), scaled)
    }

    fn restored(scaled: Scaled, integer: i64) -> f64 {
        let [first, second] = PRIMES.map(|prime| [prime.reduce(integer)]);
        let mut out = [0.0];
        scaled.restore([&first, &second], &[1.0], &mut out);
        out[0]
    }

    #[test]
    fn the_bits_are_the_most_that_cannot_overflow() {
        assert_eq!(activation_bits(1536).unwrap(), 35);
        for inputs in [1, 2, 576, 1536, 4096, 28_672, 1 << 24] {
            let bits = activation_bits(inputs).unwrap();
            let largest = |bits: u32| (inputs as i128 * 32_767) << bits;
            let half = i128::from((ORDER - 1) / 2);
            assert!(largest(bits) <= half && largest(bits + 1) > half);
            assert!(bits >= 21);
        }
        assert!(activation_bits(0).is_err() && activation_bits((1 << 24) + 1).is_err());
    }

    #[test]
    fn exponents_are_those_of_the_numbers() {
        for power in -1074..1024 {
            let x = match power {
                ..-1022 => f64::from_bits(1 << (power + 1074)),
                _ => 2f64.powi(power),
            };
            assert_eq!(exponent(x), power);
            if power > -1022 {
                assert_eq!(exponent(x * 1.999), power);
            }
        }
    }

    #[test]
    fn the_largest_and_the_smallest_vectors_come_back() {
        for x in [1e308, -1e308, f64::MIN_POSITIVE, 5e-324, 1.0, 0.0] {
            let (integers, scaled) = integers(&[x, x / 2.0]);
            let back = restored(scaled, integers[0]);
            assert!(
                (back - x).abs() <= x.abs() * 2f64.powi(-40),
                "{x:e} {back:e}"
            );
        }
        let mut residues = Residues::zeros(1, 3);
        for bad in [f64::NAN, f64::INFINITY] {
            let error = Scaled::quantise(&[0.0, bad, 1.0], residues.row_mut(0)).unwrap_err();
            assert!(matches!(error, Error::Activation { place: 1 }));
        }
    }

    proptest! {
        #[test]
        fn integers_are_within_their_bits_and_half_a_unit(
            x in prop::collection::vec(-1e3..1e3f64, 1..40), power in -900..900i32,
        ) {
            let x: Vec<f64> = x.iter().map(|x| x * 2f64.powi(power)).collect();
            let bits = activation_bits(x.len()).unwrap();
            let (integers, scaled) = integers(&x);
            let largest = x.iter().fold(0.0, |a: f64, b| a.max(b.abs()));
            for (x, integer) in x.iter().zip(integers) {
                prop_assert!(integer.unsigned_abs() <= 1 << bits);
                let back = restored(scaled, integer);
                prop_assert!((back - x).abs() <= largest * 2f64.powi(-(bits as i32)));
            }
        }
    }
}
