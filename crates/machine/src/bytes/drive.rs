use super::{BYTES, MOST_DEPTH, PANEL, ROWS, Rows, Tile, Weights};

/// y = x W^T, with rows of y `stride` apart. `make` makes who multiplies, for tiles of x, and sums, with so many rows.
#[inline(always)]
pub(super) fn drive<M: Multiplier>(
    x: &Rows,
    weights: Weights<'_>,
    y: &mut [i64],
    stride: usize,
    make: impl FnOnce(usize) -> M,
) {
    if x.count == 0 || weights.outputs == 0 {
        return;
    }
    let multiplier = make(match x.stacked() {
        true => x.count * BYTES,
        false => x.count.min(ROWS),
    });
    let mut sums = Sums([[[0; ROWS]; ROWS]; POWERS]);
    let of_panel = x.depth * PANEL * 2;
    for (panel, first) in (0..weights.outputs).step_by(PANEL * ROWS).enumerate() {
        let tiles = &weights.tiles[panel * of_panel..][..of_panel];
        let mut out = Out {
            y,
            stride,
            rows: x.count,
            outputs: weights.outputs,
        };
        for begin in (0..x.depth).step_by(MOST_DEPTH) {
            let depth = (x.depth - begin).min(MOST_DEPTH);
            let tiles = &tiles[begin * PANEL * 2..];
            if x.stacked() {
                multiplier.stacked(depth, &x.tiles[begin..], tiles, &mut sums);
                for tile in 0..PANEL {
                    let [low, high] = [sums.0[2 * tile], sums.0[2 * tile + 1]];
                    for row in 0..x.count {
                        let mut total = [0; ROWS];
                        for byte in (0..BYTES).rev() {
                            let (low, high) = (&low[row * BYTES + byte], &high[row * BYTES + byte]);
                            for ((total, low), high) in total.iter_mut().zip(low).zip(high) {
                                *total = (*total << 8) + (i64::from(*high) << 8) + i64::from(*low);
                            }
                        }
                        out.write(row, first + tile * ROWS, &total, begin > 0);
                    }
                }
                continue;
            }
            for tile in 0..PANEL {
                let weights = &tiles[tile * 2..];
                for first_row in (0..x.count).step_by(ROWS) {
                    let of_rows = (first_row / ROWS * x.depth + begin) * BYTES;
                    multiplier.full(depth, &x.tiles[of_rows..], weights, &mut sums);
                    for row in first_row..(first_row + ROWS).min(x.count) {
                        let mut total = [0; ROWS];
                        for power in (0..POWERS).rev() {
                            let sums = &sums.0[power][row - first_row];
                            for (total, sum) in total.iter_mut().zip(sums) {
                                *total = (*total << 8) + i64::from(*sum);
                            }
                        }
                        out.write(row, first + tile * ROWS, &total, begin > 0);
                    }
                }
            }
        }
    }
}

/// Where answers go.
struct Out<'a> {
    y: &'a mut [i64],
    stride: usize,
    rows: usize,
    outputs: usize,
}

impl Out<'_> {
    /// Those of a row of a tile, as far as they count.
    #[inline(always)]
    fn write(&mut self, row: usize, output: usize, total: &[i64; ROWS], adds: bool) {
        let width = self.outputs.saturating_sub(output).min(ROWS);
        if width == 0 || row >= self.rows {
            return;
        }
        let y = &mut self.y[row * self.stride + output..][..width];
        for (y, total) in y.iter_mut().zip(total) {
            *y = if adds { *y + *total } else { *total };
        }
    }
}

/// Sums of products of bytes.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
pub(super) struct Sums(pub(super) [[[i32; ROWS]; ROWS]; POWERS]);

/// Who multiplies tiles.
pub(super) trait Multiplier {
    /// sums `[powers of 256]`, of x `[depth, BYTES]` and the weights `[depth, PANEL, 2]` to the first tile of outputs.
    fn full(&self, depth: usize, x: &[Tile], w: &[Tile], sums: &mut Sums);
    /// sums `[PANEL, 2]`, of x `[depth]` and the weights `[depth, PANEL, 2]`.
    fn stacked(&self, depth: usize, x: &[Tile], w: &[Tile], sums: &mut Sums);
}

/// Powers of 256 in the product of a number of four bytes with one of two.
pub(super) const POWERS: usize = 5;
