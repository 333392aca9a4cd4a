use std::fmt::Debug;
use std::ops::{Add, AddAssign, Div, Mul, MulAssign, Neg, Sub};

use pulp::Simd;

use crate::layers::Values;

/// The precisions of the forward pass, each with its vectors.
pub(crate) trait Real:
    Copy
    + Debug
    + PartialOrd
    + Send
    + Sync
    + Add<Output = Self>
    + AddAssign
    + Div<Output = Self>
    + Mul<Output = Self>
    + MulAssign
    + Neg<Output = Self>
    + Sub<Output = Self>
    + 'static
{
    /// A vector register.
    type Vector<S: Simd>: Copy;

    /// 0.
    fn zero() -> Self;
    /// 1.
    fn one() -> Self;
    /// Rounded to nearest.
    fn from_f64(value: f64) -> Self;
    /// The numbers as a linear layer takes them.
    fn into_values(values: Vec<Self>) -> Values;
    /// The numbers, if they are of this precision.
    fn of_values(values: &Values) -> Option<&[Self]>;
    /// The same, without a copy.
    fn from_values(values: Values) -> Option<Vec<Self>>;
    /// Numbers in a register.
    fn lanes<S: Simd>() -> usize;
    /// Whole vectors, and the rest.
    fn vectors<S: Simd>(values: &[Self]) -> (&[Self::Vector<S>], &[Self]);
    /// The same, to be written.
    fn vectors_mut<S: Simd>(values: &mut [Self]) -> (&mut [Self::Vector<S>], &mut [Self]);
    /// The value in every lane.
    fn splat<S: Simd>(simd: S, value: Self) -> Self::Vector<S>;
    /// a b + c, rounded once.
    fn mul_add_vectors<S: Simd>(
        simd: S,
        a: Self::Vector<S>,
        b: Self::Vector<S>,
        c: Self::Vector<S>,
    ) -> Self::Vector<S>;
    /// a + b.
    fn add_vectors<S: Simd>(simd: S, a: Self::Vector<S>, b: Self::Vector<S>) -> Self::Vector<S>;
    /// The sum of the lanes.
    fn sum<S: Simd>(simd: S, vector: Self::Vector<S>) -> Self;
    /// a b + c, rounded once.
    fn mul_add(self, b: Self, c: Self) -> Self;
    /// The square root.
    fn sqrt(self) -> Self;
    /// e to the power of this, within two units in the last place.
    fn exp(self) -> Self;
    /// The hyperbolic tangent, within 1e-7 in f32.
    #[inline(always)]
    fn tanh(self) -> Self {
        let two = Self::one() + Self::one();
        Self::one() - two / (Self::one() + (two * self).exp())
    }
    /// The Gaussian distribution function, (1 + erf(x / sqrt(2))) / 2; within 3e-8 in f32.
    fn normal(self) -> Self;
    /// The values as bfloat16, if that loses nothing.
    fn narrow(values: &[Self]) -> Option<Vec<u16>>;
    /// From f32, exactly.
    fn from_single(value: f32) -> Self;
    /// The larger one.
    fn larger(self, other: Self) -> Self;
}

/// How a weight is stored.
pub(super) trait Weight<T>: Copy {
    /// The weight.
    fn value(self) -> T;
}

impl<T: Real> Weight<T> for T {
    #[inline(always)]
    fn value(self) -> T {
        self
    }
}

/// The bits of a bfloat16.
impl<T: Real> Weight<T> for u16 {
    #[inline(always)]
    fn value(self) -> T {
        T::from_single(f32::from_bits(u32::from(self) << 16))
    }
}

macro_rules! real {
    ($real:ty, $values:ident, $vectors:ident, $as:ident, $as_mut:ident, $splat:ident, $mul_add:ident, $add:ident, $sum:ident, $exp:path, $normal:path) => {
        impl Real for $real {
            type Vector<S: Simd> = S::$vectors;

            #[inline(always)]
            fn zero() -> Self {
                0.0
            }

            #[inline(always)]
            fn one() -> Self {
                1.0
            }

            #[inline(always)]
            fn from_f64(value: f64) -> Self {
                value as Self
            }

            fn into_values(values: Vec<Self>) -> Values {
                Values::$values(values)
            }

            fn of_values(values: &Values) -> Option<&[Self]> {
                match values {
                    Values::$values(values) => Some(values),
                    _ => None,
                }
            }

            fn from_values(values: Values) -> Option<Vec<Self>> {
                match values {
                    Values::$values(values) => Some(values),
                    _ => None,
                }
            }

            #[inline(always)]
            fn lanes<S: Simd>() -> usize {
                size_of::<S::$vectors>() / size_of::<Self>()
            }

            #[inline(always)]
            fn vectors<S: Simd>(values: &[Self]) -> (&[S::$vectors], &[Self]) {
                S::$as(values)
            }

            #[inline(always)]
            fn vectors_mut<S: Simd>(values: &mut [Self]) -> (&mut [S::$vectors], &mut [Self]) {
                S::$as_mut(values)
            }

            #[inline(always)]
            fn splat<S: Simd>(simd: S, value: Self) -> S::$vectors {
                simd.$splat(value)
            }

            #[inline(always)]
            fn mul_add_vectors<S: Simd>(
                simd: S,
                a: S::$vectors,
                b: S::$vectors,
                c: S::$vectors,
            ) -> S::$vectors {
                simd.$mul_add(a, b, c)
            }

            #[inline(always)]
            fn add_vectors<S: Simd>(simd: S, a: S::$vectors, b: S::$vectors) -> S::$vectors {
                simd.$add(a, b)
            }

            #[inline(always)]
            fn sum<S: Simd>(simd: S, vector: S::$vectors) -> Self {
                simd.$sum(vector)
            }

            #[inline(always)]
            fn mul_add(self, b: Self, c: Self) -> Self {
                <$real>::mul_add(self, b, c)
            }

            #[inline(always)]
            fn sqrt(self) -> Self {
                <$real>::sqrt(self)
            }

            #[inline(always)]
            fn exp(self) -> Self {
                $exp(self)
            }

            #[inline(always)]
            fn normal(self) -> Self {
                $normal(self)
            }

            fn narrow(values: &[Self]) -> Option<Vec<u16>> {
                let mut stored = Vec::with_capacity(values.len());
                let mut lossless = true;
                for values in values.chunks(NARROWED) {
                    for value in values {
                        let bits = (*value as f32).to_bits();
                        stored.push((bits >> 16) as u16);
                        let back = <$real>::from(f32::from_bits(bits & 0xffff_0000));
                        lossless &= back.to_bits() == value.to_bits();
                    }
                    if !lossless {
                        return None;
                    }
                }
                Some(stored)
            }

            #[inline(always)]
            fn from_single(value: f32) -> Self {
                <$real>::from(value)
            }

            #[inline(always)]
            fn larger(self, other: Self) -> Self {
                if other > self { other } else { self }
            }
        }
    };
}

real!(
    f32,
    F32,
    f32s,
    as_simd_f32s,
    as_mut_simd_f32s,
    splat_f32s,
    mul_add_f32s,
    add_f32s,
    reduce_sum_f32s,
    exp_f32,
    normal_f32
);
real!(
    f64,
    F64,
    f64s,
    as_simd_f64s,
    as_mut_simd_f64s,
    splat_f64s,
    mul_add_f64s,
    add_f64s,
    reduce_sum_f64s,
    f64::exp,
    normal_f64
);

/// e^x as 2^n e^r with |r| <= ln(2) / 2, and e^r from the first eight terms of its series, which is
/// within 6e-9. Without a branch, so that whole vectors are computed at once. Below -87 it is 0, above
/// 88 at most e^88.
#[inline(always)]
fn exp_f32(x: f32) -> f32 {
    let clamped = x.clamp(-87.0, 88.0);
    let shifted = clamped.mul_add(LOG2_E, ROUND);
    let n = shifted - ROUND;
    let r = n.mul_add(-LN_2_LOW, n.mul_add(-LN_2_HIGH, clamped));
    let mut series = INVERSE_FACTORIALS[0];
    for term in &INVERSE_FACTORIALS[1..] {
        series = series.mul_add(r, *term);
    }
    let power = f32::from_bits(shifted.to_bits().wrapping_add(127) << 23);
    if x < -87.0 { 0.0 } else { series * power }
}

/// exp(-L(|x|)) / 2 below 0 and what is left to 1 above, with L(a) = -ln(erfc(a / sqrt(2))) as a polynomial: so that both
/// tails are right without a branch.
#[inline(always)]
fn normal_f32(x: f32) -> f32 {
    let size = x.abs().min(FARTHEST);
    let mut series = TAIL[0];
    for term in &TAIL[1..] {
        series = series.mul_add(size, *term);
    }
    let tail = 0.5 * exp_f32(-series * size);
    if x > 0.0 { 1.0 - tail } else { tail }
}

fn normal_f64(x: f64) -> f64 {
    0.5 * libm::erfc(-x * std::f64::consts::FRAC_1_SQRT_2)
}

/// L(a) / a on [0, 8], the coefficient of a^10 first: the polynomial of this degree for which the largest error of exp(-L),
/// relative to the larger one of exp(-L) and 1e-4, is the smallest, found by weighted least squares.
#[expect(clippy::excessive_precision, reason = "as they were found")]
const TAIL: [f32; 11] = [
    -1.338_414_019_6e-9,
    5.528_143_349_3e-8,
    -9.895_095_340_0e-7,
    1.002_776_447_9e-5,
    -6.193_258_912_3e-5,
    2.138_625_202_2e-4,
    -2.647_968_118_4e-5,
    -4.796_047_211_3e-3,
    3.634_313_974_0e-2,
    0.318_308_129_39,
    0.797_884_691_42,
];
/// What lies beyond has a probability below 1e-15.
const FARTHEST: f32 = 8.0;
/// 1 / 7! ... 1 / 0!
const INVERSE_FACTORIALS: [f32; 8] = [
    1.0 / 5040.0,
    1.0 / 720.0,
    1.0 / 120.0,
    1.0 / 24.0,
    1.0 / 6.0,
    0.5,
    1.0,
    1.0,
];
/// 1.5 * 2^23: adding it leaves the nearest integer in the lowest bits.
const ROUND: f32 = 12_582_912.0;
const LOG2_E: f32 = std::f32::consts::LOG2_E;
/// ln(2) in two parts, the first with so few bits that its product with n is exact.
const LN_2_HIGH: f32 = 0.693_359_4;
const LN_2_LOW: f32 = -2.121_944_4e-4;
/// Values looked at before a matrix is given up as too precise for bfloat16.
const NARROWED: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exponentials_are_right_to_the_last_digits() {
        for step in -8700..=8800 {
            let x = step as f32 / 100.0;
            let (found, expected) = (f64::from(exp_f32(x)), f64::from(x).exp());
            assert!(
                (found / expected - 1.0).abs() < 1.5e-7,
                "{x}: {found:e} {expected:e}"
            );
        }
        assert_eq!(exp_f32(0.0), 1.0);
        assert_eq!(exp_f32(-87.1), 0.0);
        assert_eq!(exp_f32(f32::NEG_INFINITY), 0.0);
        assert!(exp_f32(1e30) > 1e38);
        assert!(exp_f32(f32::NAN).is_nan());
    }

    #[test]
    fn the_gaussian_distribution_is_right_where_it_counts() {
        for step in -20_000..=20_000 {
            let x = step as f32 / 1000.0;
            let (found, expected) = (f64::from(normal_f32(x)), normal_f64(f64::from(x)));
            let error = (found - expected).abs() * f64::from(x.abs()).max(1.0);
            assert!(
                error < 2f64.powi(-24) * f64::from(x.abs()).max(1.0),
                "{x}: {found:e} {expected:e}"
            );
            if x < 0.0 {
                assert!(error < 3e-8, "{x}: {found:e} {expected:e}");
            }
        }
        assert_eq!((normal_f32(0.0), normal_f32(30.0)), (0.5, 1.0));
        assert_eq!((normal_f64(0.0), normal_f64(30.0)), (0.5, 1.0));
    }
}
