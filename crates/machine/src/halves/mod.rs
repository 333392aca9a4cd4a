//! Products of numbers of 32 bits by a unit that knows bfloat16 only, without losing a bit of them: a number of 24
//! significant bits is the sum of three of eight, so its product with a bfloat16 is the sum of three products, each exact in f32.

mod drive;
#[cfg(target_arch = "x86_64")]
mod on_unit;
mod slowly;
#[cfg(test)]
mod tests;

use crate::TileUnit;
use crate::tile;
pub use crate::tile::ROWS;
use drive::drive;
#[cfg(target_arch = "x86_64")]
use on_unit::Configured;
use slowly::Slowly;

/// A tile of the bits of bfloat16s.
pub type Tile = tile::Tile<u16, DEPTH>;

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

/// The bits of the nearest bfloat16, ties to even: so parts are as small as they can be.
#[inline(always)]
fn nearest(value: f32) -> u32 {
    let bits = value.to_bits();
    bits.wrapping_add(0x7fff + (bits >> 16 & 1)) & 0xffff_0000
}

/// Rows of x, in parts.
pub type Rows = tile::Rows<u16, DEPTH, PARTS>;

impl Rows {
    /// Takes rows of so many inputs in place of what was there.
    ///
    /// # Panics
    /// If there are no inputs.
    #[inline(always)]
    pub fn set(&mut self, x: &[f32], inputs: usize) {
        self.take(x, inputs, parts);
    }
}

/// Weights from all inputs to some outputs.
#[derive(Clone, Copy)]
pub struct Weights<'a> {
    /// `[panels, depth, PANEL]`.
    pub tiles: &'a [Tile],
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

/// Inputs of a tile.
pub const DEPTH: usize = 32;
/// bfloat16s in a number of 32 bits.
pub const PARTS: usize = 3;
/// Tiles of neighbouring outputs that stand beside each other.
pub const PANEL: usize = 4;
