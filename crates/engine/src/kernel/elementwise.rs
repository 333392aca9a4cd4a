use equicrypt_spec::Activation;
use pulp::{Arch, Simd, WithSimd};
use rayon::prelude::*;

use super::Real;

/// x / sqrt(mean(x^2) + epsilon) * gain, for each row of x, which is `[n, gain.len()]`.
pub(crate) fn rms_norm<T: Real>(x: &[T], gain: &[T], epsilon: f64) -> Vec<T> {
    let mut out = vec![T::zero(); x.len()];
    let width = gain.len();
    let arch = Arch::new();
    par_rows(&mut out, width, |row, out| {
        arch.dispatch(NormRow {
            x: &x[row * width..][..width],
            gain,
            epsilon,
            out,
        });
    });
    out
}

/// x + y, in place.
pub(crate) fn add<T: Real>(x: &mut [T], y: &[T]) {
    for (x, y) in x.iter_mut().zip(y) {
        *x += *y;
    }
}

/// act(gate) * up, for each row of x, which is `[n, 2 * width]`: gates, then ups.
pub(crate) fn gate<T: Real>(x: &[T], width: usize, activation: Activation) -> Vec<T> {
    let mut out = vec![T::zero(); x.len() / 2];
    let arch = Arch::new();
    par_rows(&mut out, width, |row, out| {
        let (gates, ups) = x[row * 2 * width..][..2 * width].split_at(width);
        arch.dispatch(GateRow {
            gates,
            ups,
            activation,
            out,
        });
    });
    out
}

/// Turns plane i of a head by the angle whose cosine and sine are given:
/// (a, b) -> (a cos - b sin, b cos + a sin).
#[inline]
pub(crate) fn rotate<T: Real>(head: &mut [T], planes: &[(usize, usize)], turns: &[(T, T)]) {
    for (&(first, second), &(cos, sin)) in planes.iter().zip(turns) {
        let (a, b) = (head[first], head[second]);
        head[first] = a * cos - b * sin;
        head[second] = b * cos + a * sin;
    }
}

struct NormRow<'a, T> {
    x: &'a [T],
    gain: &'a [T],
    epsilon: f64,
    out: &'a mut [T],
}

impl<T: Real> WithSimd for NormRow<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let mut sums = [T::zero(); LANES];
        let (chunks, rest) = self.x.as_chunks::<LANES>();
        for chunk in chunks {
            for (sum, x) in sums.iter_mut().zip(chunk) {
                *sum = x.mul_add(*x, *sum);
            }
        }
        let mut squares = T::zero();
        for sum in sums {
            squares += sum;
        }
        for x in rest {
            squares = x.mul_add(*x, squares);
        }
        let mean = squares / T::from_f64(self.x.len() as f64);
        let scale = T::one() / (mean + T::from_f64(self.epsilon)).sqrt();
        for ((out, x), gain) in self.out.iter_mut().zip(self.x).zip(self.gain) {
            *out = *x * scale * *gain;
        }
    }
}

struct GateRow<'a, T> {
    gates: &'a [T],
    ups: &'a [T],
    activation: Activation,
    out: &'a mut [T],
}

impl<T: Real> WithSimd for GateRow<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        match self.activation {
            Activation::Silu => {
                for ((out, gate), up) in self.out.iter_mut().zip(self.gates).zip(self.ups) {
                    *out = *gate / (T::one() + (T::zero() - *gate).exp()) * *up;
                }
            }
        }
    }
}

/// Calls `each` with every row, on all cores if there are enough of them.
fn par_rows<T: Real>(values: &mut [T], width: usize, each: impl Fn(usize, &mut [T]) + Sync) {
    if values.len() < PARALLEL_FROM {
        for (row, values) in values.chunks_exact_mut(width).enumerate() {
            each(row, values);
        }
    } else {
        values
            .par_chunks_exact_mut(width)
            .with_min_len(PARALLEL_FROM.div_ceil(4 * width))
            .enumerate()
            .for_each(|(row, values)| each(row, values));
    }
}

const LANES: usize = 16;
/// Below this many values, waking another core takes longer than the work.
const PARALLEL_FROM: usize = 16 << 10;
