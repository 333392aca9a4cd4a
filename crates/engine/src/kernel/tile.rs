use pulp::Simd;

use super::Real;
use super::real::Weight;

/// Writes the products of `R` rows of x with at most `TILE_WEIGHTS` rows of W to `y` from `first` on.
/// Meanwhile it widens some of `stored` into `room`, so that the memory is never idle; returns how
/// many.
#[expect(
    clippy::too_many_arguments,
    reason = "the innermost loop: a struct would be memory"
)]
#[inline(always)]
pub(super) fn tile_of<T: Real, S: Simd, W: Weight<T>, const L: usize, const R: usize>(
    simd: S,
    x: &[T],
    columns: usize,
    weight: &[T],
    y: &mut [&mut [T]],
    first: usize,
    stored: &[W],
    room: &mut [T],
) -> usize {
    if weight.len() != TILE_WEIGHTS * columns {
        for (offset, w) in weight.chunks_exact(columns).enumerate() {
            let none: &[[[W; L]; 2]] = &[];
            let products = dots::<T, S, W, L, R, 1>(simd, columns, x, w, none, &mut []);
            for (y, products) in y.iter_mut().zip(products) {
                y[first + offset] = products[0];
            }
        }
        return 0;
    }
    let stored = stored.as_chunks::<L>().0.as_chunks::<2>().0;
    let stored = &stored[..stored.len().min(columns / L)];
    let room = room.as_chunks_mut::<L>().0.as_chunks_mut::<2>().0;
    let products = dots::<T, S, W, L, R, TILE_WEIGHTS>(simd, columns, x, weight, stored, room);
    for (y, products) in y.iter_mut().zip(products) {
        y[first..first + TILE_WEIGHTS].copy_from_slice(&products);
    }
    stored.len() * 2 * L
}

/// All dot products of `R` with `C` neighbouring vectors. Each one is summed in the same order whatever
/// `R` and `C` are. Widens `stored` into `room` on the way, which must be no longer than the vectors.
#[inline(always)]
fn dots<T: Real, S: Simd, W: Weight<T>, const L: usize, const R: usize, const C: usize>(
    simd: S,
    columns: usize,
    x: &[T],
    w: &[T],
    stored: &[[[W; L]; 2]],
    room: &mut [[[T; L]; 2]],
) -> [[T; C]; R] {
    let (x_rests, w_rests) = (rests::<T, S, R>(columns, x), rests::<T, S, C>(columns, w));
    let (x, w) = (whole::<T, S, R>(columns, x), whole::<T, S, C>(columns, w));
    let len = x[0].len();
    let mut sums = [[T::splat(simd, T::zero()); C]; R];
    for i in 0..len {
        if let (Some(stored), Some(room)) = (stored.get(i), room.get_mut(i)) {
            for (room, stored) in room.iter_mut().zip(stored) {
                let mut wide = [T::zero(); L];
                for (wide, stored) in wide.iter_mut().zip(stored) {
                    *wide = stored.value();
                }
                *room = wide;
            }
        }
        for (sums, x) in sums.iter_mut().zip(x) {
            for (sum, w) in sums.iter_mut().zip(w) {
                *sum = T::mul_add_vectors(simd, x[i], w[i], *sum);
            }
        }
    }
    let mut products = [[T::zero(); C]; R];
    for ((products, sums), x) in products.iter_mut().zip(sums).zip(x_rests) {
        for ((product, sum), w) in products.iter_mut().zip(sums).zip(w_rests) {
            *product = T::sum(simd, sum);
            for (x, w) in x.iter().zip(w) {
                *product = x.mul_add(*w, *product);
            }
        }
    }
    products
}

/// The products of `R` rows of x with one row of W, summed as [`dots`] does; returns `R`.
#[inline(always)]
pub(super) fn stream<T: Real, S: Simd, W: Weight<T>, const L: usize, const R: usize>(
    simd: S,
    columns: usize,
    x: &[T],
    weight: &[W],
    y: &mut [&mut [T]],
    out: usize,
) -> usize {
    let (weight, weight_rest) = weight.as_chunks::<L>();
    let (x, x_rests) = (whole::<T, S, R>(columns, x), rests::<T, S, R>(columns, x));
    let mut sums = [T::splat(simd, T::zero()); R];
    for (i, weight) in weight.iter().enumerate() {
        let mut wide = [T::zero(); L];
        for (wide, weight) in wide.iter_mut().zip(weight) {
            *wide = weight.value();
        }
        for weight in T::vectors::<S>(&wide).0 {
            for (sum, x) in sums.iter_mut().zip(x) {
                *sum = T::mul_add_vectors(simd, x[i], *weight, *sum);
            }
        }
    }
    for ((y, sum), x) in y.iter_mut().zip(sums).zip(x_rests) {
        let mut product = T::sum(simd, sum);
        for (x, weight) in x.iter().zip(weight_rest) {
            product = x.mul_add(weight.value(), product);
        }
        y[out] = product;
    }
    R
}

/// `N` neighbouring vectors as registers.
#[inline(always)]
fn whole<T: Real, S: Simd, const N: usize>(columns: usize, values: &[T]) -> [&[T::Vector<S>]; N] {
    let len = T::vectors::<S>(&values[..columns]).0.len();
    let mut parts = [[].as_slice(); N];
    for (index, part) in parts.iter_mut().enumerate() {
        *part = &T::vectors::<S>(&values[index * columns..][..columns]).0[..len];
    }
    parts
}

/// What does not fill a register at the end of each.
#[inline(always)]
fn rests<T: Real, S: Simd, const N: usize>(columns: usize, values: &[T]) -> [&[T]; N] {
    let mut parts = [[].as_slice(); N];
    for (index, part) in parts.iter_mut().enumerate() {
        *part = T::vectors::<S>(&values[index * columns..][..columns]).1;
    }
    parts
}

/// Rows of W that are multiplied with some rows of x in registers.
pub(super) const TILE_WEIGHTS: usize = 4;
