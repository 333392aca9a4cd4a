use std::fmt::Debug;
use std::ops::{Add, AddAssign, Div, Mul, MulAssign, Neg, Sub};

use pulp::Simd;

use super::functions;
use crate::layers::Values;

/// The precisions of the forward pass, each with its vectors.
pub(crate) trait Real:
    Copy
    + Debug
    + Default
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
    /// The numbers, if they are f32.
    fn singles(values: &[Self]) -> Option<&[f32]>;
    /// The same, to be written.
    fn singles_mut(values: &mut [Self]) -> Option<&mut [f32]>;
    /// Numbers in a register.
    fn lanes<S: Simd>() -> usize;
    /// Whole vectors, and the rest.
    fn vectors<S: Simd>(values: &[Self]) -> (&[Self::Vector<S>], &[Self]);
    /// The same, to be written.
    fn vectors_mut<S: Simd>(values: &mut [Self]) -> (&mut [Self::Vector<S>], &mut [Self]);
    /// The value in every lane.
    fn splat<S: Simd>(simd: S, value: Self) -> Self::Vector<S>;
    /// a b.
    fn mul_vectors<S: Simd>(simd: S, a: Self::Vector<S>, b: Self::Vector<S>) -> Self::Vector<S>;
    /// a b + c, rounded once.
    fn mul_add_vectors<S: Simd>(
        simd: S,
        a: Self::Vector<S>,
        b: Self::Vector<S>,
        c: Self::Vector<S>,
    ) -> Self::Vector<S>;
    /// a + b.
    fn add_vectors<S: Simd>(simd: S, a: Self::Vector<S>, b: Self::Vector<S>) -> Self::Vector<S>;
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
    /// To f32, rounded to nearest.
    fn to_single(self) -> f32;
    /// The larger one.
    fn larger(self, other: Self) -> Self;
}

/// How a weight is stored.
pub(super) trait Weight<T>: Copy + Default + Send + Sync {
    /// Whether it counts in a scale that it shares with others.
    const SCALED: bool;

    /// The weight, before it is scaled.
    fn value(self) -> T;
}

impl<T: Real> Weight<T> for T {
    const SCALED: bool = false;

    #[inline(always)]
    fn value(self) -> T {
        self
    }
}

/// The bits of a bfloat16.
impl<T: Real> Weight<T> for u16 {
    const SCALED: bool = false;

    #[inline(always)]
    fn value(self) -> T {
        T::from_single(f32::from_bits(u32::from(self) << 16))
    }
}

/// A number of a block with a scale.
impl<T: Real> Weight<T> for i8 {
    const SCALED: bool = true;

    #[inline(always)]
    fn value(self) -> T {
        T::from_single(f32::from(self))
    }
}

macro_rules! real {
    ($real:ty, $singles:expr, $singles_mut:expr, $values:ident, $vectors:ident, $as:ident, $as_mut:ident, $splat:ident, $mul:ident, $mul_add:ident, $add:ident, $exp:path, $normal:path) => {
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

            fn singles(values: &[Self]) -> Option<&[f32]> {
                $singles(values)
            }

            fn singles_mut(values: &mut [Self]) -> Option<&mut [f32]> {
                $singles_mut(values)
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
            fn mul_vectors<S: Simd>(simd: S, a: S::$vectors, b: S::$vectors) -> S::$vectors {
                simd.$mul(a, b)
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
            fn to_single(self) -> f32 {
                self as f32
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
    Some,
    Some,
    F32,
    f32s,
    as_simd_f32s,
    as_mut_simd_f32s,
    splat_f32s,
    mul_f32s,
    mul_add_f32s,
    add_f32s,
    functions::exp_f32,
    functions::normal_f32
);
real!(
    f64,
    |_| None,
    |_| None,
    F64,
    f64s,
    as_simd_f64s,
    as_mut_simd_f64s,
    splat_f64s,
    mul_f64s,
    mul_add_f64s,
    add_f64s,
    f64::exp,
    functions::normal_f64
);

/// Values looked at before a matrix is given up as too precise for bfloat16.
const NARROWED: usize = 4096;
