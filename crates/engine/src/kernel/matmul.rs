use pulp::{Arch, Simd, WithSimd};
use rayon::prelude::*;

use super::matrix::{Stored, widen};
use super::memory::{align, touch};
use super::real::Weight;
use super::tile::{TILE_WEIGHTS, stream, tile_of};
use super::{Matrix, Real};
use crate::Error;

/// y = x W^T, with x `[n, columns]` and y `[n, rows]`.
pub(crate) fn matmul<T: Real>(x: &[T], weight: &Matrix<T>, y: &mut [T]) -> Result<(), Error> {
    matmul_on(Arch::new(), x, weight, y)
}

/// The same with the instructions of `arch`.
fn matmul_on<T: Real>(arch: Arch, x: &[T], weight: &Matrix<T>, y: &mut [T]) -> Result<(), Error> {
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
        match (self.weight, T::lanes::<S>()) {
            (Stored::Half(weight), 16) => self.run::<S, u16, 16>(simd, weight),
            (Stored::Half(weight), 8) => self.run::<S, u16, 8>(simd, weight),
            (Stored::Half(weight), 4) => self.run::<S, u16, 4>(simd, weight),
            (Stored::Half(weight), 2) => self.run::<S, u16, 2>(simd, weight),
            (Stored::Half(weight), _) => self.run::<S, u16, 1>(simd, weight),
            (Stored::Full(weight), 16) => self.run::<S, T, 16>(simd, weight),
            (Stored::Full(weight), 8) => self.run::<S, T, 8>(simd, weight),
            (Stored::Full(weight), 4) => self.run::<S, T, 4>(simd, weight),
            (Stored::Full(weight), 2) => self.run::<S, T, 2>(simd, weight),
            (Stored::Full(weight), _) => self.run::<S, T, 1>(simd, weight),
        }
    }
}

impl<T: Real> Tiles<'_, '_, T> {
    /// With `L` lanes in a register.
    #[inline(always)]
    fn run<S: Simd, W: Weight<T>, const L: usize>(self, simd: S, weight: &[W]) {
        if self.y.len() < MANY {
            self.few::<S, W, L>(simd, weight);
        } else if size_of::<T::Vector<S>>() == 64 {
            // 16 sums and 5 operands need the 32 registers of AVX-512.
            self.many::<S, W, L, 4>(simd, weight);
        } else {
            self.many::<S, W, L, 2>(simd, weight);
        }
    }

    /// Few rows: a single stream of weights, which are widened on their way from memory.
    #[inline(always)]
    fn few<S: Simd, W: Weight<T>, const L: usize>(self, simd: S, weight: &[W]) {
        let columns = self.columns;
        let burst = (BURST_BYTES / size_of::<W>()).div_ceil(columns);
        for (out, row) in weight.chunks_exact(columns).enumerate() {
            if self.y.len() > 3 && out % burst == 0 {
                let end = weight.len().min((out + burst) * columns);
                touch(&weight[out * columns..end]);
            }
            let weight = row;
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

    /// Many rows, `R` at a time: a tile of weights is widened while the one before it is multiplied.
    #[inline(always)]
    fn many<S: Simd, W: Weight<T>, const L: usize, const R: usize>(self, simd: S, weight: &[W]) {
        let columns = self.columns;
        let tile = TILE_WEIGHTS * columns;
        let (empty, mut rooms) = (vec![T::zero(); tile], (Vec::new(), Vec::new()));
        let mut current = align(&empty, &mut rooms.0);
        let mut next = align(&empty, &mut rooms.1);
        let panel = (PANEL_BYTES / (columns * size_of::<T>())).next_multiple_of(R);
        for (x, y) in self.x.chunks(panel * columns).zip(self.y.chunks_mut(panel)) {
            let mut ahead = weight;
            let mut first = 0;
            let mut size = ahead.len().min(tile);
            widen(&ahead[..size], current);
            ahead = &ahead[size..];
            let burst = (BURST_BYTES / size_of::<W>()).div_ceil(tile);
            let mut tiles = 0;
            while size > 0 {
                if tiles % burst == 0 {
                    touch(&ahead[..ahead.len().min(burst * tile)]);
                }
                tiles += 1;
                let weight = &current[..size];
                size = ahead.len().min(tile);
                let (stored, rest) = ahead.split_at(size);
                let mut done = 0;
                let mut groups = x.chunks_exact(R * columns);
                let mut outs = y.chunks_exact_mut(R);
                for (x, y) in groups.by_ref().zip(outs.by_ref()) {
                    let (stored, room) = (&stored[done..], &mut next[done..]);
                    done +=
                        tile_of::<T, S, W, L, R>(simd, x, columns, weight, y, first, stored, room);
                }
                widen(&stored[done..], &mut next[done..]);
                let (x, y) = (groups.remainder(), outs.into_remainder());
                let (none, room): (&[W], _) = (&[], &mut [][..]);
                match y.len() {
                    3 => tile_of::<T, S, W, L, 3>(simd, x, columns, weight, y, first, none, room),
                    2 => tile_of::<T, S, W, L, 2>(simd, x, columns, weight, y, first, none, room),
                    1 => tile_of::<T, S, W, L, 1>(simd, x, columns, weight, y, first, none, room),
                    _ => 0,
                };
                first += TILE_WEIGHTS;
                ahead = rest;
                std::mem::swap(&mut current, &mut next);
            }
        }
    }
}

const BURST_BYTES: usize = 64 << 10;
/// Rows of x that stay in the second-level cache while the weights pass by.
const PANEL_BYTES: usize = 512 << 10;
/// From so many rows on, widening a tile of weights once is cheaper than widening them for each row.
const MANY: usize = 7;
const BLOCKS_PER_THREAD: usize = 4;
const BLOCK_WEIGHTS: usize = 128 << 10;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::Numbers;

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
            let weight = Matrix::new(out, columns, Numbers::new(w.clone())).unwrap();
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
            let weight = Matrix::new(out, columns, Numbers::new(values.clone())).unwrap();
            let mut together = vec![0.0; rows * out];
            matmul(&x, &weight, &mut together).unwrap();
            let full = Matrix::new(out, columns, Numbers::Full(values)).unwrap();
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
    fn every_instruction_set_agrees() {
        let mut archs = vec![Arch::Scalar, Arch::new()];
        #[cfg(target_arch = "x86_64")]
        archs.extend(pulp::x86::V3::try_new().map(Arch::V3));
        let (columns, out) = (83, 21);
        let full = values(out * columns, 6);
        let halves = full
            .iter()
            .map(|v| f64::from((v * 64.0).round() as f32) / 64.0)
            .collect();
        for (rows, w) in (1..20).flat_map(|rows| [(rows, &full), (rows, &halves)]) {
            let x = values(rows * columns, 5);
            let weight = Matrix::new(out, columns, Numbers::new(w.clone())).unwrap();
            let mut expected = vec![0.0; rows * out];
            matmul(&x, &weight, &mut expected).unwrap();
            for arch in &archs {
                let mut y = vec![0.0; rows * out];
                matmul_on(*arch, &x, &weight, &mut y).unwrap();
                for (found, expected) in y.iter().zip(&expected) {
                    assert!((found - expected).abs() < 1e-12, "{arch:?}, {rows} rows");
                }
            }
        }
    }

    #[test]
    fn wrong_sizes_are_refused() {
        let weight = Matrix::new(2, 3, Numbers::new(vec![0.0; 6])).unwrap();
        assert!(matmul(&[0.0; 4], &weight, &mut [0.0; 2]).is_err());
        assert!(matmul(&[0.0; 3], &weight, &mut [0.0; 3]).is_err());
        assert!(Matrix::new(2, 3, Numbers::new(vec![0.0; 5])).is_none());
    }
}
