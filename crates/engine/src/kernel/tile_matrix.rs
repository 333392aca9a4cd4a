use std::ops::Range;

use equicrypt_machine::TileUnit;
use equicrypt_machine::halves::{DEPTH, PANEL, ROWS, Rows, Tile, Weights, multiply};
use pulp::{Arch, Simd, WithSimd};
use rayon::prelude::*;

use super::matmul::{LEAST_ROWS, MOST_ROWS, block_panels, strips};

/// A weight matrix `[rows, columns]` of bfloat16s, in tiles for a unit that multiplies them with numbers of 32 bits; see
/// [`equicrypt_machine::halves`]. Panels of neighbouring rows stand one after the other.
pub(crate) struct TileMatrix {
    unit: TileUnit,
    rows: usize,
    columns: usize,
    /// `[panels, depth, PANEL]`.
    tiles: Vec<Tile>,
}

impl TileMatrix {
    /// Of the bits of bfloat16s, row by row. None if the sizes do not match.
    pub(super) fn of_halves(
        unit: TileUnit,
        rows: usize,
        columns: usize,
        values: &[u16],
    ) -> Option<Self> {
        if columns == 0 || rows.checked_mul(columns) != Some(values.len()) {
            return None;
        }
        let of_panel = columns.div_ceil(DEPTH) * PANEL;
        let mut tiles = vec![Tile::zeros(); rows.div_ceil(PANEL_ROWS) * of_panel];
        let panels = tiles.par_chunks_mut(of_panel);
        panels
            .zip(values.par_chunks(PANEL_ROWS * columns))
            .for_each(|(tiles, values)| {
                for (row, values) in values.chunks_exact(columns).enumerate() {
                    for (input, value) in values.iter().enumerate() {
                        let (down, right) = Tile::place(input % DEPTH, row % ROWS);
                        tiles[input / DEPTH * PANEL + row / ROWS].0[down][right] = *value;
                    }
                }
            });
        Some(Self {
            unit,
            rows,
            columns,
            tiles,
        })
    }

    pub(super) fn rows(&self) -> usize {
        self.rows
    }

    pub(super) fn columns(&self) -> usize {
        self.columns
    }

    /// Visits the numbers of one row, each with its place in `out`.
    pub(super) fn each_of_row<V>(&self, row: usize, out: &mut [V], visit: impl Fn(&mut V, f32)) {
        let (panel, row) = (row / PANEL_ROWS, row % PANEL_ROWS);
        for (input, out) in out.iter_mut().enumerate() {
            let tile = (panel * self.depth() + input / DEPTH) * PANEL + row / ROWS;
            let (down, right) = Tile::place(input % DEPTH, row % ROWS);
            let bits = self.tiles[tile].0[down][right];
            visit(out, f32::from_bits(u32::from(bits) << 16));
        }
    }

    /// y = x W^T, with x `[n, columns]` and y `[n, rows]`, whose sizes match.
    ///
    /// Many rows are shared out among the cores; few pass by the weights once, all cores at different weights.
    pub(super) fn multiply(&self, x: &[f32], y: &mut [f32]) {
        let threads = rayon::current_num_threads();
        let rows = x.len() / self.columns;
        if rows >= LEAST_ROWS * threads {
            // Their parts are to stay in the second-level cache.
            let block = rows.div_ceil(threads).next_multiple_of(2 * ROWS);
            let block = block.min(MOST_ROWS);
            let y = y.par_chunks_mut(block * self.rows);
            let tasks = y.zip(x.par_chunks(block * self.columns)).with_max_len(1);
            tasks.for_each_init(Rows::default, |rows, (y, x)| {
                Arch::new().dispatch(Split(x, self.columns, rows));
                self.panels(rows, 0..self.rows, y, self.rows);
            });
            return;
        }
        let mut parts = Rows::default();
        Arch::new().dispatch(Split(x, self.columns, &mut parts));
        let panels = self.rows.div_ceil(PANEL_ROWS);
        let width = block_panels(panels, self.columns * PANEL_ROWS) * PANEL_ROWS;
        let strips = strips(y, self.rows, width).into_par_iter().enumerate();
        let strips = strips.with_max_len(1);
        strips.for_each_init(Vec::new, |scratch, (index, mut y)| {
            let first = index * width;
            let outputs = first..(first + width).min(self.rows);
            if let [y] = y.as_mut_slice() {
                self.panels(&parts, outputs, y, 0);
                return;
            }
            scratch.resize(rows * width, 0.0);
            self.panels(&parts, outputs, scratch, width);
            for (to, from) in y.iter_mut().zip(scratch.chunks_exact(width)) {
                to.copy_from_slice(&from[..to.len()]);
            }
        });
    }

    /// The outputs of whole panels.
    fn panels(&self, x: &Rows, outputs: Range<usize>, y: &mut [f32], stride: usize) {
        let of_panel = self.depth() * PANEL;
        let weights = Weights {
            tiles: &self.tiles[outputs.start / PANEL_ROWS * of_panel..],
            outputs: outputs.len(),
        };
        Arch::new().dispatch(Multiply {
            unit: self.unit,
            x,
            weights,
            y,
            stride,
        });
    }

    fn depth(&self) -> usize {
        self.columns.div_ceil(DEPTH)
    }
}

/// Takes rows of so many numbers apart.
struct Split<'a>(&'a [f32], usize, &'a mut Rows);

impl WithSimd for Split<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        self.2.set(self.0, self.1);
    }
}

struct Multiply<'a> {
    unit: TileUnit,
    x: &'a Rows,
    weights: Weights<'a>,
    y: &'a mut [f32],
    stride: usize,
}

impl WithSimd for Multiply<'_> {
    type Output = ();

    /// What is outside of the unit, with vector instructions.
    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        multiply(self.unit, self.x, self.weights, self.y, self.stride);
    }
}

const PANEL_ROWS: usize = PANEL * ROWS;
