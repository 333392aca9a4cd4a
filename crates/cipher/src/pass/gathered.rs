use std::ops::Range;

use rayon::prelude::*;

use super::ready::Ready;
use super::rows::{encode, scale_row};
use super::{BLOCK_VALUES, Pass, Split, blocks};
use crate::Error;
use crate::plan::OutputTensor;
use crate::real::Real;
use crate::rewrite::{Action, LANES};

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
        let width = ready.to.1;
        let row_bytes = width * output.dtype.size();
        let at_once = rows_at_once(ready);
        room.out.resize(block.len() * row_bytes, 0);
        let (source, factor) = (&source[block.clone()], &factor[block.clone()]);
        let parts = source.chunks(at_once).zip(factor.chunks(at_once));
        for (index, (source, factor)) in parts.enumerate() {
            self.load(ready, source, room)?;
            for (row, factor) in room.values.chunks_exact_mut(width).zip(factor) {
                scale_row(row, *factor);
            }
            let start = index * at_once * row_bytes;
            let out = &mut room.out[start..start + source.len() * row_bytes];
            encode(output, &room.values, out)?;
        }
        self.write(output, block.start * width, &room.out)
    }
}

/// As many rows as the processor's second cache holds; whole lines of them where columns are mixed.
fn rows_at_once<T: Real>(ready: &Ready<T>) -> usize {
    let rows = (NEAR_VALUES / ready.to.1.max(1)).max(4);
    let mixes = |columns: &Action<T>| columns.as_monomial().is_none();
    match ready.columns.as_ref().is_some_and(mixes) {
        true => rows.next_multiple_of(LANES),
        false => rows,
    }
}

/// 64 KB of f32.
const NEAR_VALUES: usize = 1 << 14;
