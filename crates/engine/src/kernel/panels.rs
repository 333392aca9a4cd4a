use std::ops::Range;

use equicrypt_machine::Lines;
use pulp::Simd;

use super::Real;

/// A matrix `[depth, width]` cut into panels of neighbouring columns, which stand one after the other, each row by row. A
/// panel is [`PANEL_VECTORS`] registers wide, the last one as many as it needs; what fills it up is arbitrary.
///
/// As the weights of a linear layer that is W^T: what leads from one input to a panel of outputs is read as it lies.
#[derive(Clone, Copy)]
pub(super) struct Panels<'a, T> {
    pub(super) values: &'a [T],
    pub(super) depth: usize,
    pub(super) width: usize,
}

/// Rows of `[.., stride]`, from the start of each.
#[derive(Clone, Copy)]
pub(super) struct Strided<'a, T> {
    pub(super) values: &'a [T],
    pub(super) stride: usize,
    pub(super) rows: usize,
}

/// y = x M + b for some rows and columns of M.
pub(super) struct Product<'a, T> {
    /// As long as `inputs`.
    pub(super) x: Strided<'a, T>,
    pub(super) panels: Panels<'a, T>,
    /// Rows of M.
    pub(super) inputs: Range<usize>,
    /// Columns of M, from the start of a panel on.
    pub(super) outputs: Range<usize>,
    /// For all columns of M, in whole registers.
    pub(super) bias: Option<&'a [T]>,
    /// Column `outputs.start` is the first.
    pub(super) y: &'a mut [T],
    pub(super) y_stride: usize,
    /// Whether y is added to.
    pub(super) adds: bool,
    /// Whether the sums go on from what y holds: from the products with the inputs before these.
    pub(super) continues: bool,
    /// What is fetched meanwhile, for what comes after.
    pub(super) next: Lines<'a>,
}

/// Each sum is one chain of fused multiplications and additions in the order of the inputs, however many rows and columns
/// are computed together.
///
/// Closures are avoided from here on: they would be compiled without the vector instructions.
#[inline(always)]
pub(super) fn multiply<T: Real, S: Simd>(simd: S, mut product: Product<'_, T>) {
    let lanes = T::lanes::<S>();
    let panel = PANEL_VECTORS * lanes;
    let mut first = product.outputs.start;
    while first < product.outputs.end {
        let stored = (product.panels.width - first).min(panel).div_ceil(lanes);
        let product = &mut product;
        match stored {
            1 => columns::<T, S, 1>(simd, product, first),
            2 => columns::<T, S, 2>(simd, product, first),
            _ => columns::<T, S, PANEL_VECTORS>(simd, product, first),
        }
        first += panel;
    }
}

/// The panel that begins at `first` and is `C` registers wide.
#[inline(always)]
fn columns<T: Real, S: Simd, const C: usize>(simd: S, product: &mut Product<'_, T>, first: usize) {
    let mut row = 0;
    while row < product.x.rows {
        let left = product.x.rows - row;
        // 24 sums, 3 weights and a number of x need 32 registers; of 16, compilers spill a sum if none is left over.
        row += if left >= 8 && has_32_registers::<T, S>() {
            either::<T, S, 8, C>(simd, product, first, row)
        } else if left >= 3 && left != 4 {
            either::<T, S, 3, C>(simd, product, first, row)
        } else if left >= 2 {
            either::<T, S, 2, C>(simd, product, first, row)
        } else {
            either::<T, S, 1, C>(simd, product, first, row)
        };
    }
}

/// AVX-512 and NEON.
#[inline(always)]
fn has_32_registers<T: Real, S: Simd>() -> bool {
    size_of::<T::Vector<S>>() == 64 || cfg!(target_arch = "aarch64")
}

/// With many rows there is nothing to wait for, and a prefetch in the innermost loop costs a fifth of the speed.
#[inline(always)]
fn either<T: Real, S: Simd, const R: usize, const C: usize>(
    simd: S,
    product: &mut Product<'_, T>,
    first: usize,
    row: usize,
) -> usize {
    // Compilers leave what they do not unroll, and all sums with it, in memory.
    match (product.x.rows <= FETCHED, R < 8) {
        (true, true) => tile::<T, S, R, C, UNROLLED, true>(simd, product, first, row),
        (false, true) => tile::<T, S, R, C, UNROLLED, false>(simd, product, first, row),
        (true, false) => tile::<T, S, R, C, 1, true>(simd, product, first, row),
        (false, false) => tile::<T, S, R, C, 1, false>(simd, product, first, row),
    }
}

/// `R` rows and `C` registers of columns, `U` inputs between two jumps; returns `R`.
#[inline(always)]
fn tile<T: Real, S: Simd, const R: usize, const C: usize, const U: usize, const F: bool>(
    simd: S,
    product: &mut Product<'_, T>,
    first: usize,
    row: usize,
) -> usize {
    let (lanes, inputs) = (T::lanes::<S>(), product.inputs.clone());
    let depth = inputs.len();
    let begin = first * product.panels.depth + inputs.start * C * lanes;
    let panel = &product.panels.values[begin..][..depth * C * lanes];
    let (panel, _) = T::vectors::<S>(panel).0.as_chunks::<C>();
    let panel = &panel[..depth];
    let mut x = [[].as_slice(); R];
    for (r, x) in x.iter_mut().enumerate() {
        *x = &product.x.values[(row + r) * product.x.stride..][..depth];
    }

    let mut sums = [[T::splat(simd, T::zero()); C]; R];
    if let Some(bias) = product.bias {
        let bias = T::vectors::<S>(&bias[first..][..C * lanes]).0;
        for sums in &mut sums {
            sums.copy_from_slice(&bias[..C]);
        }
    }
    let width = (product.outputs.end - first).min(C * lanes);
    let column = first - product.outputs.start;
    if product.continues {
        for (r, sums) in sums.iter_mut().enumerate() {
            let y = &product.y[(row + r) * product.y_stride + column..][..width];
            let mut room = [T::zero(); PANEL_NUMBERS];
            let room = &mut room[..C * lanes];
            room[..width].copy_from_slice(y);
            sums.copy_from_slice(&T::vectors::<S>(room).0[..C]);
        }
    }
    let (panel, panel_rest) = panel.as_chunks::<U>();
    let tiles = product.x.rows.div_ceil(R);
    let next = product.next.part(row / R, tiles);
    let step = next.in_each_of(panel.len());
    let mut x_rests = [[].as_slice(); R];
    let mut x_chunks = [[].as_slice(); R];
    for r in 0..R {
        (x_chunks[r], x_rests[r]) = x[r].as_chunks::<U>();
        x_chunks[r] = &x_chunks[r][..panel.len()];
    }
    for (k, panel) in panel.iter().enumerate() {
        if F {
            for line in 0..step {
                next.fetch(k * step + line);
            }
        }
        for u in 0..U {
            for r in 0..R {
                let x = T::splat(simd, x_chunks[r][k][u]);
                for c in 0..C {
                    sums[r][c] = T::mul_add_vectors(simd, x, panel[u][c], sums[r][c]);
                }
            }
        }
    }
    for (k, panel) in panel_rest.iter().enumerate() {
        for r in 0..R {
            let x = T::splat(simd, x_rests[r][k]);
            for c in 0..C {
                sums[r][c] = T::mul_add_vectors(simd, x, panel[c], sums[r][c]);
            }
        }
    }

    for (r, sums) in sums.iter().enumerate() {
        let y = &mut product.y[(row + r) * product.y_stride + column..][..width];
        if width == C * lanes {
            for (y, sum) in T::vectors_mut::<S>(y).0.iter_mut().zip(sums) {
                *y = if product.adds {
                    T::add_vectors(simd, *y, *sum)
                } else {
                    *sum
                };
            }
            continue;
        }
        let mut room = [T::zero(); PANEL_NUMBERS];
        let room = &mut room[..C * lanes];
        T::vectors_mut::<S>(room).0.copy_from_slice(sums);
        for (y, sum) in y.iter_mut().zip(room) {
            *y = if product.adds { *y + *sum } else { *sum };
        }
    }
    R
}

/// Up to so many rows, what comes next is fetched meanwhile.
const FETCHED: usize = 24;
/// Inputs between two jumps, where there are few sums.
const UNROLLED: usize = 4;
/// Registers in a row of a panel.
pub(super) const PANEL_VECTORS: usize = 3;
/// Numbers in a row of a panel at most.
pub(super) const PANEL_NUMBERS: usize = PANEL_VECTORS * 16;
