use std::ops::Range;

use pulp::{Simd, WithSimd};
use rayon::prelude::*;

use crate::{IntegerWeights, PRIMES};

/// How many numbers a register has.
pub(super) fn lanes() -> impl WithSimd<Output = usize> {
    struct Lanes;
    impl WithSimd for Lanes {
        type Output = usize;

        fn with_simd<S: Simd>(self, _: S) -> usize {
            S::F64_LANES
        }
    }
    Lanes
}

/// Weights in panels of `width` neighbouring rows, each panel column by column; zeros fill up the last one.
pub(super) fn panels(weights: &IntegerWeights, width: usize) -> Vec<i16> {
    let (inputs, outputs) = (weights.inputs(), weights.outputs());
    let mut values = vec![0; outputs.next_multiple_of(width) * inputs];
    let panels = values.par_chunks_exact_mut(width * inputs);
    panels.enumerate().for_each(|(panel, values)| {
        for output in panel * width..outputs.min((panel + 1) * width) {
            let places = values[output - panel * width..].iter_mut().step_by(width);
            for (to, from) in places.zip(weights.row(output)) {
                *to = *from;
            }
        }
    });
    values
}

/// Vectors as tiles read them: centred residues, chunk of inputs by chunk; in a chunk tile by tile, in a tile input by input. A
/// vector is two rows, one for each prime.
pub(super) struct Queries {
    rows: usize,
    values: Vec<f64>,
}

impl Queries {
    /// Of vectors of `width` elements, for tiles of six rows, and one of what is left.
    pub(super) fn new(queries: &[u32], width: usize, chunk: usize) -> Self {
        let rows = queries.len() / width;
        let mut values = vec![0.0; queries.len()];
        for (index, values) in values.chunks_mut(chunk * rows).enumerate() {
            let (first, len) = (index * chunk, values.len() / rows);
            for (tile, values) in values.chunks_mut(TALLEST * len).enumerate() {
                let queries = &queries[tile * TALLEST * width..];
                match values.len() / len {
                    6.. => fill::<6>(queries, width, first, values),
                    4.. => fill::<4>(queries, width, first, values),
                    _ => fill::<2>(queries, width, first, values),
                }
            }
        }
        Self { rows, values }
    }

    /// Two for each vector.
    pub(super) fn rows(&self) -> usize {
        self.rows
    }

    /// The tiles of some inputs: a whole chunk.
    pub(super) fn chunk(&self, inputs: &Range<usize>) -> &[f64] {
        &self.values[inputs.start * self.rows..inputs.end * self.rows]
    }
}

/// A tile of `R` rows, from the input `first` on.
fn fill<const R: usize>(queries: &[u32], width: usize, first: usize, tile: &mut [f64]) {
    let (tile, _) = tile.as_chunks_mut::<R>();
    let mut rows = [[].as_slice(); R];
    for (r, row) in rows.iter_mut().enumerate() {
        *row = &queries[r * width + first..][..tile.len()];
    }
    for (i, to) in tile.iter_mut().enumerate() {
        for r in 0..R {
            let prime = PRIMES[r % 2].get() as i32;
            let value = rows[r][i] as i32;
            to[r] = f64::from(if value > prime / 2 {
                value - prime
            } else {
                value
            });
        }
    }
}

/// Zeros that start at a cache line: a register that lies across two takes twice as long to load.
pub(super) struct Aligned {
    room: Vec<f64>,
    start: usize,
    len: usize,
}

impl Aligned {
    pub(super) fn new(len: usize) -> Self {
        let line = CACHE_LINE / size_of::<f64>();
        let room = vec![0.0; len + line];
        let start = room.as_ptr().align_offset(CACHE_LINE).min(line);
        Self { room, start, len }
    }

    pub(super) fn values_mut(&mut self) -> &mut [f64] {
        &mut self.room[self.start..][..self.len]
    }
}

const CACHE_LINE: usize = 64;
/// Rows of residues in a tile at most.
const TALLEST: usize = 6;
