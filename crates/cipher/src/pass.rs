//! The write pass: each output tensor from its source tensor, a bounded number of values at a time.

use std::ops::Range;
use std::sync::Arc;

use equicrypt_checkpoint::{Checkpoint, CheckpointWriter, Dtype};
use equicrypt_spec::{Kind, Layout, Role, Side};
use rayon::prelude::*;

use crate::element::Element;
use crate::plan::{Gain, OutputTensor, Plan, Work};
use crate::real::Real;
use crate::rewrite::{Action, LANES, Scratch};
use crate::{Error, Secrets};

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
    precision: std::marker::PhantomData<T>,
}

/// A source tensor as a matrix, and the maps that act on it. A vector is a matrix with one column.
struct Ready<T: Real> {
    source: String,
    /// Rows and columns of the source; those of the output may be more.
    from: (usize, usize),
    /// Rows and columns of the output.
    to: (usize, usize),
    rows: Action<T>,
    columns: Option<Action<T>>,
    /// What each row of the source is multiplied by, if not by one.
    row_factors: Option<Vec<T>>,
    /// What each column of the source is multiplied by, if not by one.
    column_factors: Option<Vec<T>>,
    scale: T,
    /// What is added to the source before anything else, and its standard deviation.
    noise: Option<(&'static str, f64)>,
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
            precision: std::marker::PhantomData,
        }
    }

    /// Large tensors come one at a time, because those whose rows are mixed are held in part: memory then does not depend
    /// on how many cores there are.
    fn run(&self) -> Result<(), Error> {
        let is_large = |output: &&OutputTensor| output.values() >= LARGE_VALUES;
        let (large, small): (Vec<_>, Vec<_>) = self.plan.outputs.iter().partition(is_large);
        small
            .into_par_iter()
            .try_for_each(|output| self.tensor(output))?;
        large.into_iter().try_for_each(|output| self.tensor(output))
    }

    fn tensor(&self, output: &OutputTensor) -> Result<(), Error> {
        if let Work::Constant(value) = output.work {
            let values = vec![T::from_f64(value); output.values()];
            return self.put(output, 0, &values);
        }
        if output.work == Work::Identity {
            return self.identity(output);
        }
        let ready = self.ready(output)?;
        if ready.rows.as_monomial().is_some() {
            let step = (BLOCK_VALUES / ready.to.1).max(1);
            blocks(ready.to.0, step)
                .into_par_iter()
                .try_for_each(|rows| self.gathered(output, &ready, rows))
        } else {
            self.mixed(output, &ready)
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
        columns(&ready, &mut values);
        ready.rows.apply(&mut values, width);
        self.put(output, 0, &values)
    }

    /// The maps of the tensor's sides: M on what comes out, M^-T on what goes in.
    fn ready(&self, output: &OutputTensor) -> Result<Ready<T>, Error> {
        let spec = &output.spec;
        let config = &self.plan.target;
        let expert = match spec.expert {
            Some(expert) => self.secrets.source_expert(config, spec.layer, expert),
            None => None,
        };
        let side = |side: Side| -> Result<Arc<Element>, Error> {
            match self.secrets.side(side, spec.layer, expert) {
                Some(element) => Ok(element),
                None if self.secrets.is_lenient() => {
                    Ok(Arc::new(Element::identity(side.size(config))))
                }
                None => Err(Error::NoPermutation {
                    tensor: spec.name.clone(),
                }),
            }
        };
        let (gain, divides, scale) = match &output.work {
            Work::Transform { gain, scale } => (gain.as_ref(), false, *scale),
            Work::DivideByGain(gain) => (Some(gain), true, 1.0),
            Work::Constant(_) | Work::Identity => (None, false, 1.0),
        };
        let gain = gain
            .map(|gain| factors(self.source, gain, divides.then_some(&spec.name)))
            .transpose()?;
        let (rows, columns, row_factors, column_factors) = match spec.row.kind {
            Kind::Embed { rows, columns } => (side(rows)?, Some(side(columns)?), None, gain),
            Kind::Linear { out, input, layout } => {
                let (out, input) = (side(out)?, Arc::new(side(input)?.dual()));
                match layout {
                    Layout::OutByInput => (out, Some(input), None, gain),
                    Layout::InputByOut => (input, Some(out), gain, None),
                }
            }
            Kind::Bias { out: only }
            | Kind::Gain { axis: only, .. }
            | Kind::NormBias { axis: only, .. } => (side(only)?, None, gain, None),
        };
        let source = self.plan.source_of(output, expert).to_owned();
        let tensor = self.source.tensor(&source);
        let shape = tensor.map_or(&[][..], |tensor| &tensor.shape);
        let matrix = |shape: &[usize]| {
            let rows = shape.first().copied().unwrap_or(1);
            (rows, shape.get(1).copied().unwrap_or(1))
        };
        Ok(Ready {
            from: matrix(shape),
            to: matrix(&spec.shape),
            rows: Action::new(&rows),
            columns: columns.map(|columns| Action::new(&columns)),
            row_factors,
            column_factors,
            scale: T::from_f64(scale),
            noise: self.noise(output, &source)?,
            source,
        })
    }

    /// Which noise an output has: embedding and head each have their own, even if they come of one tensor.
    fn noise(
        &self,
        output: &OutputTensor,
        source: &str,
    ) -> Result<Option<(&'static str, f64)>, Error> {
        let share = self.plan.noise_on(output);
        if share == 0.0 {
            return Ok(None);
        }
        let label = match output.spec.row.role {
            Role::Head => "head",
            _ => "embed",
        };
        Ok(Some((label, share * deviation::<T>(self.source, source)?)))
    }

    /// Output rows that are source rows in another order, with signs and scales.
    fn gathered(
        &self,
        output: &OutputTensor,
        ready: &Ready<T>,
        rows: Range<usize>,
    ) -> Result<(), Error> {
        let Some((source, factor)) = ready.rows.as_monomial() else {
            return Ok(());
        };
        let mut block = Vec::with_capacity(rows.len() * ready.to.1);
        let mut next = rows.start;
        while next < rows.end {
            let first = source[next] as usize;
            let run = source[next..rows.end]
                .iter()
                .enumerate()
                .take_while(|(offset, from)| **from as usize == first + offset)
                .count();
            block.extend(self.rows(ready, first..first + run)?);
            next += run;
        }
        columns(ready, &mut block);
        for (row, factor) in block
            .chunks_exact_mut(ready.to.1)
            .zip(&factor[rows.clone()])
        {
            row.iter_mut().for_each(|value| *value = *value * *factor);
        }
        self.put(output, rows.start * ready.to.1, &block)
    }

    /// Output rows that mix source rows: as many columns at a time as memory allows, each of them whole.
    fn mixed(&self, output: &OutputTensor, ready: &Ready<T>) -> Result<(), Error> {
        let (rows, width) = ready.to;
        let step = (HELD_VALUES / rows).max(PANEL);
        for columns in blocks(width, step) {
            let held = self.held(ready, columns.clone())?;
            let lanes = columns.len();
            if lanes == width {
                let rows_at_once = (BLOCK_VALUES / width).max(1);
                held.par_chunks(rows_at_once * width)
                    .enumerate()
                    .try_for_each(|(index, block)| {
                        self.put(output, index * rows_at_once * width, block)
                    })?;
            } else {
                held.par_chunks(lanes)
                    .enumerate()
                    .try_for_each(|(row, values)| {
                        self.put(output, row * width + columns.start, values)
                    })?;
            }
        }
        Ok(())
    }

    /// Some columns of the output.
    fn held(&self, ready: &Ready<T>, columns: Range<usize>) -> Result<Vec<T>, Error> {
        let (rows, lanes) = (ready.to.0, columns.len());
        let mut held = vec![T::default(); rows * lanes];
        held[..ready.from.0 * lanes]
            .par_chunks_mut(LANES * lanes)
            .enumerate()
            .try_for_each(|(index, block)| {
                let first = index * LANES;
                let mut whole = self.rows(ready, first..first + block.len() / lanes)?;
                self::columns(ready, &mut whole);
                let rows = block.chunks_exact_mut(lanes);
                for (row, whole) in rows.zip(whole.chunks_exact(ready.to.1)) {
                    row.copy_from_slice(&whole[columns.clone()]);
                }
                Ok::<_, Error>(())
            })?;
        // A few panels at a time, so that they are no second copy of all that is held.
        for panels in blocks(lanes, PANEL * PANELS_AT_ONCE) {
            let mixed: Vec<(Range<usize>, Vec<T>)> = blocks(panels.len(), PANEL)
                .into_par_iter()
                .map(|panel| {
                    let range = panels.start + panel.start..panels.start + panel.end;
                    let mut values = Vec::with_capacity(rows * range.len());
                    for row in held.chunks_exact(lanes) {
                        values.extend_from_slice(&row[range.clone()]);
                    }
                    ready.rows.apply(&mut values, range.len());
                    (range, values)
                })
                .collect();
            held.par_chunks_mut(lanes)
                .enumerate()
                .for_each(|(row, held)| {
                    for (range, values) in &mixed {
                        let size = range.len();
                        held[range.clone()].copy_from_slice(&values[row * size..][..size]);
                    }
                });
        }
        Ok(held)
    }

    /// Rows of the source with their factors, as wide as those of the output.
    fn rows(&self, ready: &Ready<T>, rows: Range<usize>) -> Result<Vec<T>, Error> {
        let (width, wider) = (ready.from.1, ready.to.1);
        let mut values = read(self.source, &ready.source, rows.clone(), width)?;
        for (row, values) in rows.zip(values.chunks_exact_mut(width)) {
            if let (Some((label, deviation)), Some(noise)) = (ready.noise, self.secrets.noise()) {
                noise.add(label, row, deviation, values);
            }
            let factor = match &ready.row_factors {
                Some(factors) => factors[row] * ready.scale,
                None => ready.scale,
            };
            if factor != T::from_f64(1.0) {
                values.iter_mut().for_each(|value| *value = *value * factor);
            }
            if let Some(factors) = &ready.column_factors {
                for (value, factor) in values.iter_mut().zip(factors) {
                    *value = *value * *factor;
                }
            }
        }
        if wider > width {
            let mut padded = Vec::with_capacity(values.len() / width * wider);
            for row in values.chunks_exact(width) {
                padded.extend_from_slice(row);
                padded.resize(padded.len() + wider - width, T::default());
            }
            values = padded;
        }
        Ok(values)
    }

    fn put(&self, output: &OutputTensor, start: usize, values: &[T]) -> Result<(), Error> {
        let beyond = |value: &T| value.to_f64().is_finite() && value.to_f64().abs() > F16_MAX;
        if output.dtype == Dtype::F16 && values.iter().any(beyond) {
            return Err(Error::Overflow {
                tensor: output.spec.name.clone(),
                dtype: output.dtype.name(),
            });
        }
        let size = output.dtype.size();
        let mut bytes = vec![0; values.len() * size];
        T::encode(output.dtype, values, &mut bytes);
        self.writer
            .write(&output.spec.name, (start * size) as u64, &bytes)?;
        (self.progress)(bytes.len() as u64);
        Ok(())
    }
}

/// The map of the columns, on as many rows at once as there are: one by one they take many times longer.
fn columns<T: Real>(ready: &Ready<T>, rows: &mut [T]) {
    if let Some(columns) = &ready.columns {
        columns.apply_to_rows(rows, &mut Scratch::default());
    }
}

/// g + offset; or one divided by it, for the bias that is named.
pub(crate) fn factors<T: Real>(
    source: &Checkpoint,
    gain: &Gain,
    divided: Option<&String>,
) -> Result<Vec<T>, Error> {
    let tensor = source.tensor(&gain.tensor);
    let size = tensor.map_or(0, |tensor| tensor.shape.iter().product());
    let mut values: Vec<T> = read(source, &gain.tensor, 0..size, 1)?;
    for value in &mut values {
        let factor = value.to_f64() + gain.offset;
        *value = T::from_f64(match divided {
            None => factor,
            Some(bias) if factor == 0.0 => {
                return Err(Error::ZeroGain {
                    gain: gain.tensor.clone(),
                    bias: bias.clone(),
                });
            }
            Some(_) => 1.0 / factor,
        });
    }
    Ok(values)
}

/// The standard deviation of a tensor's values.
fn deviation<T: Real>(source: &Checkpoint, name: &str) -> Result<f64, Error> {
    let shape = source.tensor(name).map_or(&[][..], |tensor| &tensor.shape);
    let (rows, width) = match shape {
        [rows, width] => (*rows, *width),
        _ => return Ok(0.0),
    };
    let mut sums = [0.0f64; 2];
    // One block after another, so that the sums do not depend on how many cores there are.
    for block in blocks(rows, (BLOCK_VALUES / width.max(1)).max(1)) {
        for value in read::<T>(source, name, block, width)? {
            let value = value.to_f64();
            sums = [sums[0] + value, sums[1] + value * value];
        }
    }
    let count = (rows * width).max(1) as f64;
    let mean = sums[0] / count;
    Ok((sums[1] / count - mean * mean).max(0.0).sqrt())
}

/// Rows of a source tensor.
fn read<T: Real>(
    source: &Checkpoint,
    name: &str,
    rows: Range<usize>,
    width: usize,
) -> Result<Vec<T>, Error> {
    let tensor = source.tensor(name);
    let tensor = tensor.ok_or_else(|| Error::Dtype(format!("tensor {name:?} is gone")))?;
    let size = tensor.dtype.size();
    let mut bytes = vec![0; rows.len() * width * size];
    let start = rows.start * width * size;
    source.read(name, start as u64, &mut bytes)?;
    let mut values = vec![T::default(); rows.len() * width];
    T::decode(tensor.dtype, &bytes, &mut values);
    Ok(values)
}

/// 0..size in ranges of at most `step`.
fn blocks(size: usize, step: usize) -> Vec<Range<usize>> {
    (0..size)
        .step_by(step)
        .map(|start| start..(start + step).min(size))
        .collect()
}

/// Values in a block of rows: 2 MB of f32.
const BLOCK_VALUES: usize = 1 << 19;

/// Values of a tensor that has the machine to itself: 16 MB of f32.
const LARGE_VALUES: usize = 1 << 22;

/// Values of a tensor with mixed rows that are held at once: 256 MB of f32, so that a layer of up to 64 million weights is
/// read once.
const HELD_VALUES: usize = 1 << 26;

/// The largest finite value of IEEE 754 binary16.
const F16_MAX: f64 = 65_504.0;

/// Columns that are mixed together.
const PANEL: usize = 64;

const PANELS_AT_ONCE: usize = 8;
