use equicrypt_machine::Lines;
use pulp::Simd;

use super::Real;
use super::panel_matrix::{BLOCK, Panel, scale};
use super::panels::PANEL_VECTORS;
use super::real::Weight;

/// Sums for a panel.
pub(super) type Sums<T, S> = [<T as Real>::Vector<S>; PANEL_VECTORS];

/// The products of `R` rows of x with a panel, which is widened on its way from memory. Each sum is one chain of fused
/// multiplications and additions in the order of the inputs. `next` is fetched meanwhile, for what comes after.
#[inline(always)]
pub(super) fn stream<T: Real, S: Simd, W: Weight<T>, const R: usize>(
    simd: S,
    x: [&[T]; R],
    panel: Panel<'_, W>,
    next: Lines<'_>,
) -> [Sums<T, S>; R] {
    let stride = next.stride(x[0].len());
    let width = PANEL_VECTORS * T::lanes::<S>();
    let mut sums = [[T::splat(simd, T::zero()); PANEL_VECTORS]; R];
    let mut scales = panel.scales.chunks_exact(width);
    let mut first = 0;
    for block in panel.values.chunks(BLOCK * width) {
        let factors = factors::<T, S, W>(simd, &mut scales);
        let depth = block.len() / width;
        let mut own = [[].as_slice(); R];
        for (own, x) in own.iter_mut().zip(x) {
            *own = &x[first..][..depth];
        }
        let done = first;
        first += depth;
        for (k, row) in block.chunks_exact(width).enumerate() {
            next.fetch_at((done + k) * stride);
            if size_of::<W>() > 2 {
                next.fetch_at((done + k) * stride + stride / 2);
            }
            let weights = wide(simd, row, &factors);
            for r in 0..R {
                let x = T::splat(simd, own[r][k]);
                for c in 0..PANEL_VECTORS {
                    sums[r][c] = T::mul_add_vectors(simd, x, weights[c], sums[r][c]);
                }
            }
        }
    }
    sums
}

/// out = rows of a panel from `first` on, widened; `first` begins a block.
#[inline(always)]
pub(super) fn widen<T: Real, S: Simd, W: Weight<T>>(
    simd: S,
    panel: Panel<'_, W>,
    first: usize,
    out: &mut [T],
) {
    let width = PANEL_VECTORS * T::lanes::<S>();
    let values = &panel.values[first * width..][..out.len()];
    let skipped = if W::SCALED { first / BLOCK * width } else { 0 };
    let mut scales = panel.scales[skipped..].chunks_exact(width);
    for (values, out) in values
        .chunks(BLOCK * width)
        .zip(out.chunks_mut(BLOCK * width))
    {
        let factors = factors::<T, S, W>(simd, &mut scales);
        for (row, out) in values.chunks_exact(width).zip(out.chunks_exact_mut(width)) {
            let weights = wide(simd, row, &factors);
            T::vectors_mut::<S>(out).0.copy_from_slice(&weights);
        }
    }
}

/// What the numbers of the next block are multiplied by.
#[inline(always)]
fn factors<'a, T: Real, S: Simd, W: Weight<T>>(
    simd: S,
    scales: &mut impl Iterator<Item = &'a [u16]>,
) -> Sums<T, S> {
    let mut factors = [T::splat(simd, T::one()); PANEL_VECTORS];
    if W::SCALED
        && let Some(scales) = scales.next()
    {
        for (factor, scales) in factors.iter_mut().zip(scales.chunks_exact(T::lanes::<S>())) {
            let mut wide = [T::zero(); MOST_LANES];
            for (wide, bits) in wide.iter_mut().zip(scales) {
                *wide = scale(*bits);
            }
            *factor = T::vectors::<S>(&wide).0[0];
        }
    }
    factors
}

/// A row of a panel.
#[inline(always)]
fn wide<T: Real, S: Simd, W: Weight<T>>(simd: S, row: &[W], factors: &Sums<T, S>) -> Sums<T, S> {
    let mut weights = [T::splat(simd, T::zero()); PANEL_VECTORS];
    let lanes = row.chunks_exact(T::lanes::<S>());
    for ((weight, stored), factor) in weights.iter_mut().zip(lanes).zip(factors) {
        let mut wide = [T::zero(); MOST_LANES];
        for (wide, stored) in wide.iter_mut().zip(stored) {
            *wide = stored.value();
        }
        *weight = T::vectors::<S>(&wide).0[0];
        if W::SCALED {
            *weight = T::mul_vectors(simd, *weight, *factor);
        }
    }
    weights
}

/// Numbers in the widest register.
const MOST_LANES: usize = 16;
