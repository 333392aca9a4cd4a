use std::ops::Range;

use equicrypt_machine::Lines;
use pulp::{Simd, WithSimd};
use rayon::prelude::*;

use super::memory::{part, touch};
use super::panel_matrix::{AnyPanel, BLOCK, Panel, PanelMatrix};
use super::panels::{PANEL_NUMBERS, PANEL_VECTORS, Panels, Product, Strided, multiply};
use super::real::Weight;
use super::stream::{stream, widen};
use super::{Matrix, Real};
use crate::Error;

/// y = x W^T, with x `[n, columns]` and y `[n, rows]`.
///
/// Each answer depends on its own row and output alone, bit for bit, however many there are.
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
    match weight {
        Matrix::Panels(weight) => by_panels(x, weight, y),
        Matrix::Tiles(weight) => {
            let (Some(x), Some(y)) = (T::singles(x), T::singles_mut(y)) else {
                unreachable!("tiles are only made of matrices in f32");
            };
            weight.multiply(x, y);
        }
    }
    Ok(())
}

/// Few rows of x pass by the weights once, all cores at different weights; many rows are shared out among the cores.
fn by_panels<T: Real>(x: &[T], weight: &PanelMatrix<T>, y: &mut [T]) {
    let (columns, out) = (weight.columns(), weight.rows());
    let rows = x.len() / columns;
    let block = rows
        .div_ceil(rayon::current_num_threads())
        .next_multiple_of(8)
        .min(MOST_ROWS);
    if block >= LEAST_ROWS {
        let y = y.par_chunks_mut(block * out);
        let tasks = y.zip(x.par_chunks(block * columns)).with_max_len(1);
        tasks.for_each_init(Vec::new, |scratch, (y, x)| {
            weight.arch().dispatch(Rows {
                weight,
                panels: 0..weight.panels(),
                x,
                y,
                y_stride: out,
                scratch,
            });
        });
        return;
    }
    let of_panel = weight.panel_rows();
    let width = block_panels(weight.panels(), of_panel * columns) * of_panel;
    let strips = strips(y, out, width).into_par_iter().enumerate();
    strips.with_max_len(1).for_each(|(strip, y)| {
        let first = strip * width / weight.panel_rows();
        Block { first, y }.compute(x, weight);
    });
}

/// Rows of y `[n, out]`, `width` neighbours of each at a time.
pub(super) fn strips<V>(y: &mut [V], out: usize, width: usize) -> Vec<Vec<&mut [V]>> {
    let rows = y.len() / out;
    let mut strips: Vec<_> = (0..out.div_ceil(width))
        .map(|_| Vec::with_capacity(rows))
        .collect();
    for row in y.chunks_exact_mut(out) {
        for (strip, part) in strips.iter_mut().zip(row.chunks_mut(width)) {
            strip.push(part);
        }
    }
    strips
}

/// Enough blocks that a core which is late has little left to do, but none so small that handing it
/// over takes longer than computing it.
pub(super) fn block_panels(panels: usize, weights_of_panel: usize) -> usize {
    let blocks = rayon::current_num_threads() * BLOCKS_PER_THREAD;
    let least = BLOCK_WEIGHTS.div_ceil(weights_of_panel);
    panels.div_ceil(blocks).max(least)
}

/// Some neighbouring panels from `first` on, and for each row of x the place of their answers.
struct Block<'a, T> {
    first: usize,
    y: Vec<&'a mut [T]>,
}

impl<T: Real> Block<'_, T> {
    fn compute(mut self, x: &[T], weight: &PanelMatrix<T>) {
        let width = self.y.first().map_or(0, |part| part.len());
        let panels = self.first..self.first + width.div_ceil(weight.panel_rows());
        if self.y.len() <= FEW {
            let y = &mut self.y;
            weight.arch().dispatch(Few {
                weight,
                panels,
                x,
                y,
            });
            return;
        }
        let mut y = vec![T::zero(); self.y.len() * width];
        weight.arch().dispatch(Rows {
            weight,
            panels,
            x,
            y: &mut y,
            y_stride: width,
            scratch: &mut Vec::new(),
        });
        for (to, from) in self.y.iter_mut().zip(y.chunks_exact(width)) {
            to.copy_from_slice(from);
        }
    }
}

/// A single stream of weights, which are widened on their way from memory.
struct Few<'a, 'b, T> {
    weight: &'a PanelMatrix<T>,
    panels: Range<usize>,
    x: &'a [T],
    /// The first panel's answers come first.
    y: &'a mut [&'b mut [T]],
}

/// Closures are avoided from here on: they would be compiled without the vector instructions.
impl<T: Real> WithSimd for Few<'_, '_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(mut self, simd: S) {
        for index in self.panels.clone() {
            let next = match index + 1 < self.panels.end {
                true => self.weight.panel(index + 1).lines(),
                false => Lines::none(),
            };
            match self.weight.panel(index) {
                AnyPanel::Full(panel) => self.panel_of(simd, index, panel, next),
                AnyPanel::Half(panel) => self.panel_of(simd, index, panel, next),
                AnyPanel::Blocks(panel) => self.panel_of(simd, index, panel, next),
            }
        }
    }
}

impl<T: Real> Few<'_, '_, T> {
    #[inline(always)]
    fn panel_of<S: Simd, W: Weight<T>>(
        &mut self,
        simd: S,
        index: usize,
        panel: Panel<'_, W>,
        next: Lines<'_>,
    ) {
        let first = (index - self.panels.start) * self.weight.panel_rows();
        let columns = self.weight.columns();
        let (mut x, mut y) = (self.x, &mut *self.y);
        if y.len() > 1 && index == self.panels.start {
            touch(panel.values);
        }
        let parts = y.len().div_ceil(3);
        for part in 0.. {
            let next = next.part(part, parts);
            let rows = match y.len() {
                0 => break,
                // With four, a sum would be spilled.
                3 | 5.. => write::<T, S, W, 3>(simd, (panel, next), x, columns, y, first),
                2.. => write::<T, S, W, 2>(simd, (panel, next), x, columns, y, first),
                _ => write::<T, S, W, 1>(simd, (panel, next), x, columns, y, first),
            };
            (x, y) = (&x[rows * columns..], &mut y[rows..]);
        }
    }
}

/// Streams `R` rows; returns `R`.
#[inline(always)]
fn write<T: Real, S: Simd, W: Weight<T>, const R: usize>(
    simd: S,
    (panel, next): (Panel<'_, W>, Lines<'_>),
    x: &[T],
    columns: usize,
    y: &mut [&mut [T]],
    first: usize,
) -> usize {
    let mut rows = [[].as_slice(); R];
    for (r, row) in rows.iter_mut().enumerate() {
        *row = &x[r * columns..][..columns];
    }
    let sums = stream::<T, S, W, R>(simd, rows, panel, next);
    for (y, sums) in y.iter_mut().zip(&sums) {
        let width = (y.len() - first).min(PANEL_VECTORS * T::lanes::<S>());
        let mut room = [T::zero(); PANEL_NUMBERS];
        T::vectors_mut::<S>(&mut room).0[..PANEL_VECTORS].copy_from_slice(sums);
        y[first..first + width].copy_from_slice(&room[..width]);
    }
    R
}

/// Panels are widened a part at a time into the first-level cache, and multiplied with all rows.
struct Rows<'a, T> {
    weight: &'a PanelMatrix<T>,
    panels: Range<usize>,
    x: &'a [T],
    /// The first panel's answers come first.
    y: &'a mut [T],
    y_stride: usize,
    scratch: &'a mut Vec<T>,
}

impl<T: Real> WithSimd for Rows<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(mut self, simd: S) {
        for index in self.panels.clone() {
            let mut start = 0;
            while start < self.weight.columns() {
                let part = self.widened(simd, index, start);
                let next = self.next(index, start + part);
                self.multiply(simd, index, start..start + part, next);
                start += part;
            }
        }
    }
}

impl<'a, T: Real> Rows<'a, T> {
    /// A part of a panel from column `start` on, to scratch; returns how many columns.
    #[inline(always)]
    fn widened<S: Simd>(&mut self, simd: S, index: usize, start: usize) -> usize {
        let width = self.weight.panel_rows();
        let depth = self.depth(start);
        let out = part(self.scratch, depth * width);
        match self.weight.panel(index) {
            AnyPanel::Full(panel) => widen(simd, panel, start, out),
            AnyPanel::Half(panel) => widen(simd, panel, start, out),
            AnyPanel::Blocks(panel) => widen(simd, panel, start, out),
        }
        depth
    }

    /// How many columns are widened at once from `start` on.
    #[inline(always)]
    fn depth(&self, start: usize) -> usize {
        let depth = WIDENED_BYTES / (self.weight.panel_rows() * size_of::<T>());
        depth
            .next_multiple_of(BLOCK)
            .min(self.weight.columns() - start)
    }

    /// What is widened after everything before column `start` of a panel.
    #[inline(always)]
    fn next(&self, index: usize, start: usize) -> Lines<'a> {
        let width = self.weight.panel_rows();
        let (index, start) = match start < self.weight.columns() {
            true => (index, start),
            false => (index + 1, 0),
        };
        if index >= self.panels.end {
            return Lines::none();
        }
        let part = start * width..(start + self.depth(start)) * width;
        match self.weight.panel(index) {
            AnyPanel::Full(panel) => Lines::of(&panel.values[part]),
            AnyPanel::Half(panel) => Lines::of(&panel.values[part]),
            AnyPanel::Blocks(panel) => Lines::of(&panel.values[part]),
        }
    }

    #[inline(always)]
    fn multiply<S: Simd>(&mut self, simd: S, index: usize, inputs: Range<usize>, next: Lines<'a>) {
        let (columns, panel) = (self.weight.columns(), self.weight.panel_rows());
        let first = (index - self.panels.start) * panel;
        let depth = inputs.len();
        multiply(
            simd,
            Product {
                x: Strided {
                    values: &self.x[inputs.start..],
                    stride: columns,
                    rows: self.x.len() / columns,
                },
                panels: Panels {
                    values: part(self.scratch, depth * panel),
                    depth,
                    width: panel,
                },
                inputs: 0..depth,
                outputs: 0..panel.min(self.y_stride - first),
                bias: None,
                y: &mut self.y[first..],
                y_stride: self.y_stride,
                adds: false,
                continues: inputs.start > 0,
                next,
            },
        );
    }
}

/// Up to so many rows are streamed.
const FEW: usize = 4;
/// From so many for each core on, rows are shared out, at most [`MOST_ROWS`] at a time.
pub(super) const LEAST_ROWS: usize = 48;
pub(super) const MOST_ROWS: usize = 128;
/// A part of a widened panel, in the first-level cache beside some rows of x.
const WIDENED_BYTES: usize = 24 << 10;
const BLOCKS_PER_THREAD: usize = 4;
const BLOCK_WEIGHTS: usize = 128 << 10;

#[cfg(test)]
mod tests {
    use equicrypt_machine::TileUnit;
    use pulp::Arch;

    use super::*;
    use crate::kernel::{Numbers, Storage};

    const STORAGES: [Storage; 3] = [Storage::Exact, Storage::Half, Storage::Blocks];

    fn values(len: usize, seed: u64) -> Vec<f64> {
        (0..len as u64)
            .map(|i| ((i * 7919 + seed * 104_729) % 1009) as f64 / 1009.0 - 0.5)
            .collect()
    }

    fn singles(len: usize, seed: u64) -> Vec<f32> {
        values(len, seed).iter().map(|v| *v as f32).collect()
    }

    /// What a matrix holds, row by row.
    fn held<T: Real>(weight: &Matrix<T>) -> Vec<T> {
        let mut rows = Vec::new();
        (0..weight.rows()).for_each(|row| weight.append_row(row, &mut rows));
        rows
    }

    #[test]
    fn products_are_right_at_every_edge_of_the_panels() {
        for (rows, columns, out) in [
            (1, 1, 1),
            (1, 8, 5),
            (3, 17, 4),
            (4, 33, 7),
            (9, 64, 37),
            (5, 576, 130),
            (11, 608, 100),
            (210, 96, 50),
        ] {
            let (x, w) = (values(rows * columns, 1), values(out * columns, 2));
            for storage in STORAGES {
                let weight = Matrix::new(out, columns, Numbers::new(w.clone()), storage).unwrap();
                let mut y = vec![f64::NAN; rows * out];
                matmul(&x, &weight, &mut y).unwrap();
                let held = held(&weight);
                for (r, x) in x.chunks(columns).enumerate() {
                    for (o, w) in held.chunks(columns).enumerate() {
                        let expected: f64 = x.iter().zip(w).map(|(x, w)| x * w).sum();
                        let found = y[r * out + o];
                        assert!(
                            (expected - found).abs() < 1e-12,
                            "{storage:?} {rows} {columns} {out}: {r} {o}"
                        );
                    }
                }
            }
        }
    }

    #[test]
    fn a_row_gets_the_same_bits_in_any_company() {
        let (columns, out) = (352, 50);
        let w = singles(out * columns, 4);
        for storage in STORAGES {
            for unit in [None, TileUnit::get()] {
                let numbers = Numbers::new(w.clone());
                let weight = Matrix::new_for(unit, out, columns, numbers, storage).unwrap();
                for rows in [2, 3, 4, 7, 8, 9, 40, 131] {
                    let x = singles(rows * columns, 3);
                    let mut together = vec![0.0; rows * out];
                    matmul(&x, &weight, &mut together).unwrap();
                    for (x, together) in x.chunks(columns).zip(together.chunks(out)) {
                        let mut alone = vec![0.0; out];
                        matmul(x, &weight, &mut alone).unwrap();
                        assert_eq!(alone, together, "{storage:?}, {unit:?}, {rows} rows");
                    }
                }
            }
        }
    }

    #[test]
    fn tiles_lose_no_more_than_registers_do() {
        for (rows, columns, out) in [(1, 576, 130), (7, 1536, 65), (200, 40, 700)] {
            let (x, w) = (singles(rows * columns, 1), singles(out * columns, 2));
            let mut worst = [0.0f64; 2];
            for (unit, worst) in [None, TileUnit::get()].into_iter().zip(&mut worst) {
                let numbers = Numbers::new(w.clone());
                let weight = Matrix::new_for(unit, out, columns, numbers, Storage::Half).unwrap();
                let mut y = vec![f32::NAN; rows * out];
                matmul(&x, &weight, &mut y).unwrap();
                let held = held(&weight);
                for (x, y) in x.chunks(columns).zip(y.chunks(out)) {
                    for (w, y) in held.chunks(columns).zip(y) {
                        let products = x.iter().zip(w);
                        let exact: f64 = products.map(|(x, w)| f64::from(*x) * f64::from(*w)).sum();
                        *worst = worst.max((exact - f64::from(*y)).abs());
                    }
                }
            }
            let [registers, tiles] = worst;
            assert!(registers < 2e-4 && tiles <= 1.5 * registers, "{worst:?}");
        }
    }

    #[test]
    fn registers_count_a_number_the_same_however_it_is_kept() {
        let (rows, columns, out) = (3, 96, 50);
        let x = singles(rows * columns, 3);
        for storage in STORAGES {
            let numbers = Numbers::new(singles(out * columns, 4));
            let weight = Matrix::new_for(None, out, columns, numbers, storage).unwrap();
            let full = Numbers::Full(held(&weight));
            let full = Matrix::new(out, columns, full, Storage::Exact).unwrap();
            let [mut found, mut expected] = [(); 2].map(|()| vec![0.0; rows * out]);
            matmul(&x, &weight, &mut found).unwrap();
            matmul(&x, &full, &mut expected).unwrap();
            assert_eq!(found, expected, "{storage:?}");
        }
    }

    #[test]
    fn every_instruction_set_agrees() {
        let mut archs = vec![Arch::Scalar];
        #[cfg(target_arch = "x86_64")]
        archs.extend(pulp::x86::V3::try_new().map(Arch::V3));
        let (columns, out) = (64, 53);
        for storage in STORAGES {
            let new = |arch| {
                let numbers = Numbers::new(values(out * columns, 6));
                PanelMatrix::new(arch, out, columns, numbers, storage)
                    .map(Matrix::Panels)
                    .unwrap()
            };
            let best = new(Arch::new());
            for rows in (1..20).chain([150]) {
                let x = values(rows * columns, 5);
                let mut expected = vec![0.0; rows * out];
                matmul(&x, &best, &mut expected).unwrap();
                for arch in &archs {
                    let mut y = vec![0.0; rows * out];
                    matmul(&x, &new(*arch), &mut y).unwrap();
                    for (found, expected) in y.iter().zip(&expected) {
                        assert!((found - expected).abs() < 1e-12, "{arch:?}, {rows} rows");
                    }
                }
            }
        }
    }

    #[test]
    fn wrong_sizes_are_refused() {
        let new = |len| Matrix::new(2, 3, Numbers::new(vec![0.0; len]), Storage::Exact);
        let weight = new(6).unwrap();
        assert!(matmul(&[0.0; 4], &weight, &mut [0.0; 2]).is_err());
        assert!(matmul(&[0.0; 3], &weight, &mut [0.0; 3]).is_err());
        assert!(new(5).is_none());
    }
}
