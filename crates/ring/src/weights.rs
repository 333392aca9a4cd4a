use rayon::prelude::*;

use crate::digest::LayerDigest;
use crate::{Error, Modulus};

/// The integers of weights are at most of this size.
pub const LARGEST_WEIGHT: i16 = 32_767;

/// The weights of a linear layer as 16-bit integers, row by row, with a scale for each row:
/// `integer = w / scale`, rounded to even where two are as near, with `scale = max |w| / 32,767` over the row, in f64. Every
/// step is one of IEEE 754, so that all parties get the same bits.
#[derive(Debug, Clone, PartialEq)]
pub struct IntegerWeights {
    inputs: usize,
    values: Vec<i16>,
    scales: Vec<f64>,
}

impl IntegerWeights {
    /// Rounds `outputs` rows of `inputs` weights; `read` puts one into an empty list.
    ///
    /// # Errors
    /// If a weight is not finite, a row has another length, or the layer has no inputs.
    pub fn quantise(
        outputs: usize,
        inputs: usize,
        read: impl Fn(usize, &mut Vec<f64>) + Sync,
    ) -> Result<Self, Error> {
        crate::activation_bits(inputs)?;
        let mut values = vec![0; outputs * inputs];
        let mut scales = vec![0.0; outputs];
        let rows = values.par_chunks_exact_mut(inputs).zip(&mut scales);
        rows.enumerate()
            .try_for_each_init(Vec::new, |weights, (row, (integers, scale))| {
                weights.clear();
                read(row, weights);
                if weights.len() != inputs {
                    return Err(Error::Length {
                        what: "a row of weights",
                        expected: inputs,
                        found: weights.len(),
                    });
                }
                *scale = round(weights, integers).ok_or(Error::Weight { row })?;
                Ok(())
            })?;
        Ok(Self {
            inputs,
            values,
            scales,
        })
    }

    /// Integers of all 16 bits, which count one.
    pub(crate) fn of_integers(inputs: usize, values: Vec<i16>) -> Self {
        let outputs = values.len().checked_div(inputs).unwrap_or(0);
        Self {
            inputs,
            values,
            scales: vec![1.0; outputs],
        }
    }

    /// Numbers that go in.
    #[must_use]
    pub fn inputs(&self) -> usize {
        self.inputs
    }

    /// Numbers that come out.
    #[must_use]
    pub fn outputs(&self) -> usize {
        self.scales.len()
    }

    /// The integers of one row.
    ///
    /// # Panics
    /// If there is no such row.
    #[must_use]
    pub fn row(&self, row: usize) -> &[i16] {
        &self.values[row * self.inputs..][..self.inputs]
    }

    /// What an integer counts, row by row.
    #[must_use]
    pub fn scales(&self) -> &[f64] {
        &self.scales
    }

    /// Of the layer `name`.
    #[must_use]
    pub fn digest(&self, name: &str) -> LayerDigest {
        LayerDigest::of(name, self.inputs, &self.scales, &self.values)
    }

    /// W^T s modulo a prime, for several s of as many residues as there are outputs.
    ///
    /// # Errors
    /// If one has another length.
    pub fn transposed_times(
        &self,
        prime: Modulus,
        vectors: &[&[u32]],
    ) -> Result<Vec<Vec<u32>>, Error> {
        if let Some(wrong) = vectors.iter().find(|s| s.len() != self.outputs()) {
            return Err(Error::Length {
                what: "a vector of a layer's outputs",
                expected: self.outputs(),
                found: wrong.len(),
            });
        }
        let sums = |s: &&[u32]| {
            // |w s| < 2^46, so that 2^17 of them fit.
            let mut sums = vec![0i64; self.inputs];
            for (block, s) in s.chunks(1 << 16).enumerate() {
                for (row, s) in s.iter().enumerate() {
                    let weights = self.row((block << 16) + row);
                    for (sum, weight) in sums.iter_mut().zip(weights) {
                        *sum += i64::from(*weight) * i64::from(*s);
                    }
                }
                sums.iter_mut()
                    .for_each(|sum| *sum = i64::from(prime.reduce(*sum)));
            }
            sums.into_iter().map(|sum| sum as u32).collect()
        };
        Ok(vectors.par_iter().map(sums).collect())
    }
}

/// The scale of a row; none if a weight is not finite.
fn round(weights: &[f64], integers: &mut [i16]) -> Option<f64> {
    if weights.iter().any(|weight| !weight.is_finite()) {
        return None;
    }
    let largest = weights.iter().fold(0.0, |most: f64, w| most.max(w.abs()));
    let scale = largest / f64::from(LARGEST_WEIGHT);
    if scale == 0.0 {
        // All zero, or so small that no scale is left.
        integers.fill(0);
        return Some(0.0);
    }
    let most = f64::from(LARGEST_WEIGHT);
    for (integer, weight) in integers.iter_mut().zip(weights) {
        // Rounded to an integer, to even in between: there are no bits behind the point next to this number.
        let whole = (weight / scale + WHOLE) - WHOLE;
        *integer = whole.clamp(-most, most) as i16;
    }
    Some(scale)
}

const WHOLE: f64 = 1.5 * (1u64 << 52) as f64;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::PRIMES;

    fn quantise(rows: &[Vec<f64>]) -> Result<IntegerWeights, Error> {
        let inputs = rows.first().map_or(0, Vec::len);
        IntegerWeights::quantise(rows.len(), inputs, |row, out| {
            out.extend_from_slice(&rows[row]);
        })
    }

    #[test]
    fn ties_go_to_even_and_rows_of_zeros_stay() {
        let scale = 1.0 / 32_767.0;
        let weights = vec![1.0, 0.5 * scale, 1.5 * scale, -2.5 * scale, -1.0];
        let integers = quantise(&[weights, vec![0.0; 5], vec![5e-324; 5]]).unwrap();
        assert_eq!(integers.row(0), [32_767, 0, 2, -2, -32_767]);
        assert_eq!(
            (integers.row(1), integers.row(2)),
            (&[0; 5][..], &[0; 5][..])
        );
        assert_eq!(integers.scales(), [scale, 0.0, 0.0]);
    }

    #[test]
    fn what_is_no_number_is_named_by_its_row() {
        for bad in [f64::NAN, f64::INFINITY, -f64::INFINITY] {
            let error = quantise(&[vec![1.0, 2.0], vec![0.0, bad]]).unwrap_err();
            assert!(matches!(error, Error::Weight { row: 1 }));
        }
        let short = [vec![1.0, 2.0], vec![1.0]];
        assert!(matches!(quantise(&short), Err(Error::Length { .. })));
        assert!(quantise(&[vec![]]).is_err());
    }

    proptest! {
        #[test]
        fn weights_are_within_half_a_unit(
            row in prop::collection::vec(-1e3..1e3f64, 1..50), power in -300..300i32,
        ) {
            let row: Vec<f64> = row.iter().map(|w| w * 2f64.powi(power)).collect();
            let integers = quantise(std::slice::from_ref(&row)).unwrap();
            let scale = integers.scales()[0];
            for (weight, integer) in row.iter().zip(integers.row(0)) {
                prop_assert!(integer.unsigned_abs() <= 32_767);
                let error = (f64::from(*integer) * scale - weight).abs();
                prop_assert!(error <= scale * (0.5 + 1e-9), "{} {}", error, scale);
            }
        }

        #[test]
        fn transposed_products_are_right(
            outputs in 1..20usize, inputs in 1..20usize, seed: u32,
        ) {
            let rows: Vec<Vec<f64>> = (0..outputs)
                .map(|r| (0..inputs).map(|c| ((r * 31 + c * 17) % 23) as f64 - 11.0).collect())
                .collect();
            let weights = quantise(&rows).unwrap();
            for prime in PRIMES {
                let s: Vec<u32> = (0..outputs as u32)
                    .map(|i| prime.get() - 1 - seed.wrapping_mul(i + 1) % 1000)
                    .collect();
                let found = weights.transposed_times(prime, &[&s]).unwrap().remove(0);
                for (column, found) in found.into_iter().enumerate() {
                    let expected: i128 = (0..outputs)
                        .map(|r| i128::from(weights.row(r)[column]) * i128::from(s[r]))
                        .sum();
                    let expected = expected.rem_euclid(i128::from(prime.get()));
                    prop_assert_eq!(i128::from(found), expected);
                }
                prop_assert!(weights.transposed_times(prime, &[&s[1..]]).is_err());
            }
        }
    }
}
