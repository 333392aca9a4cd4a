use std::ops::Range;

use pulp::{Simd, WithSimd};
use rayon::prelude::*;

use crate::{IntegerWeights, PRIMES, Residues};

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
    /// For tiles of `tallest` rows, and one of what is left.
    pub(super) fn new(queries: &Residues, chunk: usize, tallest: usize) -> Self {
        let (rows, width) = (2 * queries.rows(), queries.width());
        let mut values = vec![0.0; rows * width];
        let chunks = values.par_chunks_mut(chunk * rows);
        let fill = |(index, values): (usize, &mut [f64])| {
            let (start, len) = (index * chunk, values.len() / rows);
            let tiles = values.chunks_mut(tallest * len);
            for (tile, values) in tiles.enumerate() {
                let height = values.len() / len;
                for row in 0..height {
                    let whole = &queries.values()[(tile * tallest + row) * width..][..width];
                    let prime = PRIMES[row % 2].get() as i32;
                    let places = values[row..].iter_mut().step_by(height);
                    for (to, from) in places.zip(&whole[start..start + len]) {
                        let value = *from as i32;
                        *to = f64::from(if value > prime / 2 {
                            value - prime
                        } else {
                            value
                        });
                    }
                }
            }
        };
        match rows * width {
            0..SMALL => values.chunks_mut(chunk * rows).enumerate().for_each(fill),
            _ => chunks.enumerate().for_each(fill),
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
/// Fewer numbers are packed by one thread.
const SMALL: usize = 1 << 15;
