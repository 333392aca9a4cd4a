//! Products of numbers of 32 bits by a unit that knows bfloat16 only, without losing a bit of them: a number of 24
//! significant bits is the sum of three of eight, so x w is the sum of a few products of such parts, each exact in f32.

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

/// The bits of bfloat16s: sixteen rows of a matrix, thirty-two neighbours of each; or, as a tile of weights, the weights from
/// thirty-two inputs to sixteen outputs, row k holding those of inputs 2 k and 2 k + 1 in turn.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
pub struct Tile(pub [[u16; DEPTH]; ROWS]);

impl Tile {
    /// Zeros.
    pub const ZERO: Self = Self([[0; DEPTH]; ROWS]);

    /// Where the weight from an input to an output is.
    #[inline(always)]
    #[must_use]
    pub fn place(input: usize, output: usize) -> (usize, usize) {
        (input / 2, output * 2 + input % 2)
    }
}

/// What a number of 32 bits is the sum of, the largest first: the bits of three bfloat16s. Exact for every number between 2^-102
/// and 2^127; the unit takes parts below 2^-126 for zero. What is no number, or infinite, or rounds to that, is not finite in one of them.
#[inline(always)]
#[must_use]
pub fn parts(value: f32) -> [u16; PARTS] {
    let first = nearest(value);
    let rest = value - f32::from_bits(first);
    let second = nearest(rest);
    let third = rest - f32::from_bits(second);
    [first, second, third.to_bits()].map(|bits| (bits >> 16) as u16)
}

/// The bits of the nearest bfloat16, ties to even: parts that were cut off would all have the number's sign, and so would the
/// products that are left out.
#[inline(always)]
fn nearest(value: f32) -> u32 {
    let bits = value.to_bits();
    bits.wrapping_add(0x7fff + (bits >> 16 & 1)) & 0xffff_0000
}

/// Weights from all inputs to some outputs.
#[derive(Clone, Copy)]
pub struct Weights<'a> {
    /// `[panels, depth, PANEL, parts]`.
    pub tiles: &'a [Tile],
    /// One, for weights that are bfloat16s, or [`PARTS`].
    pub parts: usize,
    /// How many outputs count.
    pub outputs: usize,
}

/// y = x W^T, with rows of y `stride` apart. Each answer depends on its own row and output alone, bit for bit.
///
/// # Panics
/// If a slice is shorter than the sizes say.
#[inline(always)]
pub fn multiply(unit: TileUnit, x: &Rows, weights: Weights<'_>, y: &mut [f32], stride: usize) {
    #[cfg(target_arch = "x86_64")]
    drive(x, weights, y, stride, |rows| Configured::new(unit, rows));
    #[cfg(not(target_arch = "x86_64"))]
    {
        // Nobody has one there.
        let _ = unit;
        multiply_slowly(x, weights, y, stride);
    }
}

/// The same bits, by safe code on any processor, some hundred times as slowly.
///
/// # Panics
/// If a slice is shorter than the sizes say.
pub fn multiply_slowly(x: &Rows, weights: Weights<'_>, y: &mut [f32], stride: usize) {
    drive(x, weights, y, stride, |_| Slowly);
}

/// Rows of a tile of x, and outputs of a tile of weights.
pub const ROWS: usize = 16;
/// Inputs of a tile.
pub const DEPTH: usize = 32;
/// bfloat16s in a number of 32 bits.
pub const PARTS: usize = 3;
/// Tiles of neighbouring outputs that stand beside each other.
pub const PANEL: usize = 4;
/// So many rows have room in one tile with all their parts.
const STACKED: usize = ROWS / PARTS;
