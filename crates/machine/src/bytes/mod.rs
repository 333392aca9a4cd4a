//! Exact products of integers of 16 bits with numbers of 32 bits by a unit that knows bytes only: bytes of both are multiplied, and
//! what belongs to the same power of 256 is added.

mod drive;
#[cfg(target_arch = "x86_64")]
mod on_unit;
mod rows;
mod slowly;
#[cfg(test)]
mod tests;

pub use rows::Rows;

use crate::TileUnit;
use drive::drive;
#[cfg(target_arch = "x86_64")]
use on_unit::Configured;
use slowly::Slowly;

/// Sixteen rows of a matrix, sixty-four neighbours of each; or, as a tile of weights, the weights from sixty-four inputs to sixteen
/// outputs, row k holding those of four inputs from 4 k on in turn.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
pub struct Tile(pub [[u8; DEPTH]; ROWS]);

impl Tile {
    /// Zeros.
    pub const ZERO: Self = Self([[0; DEPTH]; ROWS]);

    /// Where the weight from an input to an output is.
    #[inline(always)]
    #[must_use]
    pub fn place(input: usize, output: usize) -> (usize, usize) {
        (input / 4, output * 4 + input % 4)
    }
}

/// A weight is 256 times the second, a signed byte, and the first, an unsigned one.
#[inline(always)]
#[must_use]
pub fn parts(weight: i16) -> [u8; 2] {
    weight.to_le_bytes()
}

/// Weights from all inputs to some outputs.
#[derive(Clone, Copy)]
pub struct Weights<'a> {
    /// `[panels, depth, PANEL, 2]`.
    pub tiles: &'a [Tile],
    /// How many outputs count.
    pub outputs: usize,
}

/// y = x W^T, exactly, with rows of y `stride` apart.
///
/// # Panics
/// If a slice is shorter than the sizes say.
#[inline(always)]
pub fn multiply(unit: TileUnit, x: &Rows, weights: Weights<'_>, y: &mut [i64], stride: usize) {
    #[cfg(target_arch = "x86_64")]
    drive(x, weights, y, stride, |rows| Configured::new(unit, rows));
    #[cfg(not(target_arch = "x86_64"))]
    {
        // Nobody has one there.
        let _ = unit;
        multiply_slowly(x, weights, y, stride);
    }
}

/// The same, by safe code on any processor, some hundred times as slowly.
///
/// # Panics
/// If a slice is shorter than the sizes say.
pub fn multiply_slowly(x: &Rows, weights: Weights<'_>, y: &mut [i64], stride: usize) {
    drive(x, weights, y, stride, |_| Slowly);
}

/// Rows of a tile of x, and outputs of a tile of weights.
pub const ROWS: usize = 16;
/// Inputs of a tile.
pub const DEPTH: usize = 64;
/// Tiles of neighbouring outputs that stand beside each other.
pub const PANEL: usize = 2;
/// Inputs at most: so many products of 2^15 and 2^32 stay within 64 bits.
pub const MOST_INPUTS: usize = 1 << 16;
/// Bytes of a number of x.
const BYTES: usize = 4;
/// So many rows have room in one tile with all their bytes.
const STACKED: usize = ROWS / BYTES;
/// Inputs, in tiles, whose products are added in 32 bits: two of 255 255 for each, 2^14 255^2 2 < 2^31.
const MOST_DEPTH: usize = (1 << 14) / DEPTH;
