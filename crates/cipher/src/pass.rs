//! The write pass: each output tensor from its source tensor, a bounded number of values at a time.

mod columns;
mod gathered;
mod mixed;
mod ready;
mod rows;

use std::ops::Range;

use equicrypt_checkpoint::{Checkpoint, CheckpointWriter, Dtype};
use rayon::prelude::*;

use crate::plan::{OutputTensor, Plan, Work};
use crate::real::Real;
use crate::rewrite::{Line, Scratch};
use crate::{Error, Secrets};

use ready::Ready;
pub(crate) use ready::factors;
use rows::{Pool, Room};

/// Writes every tensor of `plan`, in f64 where f64 takes part and in f32 elsewhere.
pub(crate) fn run(
    source: &Checkpoint,
    writer: &CheckpointWriter,
    plan: &Plan,
    secrets: &Secrets,
    progress: &(dyn Fn(u64) + Sync),
) -> Result<(), Error> {
    if plan.takes_part(Dtype::F64) {
        Pass::<f64>::new(source, writer, plan, secrets, progress).run()
    } else {
        Pass::<f32>::new(source, writer, plan, secrets, progress).run()
    }
}

/// One write pass in precision T.
struct Pass<'a, T> {
    source: &'a Checkpoint,
    writer: &'a CheckpointWriter,
    plan: &'a Plan,
    secrets: &'a Secrets,
    progress: &'a (dyn Fn(u64) + Sync),
    /// One for each thread.
    rooms: Pool<Room<T>>,
    /// What is held of a tensor with mixed rows: one for each thread at first, and then one.
    held: Pool<Vec<Line<T>>>,
    held_values: usize,
}

impl<'a, T: Real> Pass<'a, T> {
    fn new(
        source: &'a Checkpoint,
        writer: &'a CheckpointWriter,
        plan: &'a Plan,
        secrets: &'a Secrets,
        progress: &'a (dyn Fn(u64) + Sync),
    ) -> Self {
        Self {
            source,
            writer,
            plan,
            secrets,
            progress,
            rooms: Pool::default(),
            held: Pool::default(),
            held_values: HELD_VALUES,
        }
    }

    /// Small tensors come first, each made by one thread. Large ones come one at a time and are made by all, because those
    /// whose rows are mixed are held in part: memory then does not depend on how many cores there are.
    fn run(&self) -> Result<(), Error> {
        let is_large = |output: &&OutputTensor| output.values() >= LARGE_VALUES;
        let (large, small): (Vec<_>, Vec<_>) = self.plan.outputs.iter().partition(is_large);
        small
            .into_par_iter()
            .try_for_each(|output| self.tensor(output, Split::Never))?;
        self.held.clear();
        // The maps of the next one are made meanwhile: that is work for one thread.
        let mut large = large.into_iter().peekable();
        let mut ready = large
            .peek()
            .map_or(Ok(None), |first| self.ready_for(first))?;
        while let Some(output) = large.next() {
            let next = large.peek().copied();
            let (made, next) = rayon::join(
                || self.make(output, ready, Split::Freely),
                || next.map_or(Ok(None), |next| self.ready_for(next)),
            );
            made?;
            ready = next?;
        }
        Ok(())
    }

    fn tensor(&self, output: &OutputTensor, split: Split) -> Result<(), Error> {
        self.make(output, self.ready_for(output)?, split)
    }

    /// The maps of an output that is made from a tensor of the source.
    fn ready_for(&self, output: &OutputTensor) -> Result<Option<Ready<T>>, Error> {
        match output.work {
            Work::Constant(_) | Work::Identity => Ok(None),
            _ => self.ready(output).map(Some),
        }
    }

    fn make(
        &self,
        output: &OutputTensor,
        ready: Option<Ready<T>>,
        split: Split,
    ) -> Result<(), Error> {
        let Some(ready) = ready else {
            return match output.work {
                Work::Constant(value) => {
                    let values = vec![T::from_f64(value); output.values()];
                    self.put(output, 0, &values)
                }
                _ => self.identity(output),
            };
        };
        match ready.rows.as_monomial() {
            Some((source, factor)) => self.gathered(output, &ready, (source, factor), split),
            None => self.mixed(output, &ready, split),
        }
    }

    /// M_out M_input^-1, as it stands: as small as a sentence embedding is wide.
    fn identity(&self, output: &OutputTensor) -> Result<(), Error> {
        let ready = self.ready(output)?;
        let (rows, width) = ready.to;
        let mut values = vec![T::default(); rows * width];
        for index in 0..rows.min(width) {
            values[index * width + index] = T::from_f64(1.0);
        }
        if let Some(columns) = &ready.columns {
            columns.apply_to_rows(&mut values, &mut Scratch::default());
        }
        ready.rows.apply(&mut values, width);
        self.put(output, 0, &values)
    }

    /// Writes values from number `start` of the output on.
    fn put(&self, output: &OutputTensor, start: usize, values: &[T]) -> Result<(), Error> {
        let mut bytes = vec![0; values.len() * output.dtype.size()];
        rows::encode(output, values, &mut bytes)?;
        self.write(output, start, &bytes)
    }

    fn write(&self, output: &OutputTensor, start: usize, bytes: &[u8]) -> Result<(), Error> {
        let start = (start * output.dtype.size()) as u64;
        self.writer.write(&output.spec.name, start, bytes)?;
        (self.progress)(bytes.len() as u64);
        Ok(())
    }
}

/// Whether the parts of a tensor are given to several threads.
#[derive(Clone, Copy)]
enum Split {
    Freely,
    Never,
}

impl Split {
    /// The least number of parts that one thread takes.
    fn least(self) -> usize {
        match self {
            Self::Freely => 1,
            Self::Never => usize::MAX,
        }
    }
}

/// 0..size in ranges of at most `step`.
fn blocks(size: usize, step: usize) -> Vec<Range<usize>> {
    (0..size)
        .step_by(step)
        .map(|start| start..(start + step).min(size))
        .collect()
}

/// Values that are written at once: 1 MB of bf16.
const BLOCK_VALUES: usize = 1 << 19;

/// Values of a tensor that has the machine to itself: 16 MB of f32.
const LARGE_VALUES: usize = 1 << 22;

/// Values of a tensor with mixed rows that are held at once: 256 MB of f32, so that a layer of up to 64 million weights is
/// read once.
const HELD_VALUES: usize = 1 << 26;

#[cfg(test)]
mod tests;
