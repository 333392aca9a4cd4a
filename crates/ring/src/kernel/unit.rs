//! The same by a unit that multiplies tiles of bytes: sums are exact in 64 bits, and reduced once.

use equicrypt_machine::TileUnit;
use equicrypt_machine::bytes::{
    DEPTH, MOST_INPUTS, PANEL, ROWS, Rows, Tile, Weights, multiply, parts,
};
use pulp::{Arch, Simd, WithSimd};
use rayon::prelude::*;

use super::Block;
use crate::{IntegerWeights, Modulus, PRIMES};

/// Weights in tiles of bytes.
pub(super) struct TileWeights {
    unit: TileUnit,
    inputs: usize,
    outputs: usize,
    /// `[panels, depth, PANEL, 2]`.
    tiles: Vec<Tile>,
}

impl TileWeights {
    /// None if the sums could be too large.
    pub(super) fn new(unit: TileUnit, weights: &IntegerWeights) -> Option<Self> {
        let (inputs, outputs) = (weights.inputs(), weights.outputs());
        if inputs > MOST_INPUTS {
            return None;
        }
        let of_panel = inputs.div_ceil(DEPTH) * PANEL * 2;
        let mut tiles = vec![Tile::zeros(); outputs.div_ceil(WIDTH) * of_panel];
        let panels = tiles.par_chunks_mut(of_panel).enumerate();
        panels.for_each(|(panel, tiles)| {
            for output in panel * WIDTH..outputs.min((panel + 1) * WIDTH) {
                for (input, weight) in weights.row(output).iter().enumerate() {
                    let tile = (input / DEPTH * PANEL + output % WIDTH / ROWS) * 2;
                    let (down, right) = Tile::place(input % DEPTH, output % ROWS);
                    for (part, byte) in parts(*weight).into_iter().enumerate() {
                        tiles[tile + part].0[down][right] = byte;
                    }
                }
            }
        });
        Some(Self {
            unit,
            inputs,
            outputs,
            tiles,
        })
    }

    /// Rows of residues as products take them.
    pub(super) fn rows(&self, queries: &[u32]) -> Rows {
        let mut rows = Rows::default();
        Arch::new().dispatch(Split(queries, self.inputs, &mut rows));
        rows
    }

    pub(super) fn compute(&self, rows: &Rows, block: Block<'_>) {
        let first = block.panels.start * WIDTH;
        let outputs = (block.panels.end * WIDTH).min(self.outputs) - first;
        let of_panel = self.inputs.div_ceil(DEPTH) * PANEL * 2;
        Arch::new().dispatch(Compute {
            unit: self.unit,
            rows,
            weights: Weights {
                tiles: &self.tiles[block.panels.start * of_panel..],
                outputs,
            },
            block,
        });
    }
}

struct Split<'a>(&'a [u32], usize, &'a mut Rows);

impl WithSimd for Split<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        self.2.set(self.0, self.1);
    }
}

struct Compute<'a, 'b> {
    unit: TileUnit,
    rows: &'a Rows,
    weights: Weights<'a>,
    block: Block<'b>,
}

impl WithSimd for Compute<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(mut self, _: S) {
        let outputs = self.weights.outputs;
        let mut sums = vec![0i64; self.rows.count() * outputs];
        multiply(self.unit, self.rows, self.weights, &mut sums, outputs);
        let rows = sums.chunks_exact(outputs).zip(&mut self.block.out);
        for (row, (sums, out)) in rows.enumerate() {
            let prime = PRIMES[row % 2];
            for (to, sum) in out.iter_mut().zip(sums) {
                *to = reduced(prime, *sum);
            }
        }
    }
}

/// The residue of any sum, for a prime p = 2^31 - c with a small c: as 2^31 is congruent to c, the bits from the 31st on count c.
#[inline(always)]
fn reduced(prime: Modulus, sum: i64) -> u32 {
    let prime = i64::from(prime.get());
    let c = (1 << 31) - prime;
    let folded = |value: i64| (value >> 31) * c + (value & ((1 << 31) - 1));
    // Within 2^37, then from -2^6 c to 2^31 + 2^6 c.
    let value = folded(folded(sum));
    let value = if value < 0 { value + prime } else { value };
    let value = if value >= prime { value - prime } else { value };
    value as u32
}

/// Outputs of a panel.
pub(super) const WIDTH: usize = PANEL * ROWS;
/// Handing over less takes longer than computing it.
pub(super) const LEAST_PRODUCTS: usize = 1 << 21;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_of_every_size_are_reduced() {
        for prime in PRIMES {
            for power in 0..63 {
                for near in -40..40 {
                    for sum in [(1i64 << power) + near, near - (1i64 << power)] {
                        assert_eq!(reduced(prime, sum), prime.reduce(sum), "{sum}");
                    }
                    for times in [-3i64, -1, 1, 2, 1 << 31] {
                        let sum = i64::from(prime.get()) * times + near;
                        assert_eq!(reduced(prime, sum), prime.reduce(sum), "{sum}");
                    }
                }
            }
            assert_eq!(reduced(prime, i64::MIN), prime.reduce(i64::MIN));
            assert_eq!(reduced(prime, i64::MAX), prime.reduce(i64::MAX));
        }
    }
}
