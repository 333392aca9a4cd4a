//! Exact products of integers of 16 bits with numbers of 32 bits by a unit that knows bytes only: bytes of both are multiplied, and
//! what belongs to the same power of 256 is added.

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

/// A tile of bytes.
pub type Tile = tile::Tile<u8, DEPTH>;

/// A weight is 256 times the second, a signed byte, and the first, an unsigned one.
#[inline(always)]
#[must_use]
pub fn parts(weight: i16) -> [u8; 2] {
    weight.to_le_bytes()
}

/// Rows of x, in bytes.
pub type Rows = tile::Rows<u8, DEPTH, BYTES>;

impl Rows {
    /// Takes rows of so many inputs in place of what was there.
    ///
    /// # Panics
    /// If there are no inputs, or more than [`MOST_INPUTS`].
    #[inline(always)]
    pub fn set(&mut self, x: &[u32], inputs: usize) {
        assert!(inputs <= MOST_INPUTS, "{inputs} inputs");
        self.take(x, inputs, u32::to_le_bytes);
    }
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

/// Inputs of a tile.
pub const DEPTH: usize = 64;
/// Tiles of neighbouring outputs that stand beside each other.
pub const PANEL: usize = 2;
/// Inputs at most: so many products of 2^15 and 2^32 stay within 64 bits.
pub const MOST_INPUTS: usize = 1 << 16;
/// Bytes of a number of x.
const BYTES: usize = 4;
/// Inputs, in tiles, whose products are added in 32 bits: two of 255 255 for each, 2^14 255^2 2 < 2^31.
const MOST_DEPTH: usize = (1 << 14) / DEPTH;
