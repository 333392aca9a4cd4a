use pulp::{Arch, Simd, WithSimd};
use rayon::prelude::*;

use super::matrix::Stored;
use super::real::Weight;
use super::{Matrix, Real};
use crate::Error;

/// y = x W^T, with x `[n, columns]` and y `[n, rows]`.
pub(crate) fn matmul<T: Real>(x: &[T], weight: &Matrix<T>, y: &mut [T]) -> Result<(), Error> {
    let (columns, out) = (weight.columns(), weight.rows());
    let rows = x.len() / columns;
    if x.len() != rows * columns || y.len() != rows * out {
        return Err(Error::MatrixShape {
            shape: [out, columns],
            input: x.len(),
            output: y.len(),
        });
    }
    let width = block_width(out, columns);
    let mut blocks: Vec<Block<'_, T>> = (0..out.div_ceil(width))
        .map(|block| Block {
            first: block * width,
            y: Vec::with_capacity(rows),
        })
        .collect();
    for row in y.chunks_exact_mut(out) {
        for (block, part) in blocks.iter_mut().zip(row.chunks_mut(width)) {
            block.y.push(part);
        }
    }
    let mut aligned = Vec::new();
    let x = align(x, &mut aligned);
    let arch = Arch::new();
    blocks
        .into_par_iter()
        .with_max_len(1)
        .for_each(|mut block| {
            let width = block.y.first().map_or(0, |part| part.len());
            arch.dispatch(Tiles {
                x,
                columns,
                weight: weight.block(block.first..block.first + width),
                y: &mut block.y,
            });
        });
    Ok(())
}

/// A copy of `x` that starts at a cache line: a register that lies across two takes twice as long to
/// load.
fn align<'a, T: Real>(x: &[T], room: &'a mut Vec<T>) -> &'a mut [T] {
    room.resize(x.len() + CACHE_LINE / size_of::<T>(), T::zero());
    let start = room
        .as_ptr()
        .align_offset(CACHE_LINE)
        .min(room.len() - x.len());
    let copy = &mut room[start..][..x.len()];
    copy.copy_from_slice(x);
    copy
}

/// Some neighbouring rows of W, and for each row of x the place of their answers.
struct Block<'a, T> {
    first: usize,
    y: Vec<&'a mut [T]>,
}

/// Enough blocks that a core which is late has little left to do, but none so small that handing it
/// over takes longer than computing it.
fn block_width(out: usize, columns: usize) -> usize {
    let blocks = rayon::current_num_threads() * BLOCKS_PER_THREAD;
    let least = BLOCK_WEIGHTS.div_ceil(columns);
    out.div_ceil(blocks)
        .max(least)
        .next_multiple_of(TILE_WEIGHTS)
}

struct Tiles<'a, 'b, T> {
    x: &'a [T],
    columns: usize,
    weight: Stored<'a, T>,
    y: &'a mut [&'b mut [T]],
}

/// Closures are avoided from here on: they would be compiled without the vector instructions.
impl<T: Real> WithSimd for Tiles<'_, '_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let rows = self.y.len();
        match (self.weight, T::lanes::<S>()) {
            (Stored::Half(weight), 4) if rows < MANY => self.few::<S, u16, 4>(simd, weight),
            (Stored::Half(weight), 8) if rows < MANY => self.few::<S, u16, 8>(simd, weight),
            (Stored::Half(weight), 16) if rows < MANY => self.few::<S, u16, 16>(simd, weight),
            (Stored::Full(weight), 4) if rows < MANY => self.few::<S, T, 4>(simd, weight),
            (Stored::Full(weight), 8) if rows < MANY => self.few::<S, T, 8>(simd, weight),
            (Stored::Full(weight), 16) if rows < MANY => self.few::<S, T, 16>(simd, weight),
            // 16 sums and 5 operands need the 32 registers of AVX-512.
            _ if size_of::<T::Vector<S>>() == 64 => self.rows::<S, 4>(simd),
            _ => self.rows::<S, 2>(simd),
        }
    }
}

impl<T: Real> Tiles<'_, '_, T> {
    /// `R` rows at a time.
    #[inline(always)]
    fn rows<S: Simd, const R: usize>(self, simd: S) {
        let columns = self.columns;
        let (empty, mut room) = (vec![T::zero(); TILE_WEIGHTS * columns], Vec::new());
        let widened = align(&empty, &mut room);
        let panel = (PANEL_BYTES / (columns * size_of::<T>())).next_multiple_of(R);
        for (x, y) in self.x.chunks(panel * columns).zip(self.y.chunks_mut(panel)) {
            let mut first = 0;
            while let Some(weight) = self.weight.tile(first * columns, widened) {
                let mut x = x.chunks_exact(R * columns);
                let mut y = y.chunks_exact_mut(R);
                for (x, y) in x.by_ref().zip(y.by_ref()) {
                    tile_of::<T, S, R>(simd, x, columns, weight, y, first);
                }
                let (x, y) = (x.remainder(), y.into_remainder());
                match y.len() {
                    3 => tile_of::<T, S, 3>(simd, x, columns, weight, y, first),
                    2 => tile_of::<T, S, 2>(simd, x, columns, weight, y, first),
                    1 => tile_of::<T, S, 1>(simd, x, columns, weight, y, first),
                    _ => {}
                }
                first += TILE_WEIGHTS;
            }
        }
    }

    /// Few rows, with `L` lanes in a register: a single stream of weights, which are widened on their
    /// way from memory, so that the next ones are already being fetched.
    #[inline(always)]
    fn few<S: Simd, W: Weight<T>, const L: usize>(self, simd: S, weight: &[W]) {
        let columns = self.columns;
        for (out, weight) in weight.chunks_exact(columns).enumerate() {
            let (mut x, mut y) = (self.x, &mut *self.y);
            while !y.is_empty() {
                let rows = match y.len() {
                    8.. => stream::<T, S, W, L, 8>(simd, columns, x, weight, y, out),
                    4.. => stream::<T, S, W, L, 4>(simd, columns, x, weight, y, out),
                    2.. => stream::<T, S, W, L, 2>(simd, columns, x, weight, y, out),
                    _ => stream::<T, S, W, L, 1>(simd, columns, x, weight, y, out),
                };
                (x, y) = (&x[rows * columns..], &mut y[rows..]);
            }
        }
    }
}

/// The products of `R` rows of x with at most `TILE_WEIGHTS` rows of W.
#[inline(always)]
fn tile_of<T: Real, S: Simd, const R: usize>(
    simd: S,
    x: &[T],
    columns: usize,
    weight: &[T],
    y: &mut [&mut [T]],
    first: usize,
) {
    if weight.len() == TILE_WEIGHTS * columns {
        let products = dots::<T, S, R, TILE_WEIGHTS>(simd, columns, x, weight);
        for (y, products) in y.iter_mut().zip(products) {
            y[first..first + TILE_WEIGHTS].copy_from_slice(&products);
        }
    } else {
        for (offset, w) in weight.chunks_exact(columns).enumerate() {
            let products = dots::<T, S, R, 1>(simd, columns, x, w);
            for (y, products) in y.iter_mut().zip(products) {
                y[first + offset] = products[0];
            }
        }
    }
}

/// All dot products of `R` with `C` neighbouring vectors. Each one is summed in the same order whatever
/// `R` and `C` are.
#[inline(always)]
fn dots<T: Real, S: Simd, const R: usize, const C: usize>(
    simd: S,
    columns: usize,
    x: &[T],
    w: &[T],
) -> [[T; C]; R] {
    let (x_rests, w_rests) = (rests::<T, S, R>(columns, x), rests::<T, S, C>(columns, w));
    let (x, w) = (whole::<T, S, R>(columns, x), whole::<T, S, C>(columns, w));
    let len = x[0].len();
    let mut sums = [[T::splat(simd, T::zero()); C]; R];
    for i in 0..len {
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
fn stream<T: Real, S: Simd, W: Weight<T>, const L: usize, const R: usize>(
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
const TILE_WEIGHTS: usize = 4;
/// Rows of x that stay in the second-level cache while the weights pass by.
const CACHE_LINE: usize = 64;
const PANEL_BYTES: usize = 512 << 10;
/// From so many rows on, widening a tile of weights once is cheaper than widening them for each row.
const MANY: usize = 16;
const BLOCKS_PER_THREAD: usize = 4;
const BLOCK_WEIGHTS: usize = 128 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    fn values(len: usize, seed: u64) -> Vec<f64> {
        (0..len as u64)
            .map(|i| ((i * 7919 + seed * 104_729) % 1009) as f64 / 1009.0 - 0.5)
            .collect()
    }

    #[test]
    fn products_are_right_at_every_edge_of_the_tiles() {
        for (rows, columns, out) in [
            (1, 1, 1),
            (1, 8, 5),
            (3, 17, 4),
            (4, 33, 7),
            (9, 64, 37),
            (5, 576, 130),
        ] {
            let (x, w) = (values(rows * columns, 1), values(out * columns, 2));
            let weight = Matrix::new(out, columns, w.clone()).unwrap();
            let mut y = vec![f64::NAN; rows * out];
            matmul(&x, &weight, &mut y).unwrap();
            for (r, x) in x.chunks(columns).enumerate() {
                for (o, w) in w.chunks(columns).enumerate() {
                    let expected: f64 = x.iter().zip(w).map(|(x, w)| x * w).sum();
                    let found = y[r * out + o];
                    assert!(
                        (expected - found).abs() < 1e-12,
                        "{rows} {columns} {out}: {r} {o}"
                    );
                }
            }
        }
    }

    #[test]
    fn a_row_gets_the_same_bits_in_any_company_and_storage() {
        let (rows, columns, out) = (11, 75, 50);
        let x: Vec<f32> = values(rows * columns, 3)
            .iter()
            .map(|v| *v as f32)
            .collect();
        let precise: Vec<f32> = values(out * columns, 4).iter().map(|v| *v as f32).collect();
        let halves: Vec<f32> = precise
            .iter()
            .map(|v| f32::from_bits(v.to_bits() & 0xffff_0000))
            .collect();
        for values in [precise, halves] {
            let weight = Matrix::new(out, columns, values.clone()).unwrap();
            let mut together = vec![0.0; rows * out];
            matmul(&x, &weight, &mut together).unwrap();
            let full = Matrix::in_full(out, columns, values);
            for (x, together) in x.chunks(columns).zip(together.chunks(out)) {
                for weight in [&weight, &full] {
                    let mut alone = vec![0.0; out];
                    matmul(x, weight, &mut alone).unwrap();
                    assert_eq!(alone, together);
                }
            }
        }
    }

    #[test]
    fn wrong_sizes_are_refused() {
        let weight = Matrix::new(2, 3, vec![0.0; 6]).unwrap();
        assert!(matmul(&[0.0; 4], &weight, &mut [0.0; 2]).is_err());
        assert!(matmul(&[0.0; 3], &weight, &mut [0.0; 3]).is_err());
        assert!(Matrix::new(2, 3, vec![0.0; 5]).is_none());
    }
}
