use std::ops::Range;

use rayon::prelude::*;

use super::ready::Ready;
use super::rows::{encode, scale_row};
use super::{BLOCK_VALUES, Pass, Split, blocks};
use crate::Error;
use crate::plan::OutputTensor;
use crate::real::Real;
use crate::rewrite::{Form, LANES};

impl<T: Real> Pass<'_, T> {
    /// Output rows that are source rows in another order, with signs and scales.
    pub(super) fn gathered(
        &self,
        output: &OutputTensor,
        ready: &Ready<T>,
        rows: (&[u32], &[T]),
        split: Split,
    ) -> Result<(), Error> {
        let step = (BLOCK_VALUES / ready.to.1).max(1);
        blocks(ready.to.0, step)
            .into_par_iter()
            .with_min_len(split.least())
            .try_for_each(|block| self.block(output, ready, rows, block))
    }

    fn block(
        &self,
        output: &OutputTensor,
        ready: &Ready<T>,
        (source, factor): (&[u32], &[T]),
        block: Range<usize>,
    ) -> Result<(), Error> {
        let mut room = self.rooms.take();
        let room = &mut *room;
        let Form { width, stride } = ready.form();
        let row_bytes = width * output.dtype.size();
        let at_once = rows_at_once(ready.form());
        let mut bytes = std::mem::take(&mut room.out);
        bytes.resize(block.len() * row_bytes, 0);
        let parts = source[block.clone()]
            .chunks(at_once)
            .zip(factor[block.clone()].chunks(at_once))
            .zip(bytes.chunks_mut(at_once * row_bytes));
        for ((source, factor), out) in parts {
            self.load(ready, source, room)?;
            for ((row, factor), out) in (room.values.chunks_exact_mut(stride))
                .zip(factor)
                .zip(out.chunks_exact_mut(row_bytes))
            {
                scale_row(&mut row[..width], *factor);
                encode(output, &row[..width], out)?;
            }
        }
        room.out = bytes;
        self.write(output, block.start * width, &room.out)
    }
}

/// As many rows as the processor's second cache holds; whole lines of them where columns are mixed.
fn rows_at_once(form: Form) -> usize {
    let rows = (NEAR_VALUES / form.width.max(1)).max(4);
    match form.stride == form.width {
        true => rows,
        false => rows.next_multiple_of(LANES),
    }
}

/// 64 KB of f32.
const NEAR_VALUES: usize = 1 << 14;
