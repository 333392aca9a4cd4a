use super::{PANEL, PARTS, ROWS, Rows, Tile, Weights};

/// y = x W^T, with rows of y `stride` apart. `make` makes who multiplies, for tiles of x, and sums, with so many rows.
#[inline(always)]
pub(super) fn drive<M: Multiplier>(
    x: &Rows,
    weights: Weights<'_>,
    y: &mut [f32],
    stride: usize,
    make: impl FnOnce(usize) -> M,
) {
    let depth = x.depth;
    if x.count == 0 || weights.outputs == 0 {
        return;
    }
    let multiplier = make(match x.stacked() {
        true => x.count * PARTS,
        false => x.count.min(ROWS),
    });
    let mut sums = Sums([[[0.0; ROWS]; ROWS]; PANEL]);
    let mut totals = sums;
    let of_panel = depth * PANEL;
    for (panel, first) in (0..weights.outputs).step_by(PANEL * ROWS).enumerate() {
        let tiles = &weights.tiles[panel * of_panel..][..of_panel];
        let chain = |output: usize| Chain::new(&tiles[output..], PANEL);
        let mut out = Out {
            y,
            stride,
            rows: x.count,
            outputs: weights.outputs,
        };
        if x.stacked() {
            let weights = [0, 1, 2, 3].map(chain);
            multiplier.one_by_four(depth, Chain::new(&x.tiles, 1), weights, &mut sums);
            for (turn, part) in SMALLEST_FIRST.into_iter().enumerate() {
                add_stacked(&sums, &mut totals, turn == 0, part, x.count);
            }
            (0..PANEL).for_each(|tile| out.write(0, first + tile * ROWS, &totals.0[tile]));
            continue;
        }
        let of_tile =
            |tile: usize, part| Chain::new(&x.tiles[tile * depth * PARTS + part..], PARTS);
        let count = x.count.div_ceil(ROWS);
        for half in 0..2 {
            for tile in (0..count - count % 2).step_by(2) {
                for (turn, part) in SMALLEST_FIRST.into_iter().enumerate() {
                    let x = [tile, tile + 1].map(|tile| of_tile(tile, part));
                    let weights = [2 * half, 2 * half + 1].map(chain);
                    multiplier.two_by_two(depth, x, weights, &mut sums);
                    add(&sums, &mut totals, turn == 0);
                }
                for (index, totals) in totals.0.iter().enumerate() {
                    let output = first + (2 * half + index % 2) * ROWS;
                    out.write((tile + index / 2) * ROWS, output, totals);
                }
            }
        }
        if count % 2 == 1 {
            for (turn, part) in SMALLEST_FIRST.into_iter().enumerate() {
                let weights = [0, 1, 2, 3].map(chain);
                multiplier.one_by_four(depth, of_tile(count - 1, part), weights, &mut sums);
                add(&sums, &mut totals, turn == 0);
            }
            for (tile, totals) in totals.0.iter().enumerate() {
                out.write((count - 1) * ROWS, first + tile * ROWS, totals);
            }
        }
    }
}

/// In what order sums of the parts of x are added up.
const SMALLEST_FIRST: [usize; PARTS] = [2, 1, 0];

#[inline(always)]
fn add(sums: &Sums, totals: &mut Sums, first: bool) {
    let sums = sums.0.as_flattened().as_flattened();
    for (total, sum) in totals
        .0
        .as_flattened_mut()
        .as_flattened_mut()
        .iter_mut()
        .zip(sums)
    {
        *total = if first { *sum } else { *sum + *total };
    }
}

/// The same for one part of so many rows that stand below one another.
#[inline(always)]
fn add_stacked(sums: &Sums, totals: &mut Sums, first: bool, part: usize, count: usize) {
    for (sums, totals) in sums.0.iter().zip(&mut totals.0) {
        let sums = sums.iter().skip(part).step_by(PARTS).take(count);
        for (sums, totals) in sums.zip(totals) {
            for (sum, total) in sums.iter().zip(totals) {
                *total = if first { *sum } else { *sum + *total };
            }
        }
    }
}

/// Where answers go.
struct Out<'a> {
    y: &'a mut [f32],
    stride: usize,
    rows: usize,
    outputs: usize,
}

impl Out<'_> {
    /// Those of a tile, as far as they count.
    #[inline(always)]
    fn write(&mut self, row: usize, output: usize, totals: &[[f32; ROWS]; ROWS]) {
        let width = self.outputs.saturating_sub(output).min(ROWS);
        if width == 0 {
            return;
        }
        for (row, totals) in (row..self.rows).zip(totals) {
            let y = &mut self.y[row * self.stride + output..][..width];
            match <&mut [f32; ROWS]>::try_from(&mut *y) {
                Ok(y) => *y = *totals,
                Err(_) => y.copy_from_slice(&totals[..width]),
            }
        }
    }
}

/// Tiles that are used one after the other, one for each step through the depth.
#[derive(Clone, Copy)]
pub(super) struct Chain<'a> {
    pub(super) tiles: &'a [Tile],
    /// From one to the next.
    pub(super) step: usize,
}

impl<'a> Chain<'a> {
    fn new(tiles: &'a [Tile], step: usize) -> Self {
        Self { tiles, step }
    }

    pub(super) fn is_as_long_as(&self, depth: usize) -> bool {
        depth > 0 && self.tiles.len() > (depth - 1) * self.step
    }
}

/// Four tiles of sums.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
pub(super) struct Sums(pub(super) [[[f32; ROWS]; ROWS]; PANEL]);

/// Who multiplies tiles.
pub(super) trait Multiplier {
    /// sums `[2 x, 2 w]` = the products along the depth. The weights' steps are as large.
    fn two_by_two(&self, depth: usize, x: [Chain<'_>; 2], w: [Chain<'_>; 2], sums: &mut Sums);
    /// sums `[4 w]` = the products along the depth. The weights' steps are as large.
    fn one_by_four(&self, depth: usize, x: Chain<'_>, w: [Chain<'_>; 4], sums: &mut Sums);
}
