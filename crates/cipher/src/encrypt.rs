use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use equicrypt_checkpoint::{
    Checkpoint, CheckpointWriter, Dtype, StagedDir, TensorHeader, write_json,
};
use equicrypt_spec::{Kind, MANIFEST_FILE, Manifest, Profile, Side};
use rayon::prelude::*;
use serde_json::json;

use crate::element::Element;
use crate::plan::{OutputTensor, Plan, Work};
use crate::real::Real;
use crate::rewrite::{Action, LANES, Scratch};
use crate::schedule::Schedule;
use crate::tokenizer::{dummy_tokenizer, dummy_tokenizer_config};
use crate::{Error, MasterKey, Secrets, Vocabulary};

/// How to encrypt.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// Which part of the legal groups to use.
    pub profile: Profile,
    /// The dtype of the output; the source's if none.
    pub dtype: Option<Dtype>,
    /// The counter in the key schedule.
    pub epoch: u32,
}

/// What was written.
#[derive(Debug, Clone)]
pub struct Summary {
    /// The public manifest.
    pub manifest: Manifest,
    /// Output tensors.
    pub tensors: usize,
    /// Their size in bytes.
    pub bytes: u64,
}

/// Encrypts `source` into the new folder `out` under `key`. `progress` is told, from any thread, how many bytes were
/// written since it was last called.
///
/// Everything is checked before the first byte is written, and the folder appears whole or not at all. Memory holds one
/// block of rows for each core, or, where the secret of a tensor's output axis mixes rows, that one tensor.
pub fn encrypt(
    source: &Checkpoint,
    out: &Path,
    key: &MasterKey,
    options: &Options,
    progress: &(dyn Fn(u64) + Sync),
) -> Result<Summary, Error> {
    let plan = Plan::new(source, options, key.id())?;
    let schedule = Schedule::new(key, &plan.manifest.fingerprint()?, options.epoch);
    let vocabulary = Vocabulary::derive(&schedule, plan.target.vocab_size);
    let secrets = Secrets::derive(&schedule, &plan.target, &plan.permits(source), &vocabulary);
    encrypt_with(source, out, &plan, &secrets, progress)
}

/// The write pass: `plan` carried out with `secrets`, whatever they are.
pub fn encrypt_with(
    source: &Checkpoint,
    out: &Path,
    plan: &Plan,
    secrets: &Secrets,
    progress: &(dyn Fn(u64) + Sync),
) -> Result<Summary, Error> {
    let staged = StagedDir::new(out)?;
    let header = |o: &OutputTensor| TensorHeader::new(o.spec.name.as_str(), o.dtype, &o.spec.shape);
    let headers: Vec<_> = plan.outputs.iter().map(header).collect();
    let writer = CheckpointWriter::create(staged.path(), &headers)?;
    if plan.needs_f64(source) {
        Pass::<f64>::new(source, &writer, plan, secrets, progress).run()?;
    } else {
        Pass::<f32>::new(source, &writer, plan, secrets, progress).run()?;
    }
    writer.finish()?;

    let dtype = plan
        .outputs
        .first()
        .map_or(Dtype::F32, |output| output.dtype);
    let file = |name: &str| staged.path().join(name);
    write_json(
        &file("config.json"),
        &plan.target.to_json(dtype.torch_name()),
    )?;
    let no_ids = json!({ "bos_token_id": null, "eos_token_id": null, "pad_token_id": null });
    write_json(&file("generation_config.json"), &no_ids)?;
    let text = |name: &str, text: String| {
        std::fs::write(file(name), text).map_err(|source| {
            Error::Checkpoint(equicrypt_checkpoint::Error::Io {
                action: "write",
                path: file(name),
                source,
            })
        })
    };
    text("tokenizer.json", dummy_tokenizer(plan.target.vocab_size))?;
    text(
        "tokenizer_config.json",
        dummy_tokenizer_config(plan.target.max_positions),
    )?;
    text(MANIFEST_FILE, plan.manifest.to_text())?;
    staged.commit()?;
    Ok(Summary {
        manifest: plan.manifest.clone(),
        tensors: plan.outputs.len(),
        bytes: plan.bytes(),
    })
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

/// A tensor's maps, ready to act.
struct Ready<T: Real> {
    rows: Arc<Action<T>>,
    columns: Option<Action<T>>,
    gain: Option<Vec<T>>,
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

    fn run(&self) -> Result<(), Error> {
        self.plan
            .outputs
            .par_iter()
            .try_for_each(|output| self.tensor(output))
    }

    fn tensor(&self, output: &OutputTensor) -> Result<(), Error> {
        let size = output.spec.shape.first().copied().unwrap_or(1);
        let width: usize = output.spec.shape.iter().skip(1).product();
        let Work::Transform { folded_gain } = &output.work else {
            return self.put(output, 0, &vec![T::from_f64(1.0); size]);
        };
        let ready = self.ready(output, folded_gain.as_deref())?;
        if ready.rows.as_monomial().is_some() {
            let step = (BLOCK_VALUES / width).max(1);
            let blocks: Vec<_> = (0..size)
                .step_by(step)
                .map(|start| start..(start + step).min(size))
                .collect();
            blocks
                .into_par_iter()
                .try_for_each(|rows| self.gathered(output, &ready, width, rows))
        } else {
            self.mixed(output, &ready, size, width)
        }
    }

    /// The maps of the tensor's sides: M on output axes, M^-T on the rows of a linear layer.
    fn ready(&self, output: &OutputTensor, gain: Option<&str>) -> Result<Ready<T>, Error> {
        let spec = &output.spec;
        let side = |side: Side| -> Result<Arc<Element>, Error> {
            match self.secrets.side(side, spec.layer) {
                Some(element) => Ok(element),
                None if self.secrets.is_lenient() => {
                    Ok(Arc::new(Element::identity(side.size(&self.plan.target))))
                }
                None => Err(Error::NoPermutation {
                    tensor: spec.name.clone(),
                }),
            }
        };
        let (rows, columns) = match spec.row.kind {
            Kind::Embed { rows, columns } => (rows, Some(Action::new(&*side(columns)?))),
            Kind::Linear { out, input } => (out, Some(Action::new(&side(input)?.dual()))),
            Kind::Bias { out: only } | Kind::Gain { axis: only, .. } => (only, None),
        };
        let gain = gain.map(|name| self.read(name, 0..1, None)).transpose()?;
        Ok(Ready {
            rows: Arc::new(Action::new(&*side(rows)?)),
            columns,
            gain,
        })
    }

    /// Output rows that are source rows in another order, with signs and scales.
    fn gathered(
        &self,
        output: &OutputTensor,
        ready: &Ready<T>,
        width: usize,
        rows: Range<usize>,
    ) -> Result<(), Error> {
        let Some((source, factor)) = ready.rows.as_monomial() else {
            return Ok(());
        };
        let mut block = Vec::with_capacity(rows.len() * width);
        let mut next = rows.start;
        while next < rows.end {
            let first = source[next] as usize;
            let run = source[next..rows.end]
                .iter()
                .enumerate()
                .take_while(|(offset, from)| **from as usize == first + offset)
                .count();
            block.extend(self.read(&output.source, first..first + run, Some(width))?);
            next += run;
        }
        for (row, factor) in block.chunks_exact_mut(width).zip(&factor[rows.clone()]) {
            row.iter_mut().for_each(|value| *value = *value * *factor);
        }
        self.columns(ready, &mut block);
        self.put(output, rows.start * width, &block)
    }

    /// Output rows that mix source rows: the whole tensor at once, in panels of columns.
    fn mixed(
        &self,
        output: &OutputTensor,
        ready: &Ready<T>,
        size: usize,
        width: usize,
    ) -> Result<(), Error> {
        let mut matrix = self.read(&output.source, 0..size, Some(width))?;
        matrix
            .par_chunks_mut(width * LANES)
            .for_each(|rows| self.columns(ready, rows));
        let panels: Vec<(usize, Vec<T>)> = (0..width)
            .into_par_iter()
            .step_by(PANEL)
            .map(|start| {
                let lanes = PANEL.min(width - start);
                let mut panel = Vec::with_capacity(size * lanes);
                for row in matrix.chunks_exact(width) {
                    panel.extend_from_slice(&row[start..start + lanes]);
                }
                ready.rows.apply(&mut panel, lanes);
                (lanes, panel)
            })
            .collect();
        matrix
            .par_chunks_mut(width)
            .enumerate()
            .for_each(|(row, values)| {
                let mut start = 0;
                for (lanes, panel) in &panels {
                    values[start..start + lanes].copy_from_slice(&panel[row * lanes..][..*lanes]);
                    start += lanes;
                }
            });
        let step = BLOCK_VALUES / width * width;
        matrix
            .par_chunks(step.max(width))
            .enumerate()
            .try_for_each(|(index, block)| self.put(output, index * step.max(width), block))
    }

    fn columns(&self, ready: &Ready<T>, rows: &mut [T]) {
        let Some(columns) = &ready.columns else {
            return;
        };
        if let Some(gain) = &ready.gain {
            for row in rows.chunks_exact_mut(gain.len()) {
                row.iter_mut()
                    .zip(gain)
                    .for_each(|(value, g)| *value = *value * *g);
            }
        }
        columns.apply_to_rows(rows, &mut Scratch::default());
    }

    /// Rows of a source tensor; the whole of it where no width is given.
    fn read(&self, name: &str, rows: Range<usize>, width: Option<usize>) -> Result<Vec<T>, Error> {
        let tensor = self.source.tensor(name);
        let tensor = tensor.ok_or_else(|| Error::Dtype(format!("tensor {name:?} is gone")))?;
        let value = tensor.dtype.size();
        let (start, count) = match width {
            Some(width) => (rows.start * width, rows.len() * width),
            None => (0, tensor.shape.iter().product()),
        };
        let mut bytes = vec![0; count * value];
        self.source.read(name, (start * value) as u64, &mut bytes)?;
        let mut values = vec![T::default(); count];
        T::decode(tensor.dtype, &bytes, &mut values);
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

/// Values in a block of rows: 2 MB of f32.
const BLOCK_VALUES: usize = 1 << 19;

/// The largest finite value of IEEE 754 binary16.
const F16_MAX: f64 = 65_504.0;

/// Columns that are mixed together.
const PANEL: usize = 64;
