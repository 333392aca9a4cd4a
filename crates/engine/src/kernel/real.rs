use candle_core::{Storage, Tensor, WithDType};
use pulp::Simd;

use crate::Error;

/// The precisions of the forward pass, each with its vectors.
pub(crate) trait Real: WithDType + Send + Sync + 'static {
    /// A vector register.
    type Vector<S: Simd>: Copy;

    /// Whole vectors, and the rest.
    fn vectors<S: Simd>(values: &[Self]) -> (&[Self::Vector<S>], &[Self]);
    /// The value in every lane.
    fn splat<S: Simd>(simd: S, value: Self) -> Self::Vector<S>;
    /// a b + c, rounded once.
    fn mul_add_vectors<S: Simd>(
        simd: S,
        a: Self::Vector<S>,
        b: Self::Vector<S>,
        c: Self::Vector<S>,
    ) -> Self::Vector<S>;
    /// The sum of the lanes.
    fn sum<S: Simd>(simd: S, vector: Self::Vector<S>) -> Self;
    /// a b + c, rounded once.
    fn mul_add(self, b: Self, c: Self) -> Self;
    /// The square root.
    fn sqrt(self) -> Self;
    /// e to the power of this.
    fn exp(self) -> Self;
    /// The larger one.
    fn max(self, other: Self) -> Self;
}

macro_rules! real {
    ($real:ty, $vectors:ident, $as:ident, $splat:ident, $mul_add:ident, $sum:ident) => {
        impl Real for $real {
            type Vector<S: Simd> = S::$vectors;

            #[inline(always)]
            fn vectors<S: Simd>(values: &[Self]) -> (&[S::$vectors], &[Self]) {
                S::$as(values)
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
                <$real>::exp(self)
            }

            #[inline(always)]
            fn max(self, other: Self) -> Self {
                <$real>::max(self, other)
            }
        }
    };
}

real!(
    f32,
    f32s,
    as_simd_f32s,
    splat_f32s,
    mul_add_f32s,
    reduce_sum_f32s
);
real!(
    f64,
    f64s,
    as_simd_f64s,
    splat_f64s,
    mul_add_f64s,
    reduce_sum_f64s
);

/// Calls `read` with the values of a contiguous CPU tensor, without copying them.
pub(crate) fn view<T: Real, R>(tensor: &Tensor, read: impl FnOnce(&[T]) -> R) -> Result<R, Error> {
    let (storage, layout) = tensor.storage_and_layout();
    let Some((start, end)) = layout.contiguous_offsets() else {
        drop(storage);
        return view(&tensor.contiguous()?, read);
    };
    match &*storage {
        Storage::Cpu(storage) => Ok(read(&T::cpu_storage_as_slice(storage)?[start..end])),
        _ => {
            drop(storage);
            view(&tensor.to_device(&candle_core::Device::Cpu)?, read)
        }
    }
}
