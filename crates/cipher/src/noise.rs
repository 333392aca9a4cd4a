use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::real::Real;
use crate::rng::SecretRng;
use crate::schedule::{Schedule, expand};

/// The noise on embedding and head: a stream of its own for each row of the source, so that it depends on neither the order in
/// which rows are written nor the number of cores.
#[derive(Zeroize, ZeroizeOnDrop)]
pub(crate) struct Noise {
    subkey: [u8; 32],
}

impl Noise {
    pub(crate) fn derive(schedule: &Schedule) -> Self {
        Self {
            subkey: schedule.subkey("noise"),
        }
    }

    /// Adds to row `row` of the source tensor that `label` names independent draws from N(0, deviation^2).
    pub(crate) fn add<T: Real>(&self, label: &str, row: usize, deviation: f64, values: &mut [T]) {
        let mut subkey = zeroize::Zeroizing::new([0; 32]);
        let info = format!("{label}/{row}");
        expand(&self.subkey, &[], info.as_bytes(), subkey.as_mut());
        let mut stream = SecretRng::new(&subkey);
        for pair in values.chunks_mut(2) {
            let (first, second) = stream.gaussian_pair();
            for (value, draw) in pair.iter_mut().zip([first, second]) {
                *value = T::from_f64(value.to_f64() + deviation * draw);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::MasterKey;

    fn noise(byte: u8, epoch: u32) -> Noise {
        let key = MasterKey::from_bytes(std::array::from_fn(|i| i as u8 ^ byte));
        Noise::derive(&Schedule::new(&key, &[0xa5; 32], epoch))
    }

    fn row(noise: &Noise, label: &str, row: usize, size: usize) -> Vec<f64> {
        let mut values = vec![0.0; size];
        noise.add(label, row, 1.0, &mut values);
        values
    }

    /// Computed by tools/golden/key_schedule.py.
    #[test]
    fn golden_vectors() {
        let text = include_str!("../../../tests/golden/key_schedule.json");
        let golden: Value = serde_json::from_str(text).unwrap();
        let expected = golden["noise_embed_3_gaussians"].as_array().unwrap();
        let found = row(&noise(0, 7), "embed", 3, 4);
        for (expected, found) in expected.iter().zip(found) {
            assert!((expected.as_f64().unwrap() - found).abs() < 1e-14);
        }
    }

    #[test]
    fn every_key_epoch_tensor_and_row_has_its_own() {
        let first = row(&noise(0, 0), "embed", 0, 6);
        for other in [
            row(&noise(1, 0), "embed", 0, 6),
            row(&noise(0, 1), "embed", 0, 6),
            row(&noise(0, 0), "head", 0, 6),
            row(&noise(0, 0), "embed", 1, 6),
        ] {
            assert!(first.iter().zip(&other).all(|(a, b)| a != b));
        }
        assert_eq!(first, row(&noise(0, 0), "embed", 0, 6));
    }

    /// Of 40,000 draws the mean is off by 0.005 and the variance by 0.007, one standard deviation.
    #[test]
    fn its_deviation_is_the_one_asked_for() {
        let noise = noise(0, 0);
        let mut values = vec![0.0f64; 40_000];
        for (number, values) in values.chunks_mut(100).enumerate() {
            noise.add("embed", number, 0.3, values);
        }
        let mean = values.iter().sum::<f64>() / 40_000.0;
        let variance = values.iter().map(|x| x * x).sum::<f64>() / 40_000.0;
        assert!(mean.abs() < 0.3 * 0.025, "{mean}");
        assert!((variance / 0.09 - 1.0).abs() < 0.035, "{variance}");
    }
}
