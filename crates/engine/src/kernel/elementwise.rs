use std::f64::consts::{FRAC_1_SQRT_2, FRAC_2_SQRT_PI};

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

/// (x - mean(x)) / sqrt(var(x) + epsilon) * gain + bias, for each row of x, which is
/// `[n, gain.len()]`.
pub(crate) fn layer_norm<T: Real>(x: &[T], gain: &[T], bias: &[T], epsilon: f64) -> Vec<T> {
    let width = gain.len();
    let ones = vec![T::one(); width];
    let mut centred = x.to_vec();
    par_rows(&mut centred, width, |_, row| {
        let mut sum = T::zero();
        for x in row.iter() {
            sum += *x;
        }
        let mean = sum / T::from_f64(width as f64);
        row.iter_mut().for_each(|x| *x = *x - mean);
    });
    // The variance is the mean square of what is left.
    let mut out = rms_norm(&centred, &ones, epsilon);
    par_rows(&mut out, width, |_, row| {
        for ((x, gain), bias) in row.iter_mut().zip(gain).zip(bias) {
            *x = x.mul_add(*gain, *bias);
        }
    });
    out
}

/// limit tanh(x / limit), in place.
#[inline(always)]
pub(crate) fn cap<T: Real>(x: &mut [T], limit: T) {
    for x in x {
        *x = limit * (*x / limit).tanh();
    }
}

/// act(x), in place.
pub(crate) fn activate<T: Real>(x: &mut [T], activation: Activation) {
    let arch = Arch::new();
    par_rows(x, ACTIVATED_TOGETHER, |_, values| {
        arch.dispatch(ActivateRow { values, activation });
    });
    let rest = x.len() / ACTIVATED_TOGETHER * ACTIVATED_TOGETHER;
    let values = &mut x[rest..];
    arch.dispatch(ActivateRow { values, activation });
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
        self.out.copy_from_slice(self.gates);
        activate_values(self.out, self.activation);
        for (out, up) in self.out.iter_mut().zip(self.ups) {
            *out *= *up;
        }
    }
}

struct ActivateRow<'a, T> {
    values: &'a mut [T],
    activation: Activation,
}

impl<T: Real> WithSimd for ActivateRow<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        activate_values(self.values, self.activation);
    }
}

#[inline(always)]
fn activate_values<T: Real>(values: &mut [T], activation: Activation) {
    match activation {
        Activation::Silu => {
            for x in values {
                *x = *x / (T::one() + (T::zero() - *x).exp());
            }
        }
        Activation::Gelu => {
            let (half, root) = (T::from_f64(0.5), T::from_f64(FRAC_1_SQRT_2));
            for x in values {
                *x = half * *x * (T::one() + (*x * root).erf());
            }
        }
        Activation::GeluTanh => {
            let (half, cubic) = (T::from_f64(0.5), T::from_f64(0.044_715));
            let root = T::from_f64(FRAC_2_SQRT_PI * FRAC_1_SQRT_2);
            for x in values {
                let inner = root * (cubic * *x * *x * *x + *x);
                *x = half * *x * (T::one() + inner.tanh());
            }
        }
        Activation::Relu => {
            for x in values {
                *x = x.larger(T::zero());
            }
        }
        Activation::Tanh => values.iter_mut().for_each(|x| *x = x.tanh()),
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
/// Values that are activated by one thread at a time.
const ACTIVATED_TOGETHER: usize = 256;
/// Below this many values, waking another core takes longer than the work.
const PARALLEL_FROM: usize = 16 << 10;
