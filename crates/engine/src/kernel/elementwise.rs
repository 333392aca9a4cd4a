use std::f64::consts::{FRAC_1_SQRT_2, FRAC_2_SQRT_PI};

use equicrypt_spec::Activation;
use pulp::{Arch, Simd, WithSimd};
use rayon::prelude::*;

use super::Real;

/// limit tanh(x / limit), in place.
#[inline(always)]
pub(crate) fn cap<T: Real>(x: &mut [T], limit: T) {
    for x in x {
        *x = limit * (*x / limit).tanh();
    }
}

/// act(x), in place, on all cores.
pub(crate) fn activate<T: Real>(x: &mut [T], activation: Activation) {
    let arch = Arch::new();
    par_rows(x, ACTIVATED_TOGETHER, |_, values| {
        arch.dispatch(ActivateRow { values, activation });
    });
    let rest = x.len() / ACTIVATED_TOGETHER * ACTIVATED_TOGETHER;
    let values = &mut x[rest..];
    arch.dispatch(ActivateRow { values, activation });
}

/// act(x), in place, on this thread alone.
pub(crate) fn activate_here<T: Real>(arch: Arch, values: &mut [T], activation: Activation) {
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

/// The same on this thread alone, into `out`.
pub(crate) fn gate_here<T: Real>(
    arch: Arch,
    x: &[T],
    width: usize,
    activation: Activation,
    out: &mut [T],
) {
    let rows = x.chunks_exact(2 * width).zip(out.chunks_exact_mut(width));
    for (row, out) in rows {
        let (gates, ups) = row.split_at(width);
        arch.dispatch(GateRow {
            gates,
            ups,
            activation,
            out,
        });
    }
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
        Activation::Gelu => values.iter_mut().for_each(|x| *x *= x.normal()),
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
pub(super) fn par_rows<T: Real>(
    values: &mut [T],
    width: usize,
    each: impl Fn(usize, &mut [T]) + Sync,
) {
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

/// Values that are activated by one thread at a time.
const ACTIVATED_TOGETHER: usize = 256;
/// Below this many values, waking another core takes longer than the work.
const PARALLEL_FROM: usize = 16 << 10;
