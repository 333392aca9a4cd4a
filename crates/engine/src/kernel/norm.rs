use pulp::{Arch, Simd, WithSimd};

use super::Real;
use super::elementwise::par_rows;

/// x / sqrt(mean(x^2) + epsilon) * gain, for each row of x, which is `[n, gain.len()]`.
pub(crate) fn rms_norm<T: Real>(x: &[T], gain: &[T], epsilon: f64) -> Vec<T> {
    norm(x, gain, None, epsilon)
}

/// (x - mean(x)) / sqrt(var(x) + epsilon) * gain + bias, for each row of x, which is
/// `[n, gain.len()]`.
pub(crate) fn layer_norm<T: Real>(x: &[T], gain: &[T], bias: &[T], epsilon: f64) -> Vec<T> {
    norm(x, gain, Some(bias), epsilon)
}

/// [`layer_norm`] where there is a bias and [`rms_norm`] where there is none, in place, on this thread alone.
pub(crate) fn norm_here<T: Real>(
    arch: Arch,
    rows: &mut [T],
    gain: &[T],
    bias: Option<&[T]>,
    epsilon: f64,
) {
    let epsilon = T::from_f64(epsilon);
    arch.dispatch(NormRows {
        rows,
        gain,
        bias,
        epsilon,
    });
}

fn norm<T: Real>(x: &[T], gain: &[T], bias: Option<&[T]>, epsilon: f64) -> Vec<T> {
    let mut out = x.to_vec();
    let arch = Arch::new();
    par_rows(&mut out, gain.len(), |_, row| {
        norm_here(arch, row, gain, bias, epsilon);
    });
    out
}

struct NormRows<'a, T> {
    rows: &'a mut [T],
    gain: &'a [T],
    bias: Option<&'a [T]>,
    epsilon: T,
}

impl<T: Real> WithSimd for NormRows<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let count = T::from_f64(self.gain.len() as f64);
        for row in self.rows.chunks_exact_mut(self.gain.len()) {
            if self.bias.is_some() {
                let mean = sum(row) / count;
                row.iter_mut().for_each(|x| *x = *x - mean);
            }
            // Without its mean, the variance is the mean square of what is left.
            let scale = T::one() / (squares(row) / count + self.epsilon).sqrt();
            match self.bias {
                None => {
                    for (x, gain) in row.iter_mut().zip(self.gain) {
                        *x = *x * scale * *gain;
                    }
                }
                Some(bias) => {
                    for ((x, gain), bias) in row.iter_mut().zip(self.gain).zip(bias) {
                        *x = (*x * scale).mul_add(*gain, *bias);
                    }
                }
            }
        }
    }
}

#[inline(always)]
fn sum<T: Real>(row: &[T]) -> T {
    let mut sums = [T::zero(); LANES];
    let (chunks, rest) = row.as_chunks::<LANES>();
    for chunk in chunks {
        for j in 0..LANES {
            sums[j] += chunk[j];
        }
    }
    let mut total = T::zero();
    for x in sums.iter().chain(rest) {
        total += *x;
    }
    total
}

#[inline(always)]
fn squares<T: Real>(row: &[T]) -> T {
    let mut sums = [T::zero(); LANES];
    let (chunks, rest) = row.as_chunks::<LANES>();
    for chunk in chunks {
        for j in 0..LANES {
            sums[j] = chunk[j].mul_add(chunk[j], sums[j]);
        }
    }
    let mut total = T::zero();
    for sum in sums {
        total += sum;
    }
    for x in rest {
        total = x.mul_add(*x, total);
    }
    total
}

const LANES: usize = 16;
