//! y = W q over the ring, for many vectors q at once.
//!
//! The arithmetic is exact in f64: residues are centred, so that they are smaller than 2^30, and weights are at most 2^15.
//! [`CHUNK`] = 192 products and what was carried from before stay below 2^53:
//!
//! ```text
//! 192 2^15 2^30 + 2^31 < 1.51 2^52
//! ```
//!
//! Then a sum is reduced to about half of its prime, and goes on. A fused multiplication and addition is one instruction for
//! as many products as a register has numbers; with integers, the widest vector instructions that are common take two for
//! that. As every step is exact, sums may be formed in any order, with or without fusion, on any machine.

mod pack;
mod tile;
mod unit;

use std::ops::Range;

use equicrypt_machine::TileUnit;
use pulp::{Arch, Simd, WithSimd};
use rayon::prelude::*;

use crate::{Error, IntegerWeights, Modulus, PRIMES, Residues};
use pack::{Aligned, Queries, lanes, panels};
use tile::{Panel, Sums, multiply};
use unit::TileWeights;

/// The integer weights of a linear layer as products need them on this machine.
pub struct PackedWeights {
    inputs: usize,
    outputs: usize,
    kept: Kept,
}

enum Kept {
    Panels(Panels),
    Tiles(TileWeights),
}

impl PackedWeights {
    /// Packs them for this machine.
    #[must_use]
    pub fn new(weights: &IntegerWeights) -> Self {
        let tiles = TileUnit::get().and_then(|unit| TileWeights::new(unit, weights));
        let kept = tiles.map_or_else(
            || Kept::Panels(Panels::new(Arch::new(), weights)),
            Kept::Tiles,
        );
        Self::of(kept, weights)
    }

    fn of(kept: Kept, weights: &IntegerWeights) -> Self {
        Self {
            inputs: weights.inputs(),
            outputs: weights.outputs(),
            kept,
        }
    }

    /// Numbers that go in.
    #[must_use]
    pub fn inputs(&self) -> usize {
        self.inputs
    }

    /// Numbers that come out.
    #[must_use]
    pub fn outputs(&self) -> usize {
        self.outputs
    }

    /// `W q` for each vector q. Panels of outputs are shared out among the cores, and each passes by all vectors.
    ///
    /// # Errors
    /// If the vectors have another width.
    pub fn times(&self, queries: &Residues) -> Result<Residues, Error> {
        if queries.width() != self.inputs {
            return Err(Error::Length {
                what: "a vector of a layer's inputs",
                expected: self.inputs,
                found: queries.width(),
            });
        }
        let mut answers = Residues::zeros(queries.rows(), self.outputs);
        if queries.rows() == 0 || self.outputs == 0 {
            return Ok(answers);
        }
        // So many that a chunk of their elements stays in the second-level cache while all panels pass by.
        let (of_queries, of_answers) = (2 * GROUP * self.inputs, 2 * GROUP * self.outputs);
        let groups = queries.values().chunks(of_queries);
        for (queries, answers) in groups.zip(answers.values_mut().chunks_mut(of_answers)) {
            match &self.kept {
                Kept::Panels(panels) => {
                    let queries = Queries::new(queries, self.inputs, CHUNK);
                    let compute = |block: Block<'_>| panels.compute(&queries, block);
                    self.share_out(panels.width, LEAST_PRODUCTS, answers, compute);
                }
                Kept::Tiles(tiles) => {
                    let rows = tiles.rows(queries);
                    let compute = |block: Block<'_>| tiles.compute(&rows, block);
                    self.share_out(unit::WIDTH, unit::LEAST_PRODUCTS, answers, compute);
                }
            }
        }
        Ok(answers)
    }

    /// Panels of `width` outputs, shared out among the cores.
    fn share_out(
        &self,
        width: usize,
        least_products: usize,
        answers: &mut [u32],
        compute: impl Fn(Block<'_>) + Sync + Send,
    ) {
        let rows = answers.len() / self.outputs;
        let total = self.outputs.div_ceil(width);
        let least = (least_products / (rows * self.inputs * width)).max(1);
        let share = total.div_ceil(rayon::current_num_threads() * BLOCKS_PER_THREAD);
        let each = share.max(least);
        let mut blocks: Vec<Block<'_>> = (0..total.div_ceil(each))
            .map(|block| Block {
                panels: block * each..((block + 1) * each).min(total),
                out: Vec::with_capacity(rows),
            })
            .collect();
        // A row of answers for each row of residues.
        for half in answers.chunks_exact_mut(self.outputs) {
            let parts = half.chunks_mut(each * width);
            for (block, part) in blocks.iter_mut().zip(parts) {
                block.out.push(part);
            }
        }
        match blocks.len() {
            1 => blocks.into_iter().for_each(compute),
            _ => blocks.into_par_iter().with_max_len(1).for_each(compute),
        }
    }
}

/// Weights in panels of neighbouring outputs, input by input.
struct Panels {
    /// The instructions whose registers the panels are made for.
    arch: Arch,
    inputs: usize,
    /// Outputs in a panel.
    width: usize,
    values: Vec<i16>,
}

impl Panels {
    fn new(arch: Arch, weights: &IntegerWeights) -> Self {
        let width = VECTORS * arch.dispatch(lanes());
        Self {
            arch,
            inputs: weights.inputs(),
            width,
            values: panels(weights, width),
        }
    }

    fn compute(&self, queries: &Queries, block: Block<'_>) {
        self.arch.dispatch(Compute {
            weights: self,
            queries,
            block,
        });
    }

    /// The weights from the inputs of `chunk` to the outputs of a panel.
    fn panel(&self, panel: usize, chunk: &Range<usize>) -> &[i16] {
        let start = (panel * self.inputs + chunk.start) * self.width;
        &self.values[start..][..chunk.len() * self.width]
    }
}

/// Some neighbouring panels, and the places of their answers in each row.
struct Block<'a> {
    panels: Range<usize>,
    out: Vec<&'a mut [u32]>,
}

struct Compute<'a, 'b> {
    weights: &'a Panels,
    queries: &'a Queries,
    block: Block<'b>,
}

/// Closures are avoided from here on: they would be compiled without the vector instructions.
impl WithSimd for Compute<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(mut self, simd: S) {
        let (weights, queries) = (self.weights, self.queries);
        let (rows, width) = (queries.rows(), weights.width);
        let mut wide = Aligned::new(CHUNK * width);
        let mut sums = Aligned::new(self.block.panels.len() * rows * width);
        let mut start = 0;
        while start < weights.inputs {
            let chunk = start..(start + CHUNK).min(weights.inputs);
            for (index, panel) in self.block.panels.clone().enumerate() {
                let wide = &mut wide.values_mut()[..chunk.len() * width];
                for (to, from) in wide.iter_mut().zip(weights.panel(panel, &chunk)) {
                    *to = f64::from(*from);
                }
                let sums = &mut sums.values_mut()[index * rows * width..][..rows * width];
                multiply(
                    simd,
                    &Panel {
                        weights: wide,
                        width,
                    },
                    queries.chunk(&chunk),
                    Sums { rows, values: sums },
                );
            }
            start = chunk.end;
        }
        for (index, sums) in sums.values_mut().chunks_exact(rows * width).enumerate() {
            for (row, (sums, out)) in sums
                .chunks_exact(width)
                .zip(&mut self.block.out)
                .enumerate()
            {
                let first = index * width;
                let last = (first + width).min(out.len());
                let prime = PRIMES[row % 2];
                for (to, sum) in out[first..last].iter_mut().zip(sums) {
                    *to = canonical(prime, *sum);
                }
            }
        }
    }
}

/// From -p to p, to 0 to p - 1.
#[inline(always)]
fn canonical(prime: Modulus, value: f64) -> u32 {
    let prime = prime.get() as i32;
    let value = value as i32;
    (if value < 0 { value + prime } else { value }) as u32
}

/// Registers in a row of a panel.
const VECTORS: usize = 2;
/// Products between two reductions.
const CHUNK: usize = 192;
/// Vectors that are multiplied together.
const GROUP: usize = 48;
const BLOCKS_PER_THREAD: usize = 4;
/// Handing over less takes longer than computing it.
const LEAST_PRODUCTS: usize = 1 << 21;

#[cfg(test)]
mod tests;
