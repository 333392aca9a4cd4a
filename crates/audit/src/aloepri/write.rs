//! The write pass: every tensor of the obfuscated checkpoint from its source tensor.

use equicrypt_checkpoint::{Checkpoint, CheckpointWriter, Dtype, TensorHeader};
use equicrypt_spec::{Axis, Kind, ModelConfig, Role, Side, TensorSpec};
use faer::{MatMut, MatRef};
use rayon::prelude::*;

use super::draws::{Draws, Part};
use super::key_matrix::KeyMatrices;
use super::layer::LayerSecrets;
use super::{AloePri, merged_gain, refused};
use crate::Error;

/// One write pass.
pub(super) struct Write<'a> {
    pub(super) scheme: &'a AloePri,
    pub(super) checkpoint: &'a Checkpoint,
    pub(super) source: &'a ModelConfig,
    pub(super) dtype: Option<Dtype>,
    pub(super) seed: [u8; 32],
    pub(super) kappa: f64,
    pub(super) keys: KeyMatrices,
    pub(super) layers: Vec<LayerSecrets>,
    /// The plain id behind each row of embedding and head.
    pub(super) plain_of: &'a [u32],
}

impl Write<'_> {
    /// What will be written for `tensors` of the obfuscated model.
    pub(super) fn headers(&self, tensors: &[TensorSpec]) -> Result<Vec<TensorHeader>, Error> {
        let header = |spec: &TensorSpec| {
            let own = self.checkpoint.tensor(&self.source_name(spec));
            let dtype = self.dtype.or(own.map(|tensor| tensor.dtype));
            let dtype = dtype.ok_or_else(|| {
                refused(format!(
                    "tensor {:?} has no source in the original",
                    spec.name
                ))
            })?;
            Ok(TensorHeader::new(spec.name.as_str(), dtype, &spec.shape))
        };
        tensors.iter().map(header).collect()
    }

    /// Writes them.
    pub(super) fn run(
        &self,
        tensors: &[TensorSpec],
        writer: &CheckpointWriter,
    ) -> Result<(), Error> {
        let headers = self.headers(tensors)?;
        let jobs: Vec<_> = tensors.iter().zip(&headers).enumerate().collect();
        let (ids, others): (Vec<_>, Vec<_>) = (jobs.into_iter())
            .partition(|(_, (spec, _))| matches!(spec.row.role, Role::Embed | Role::Head));
        others
            .into_par_iter()
            .try_for_each(|(index, (spec, header))| {
                let values = self.tensor(index, spec)?;
                put(writer, header, 0, &values)
            })?;
        ids.into_iter()
            .try_for_each(|(index, (spec, header))| self.ids(index, spec, header, writer))
    }

    /// A tensor without rows of ids.
    fn tensor(&self, index: usize, spec: &TensorSpec) -> Result<Vec<f64>, Error> {
        if matches!(spec.row.kind, Kind::Gain { .. }) {
            return Ok(vec![self.kappa; spec.shape.iter().product()]);
        }
        let values = self.rows(spec)?;
        let place = Residual::of(&spec.row.kind);
        let width = match place {
            Residual::Absent => 1,
            Residual::Read | Residual::Written => self.source.hidden_size,
        };
        let count = values.len() / width.max(1);
        let x = match place {
            Residual::Written => MatRef::from_row_major_slice(&values, width, count).transpose(),
            _ => MatRef::from_row_major_slice(&values, count, width),
        };
        let pieces = match spec.layer.and_then(|layer| self.layers.get(layer)) {
            Some(layer) => layer.hide(spec.row.role, x),
            None => vec![x.to_owned()],
        };

        let mut out = vec![0.0; spec.shape.iter().product()];
        let mut all = match place {
            Residual::Written => {
                MatMut::from_row_major_slice_mut(&mut out, self.keys.writing.width(), count)
                    .transpose_mut()
            }
            Residual::Read => {
                MatMut::from_row_major_slice_mut(&mut out, count, self.keys.reading.width())
            }
            Residual::Absent => MatMut::from_row_major_slice_mut(&mut out, count, 1),
        };
        let rng = &mut Draws::new(&self.seed, Part::Tensor(index));
        let mut start = 0;
        for piece in pieces {
            let mut to = all.as_mut().subrows_mut(start, piece.nrows());
            start += piece.nrows();
            match place {
                Residual::Read => self.keys.reading.draw(rng).apply(piece.as_ref(), to),
                Residual::Written => self.keys.writing.draw(rng).apply(piece.as_ref(), to),
                Residual::Absent => to.copy_from(&piece),
            }
        }
        Ok(out)
    }

    /// Embedding or head: noise, the permutation of ids, one key matrix; a block of rows at a time.
    fn ids(
        &self,
        index: usize,
        spec: &TensorSpec,
        header: &TensorHeader,
        writer: &CheckpointWriter,
    ) -> Result<(), Error> {
        let (alpha, family) = match spec.row.role {
            Role::Embed => (self.scheme.alpha_e, &self.keys.writing),
            _ => (self.scheme.alpha_h, &self.keys.reading),
        };
        let mut source = self.rows(spec)?;
        let deviation = alpha * deviation(&source);
        let width = self.source.hidden_size;
        source
            .par_chunks_mut(BLOCK_ROWS * width)
            .enumerate()
            .for_each(|(block, rows)| {
                if deviation > 0.0 {
                    Draws::new(&self.seed, Part::Noise(index, block)).add_noise(rows, deviation);
                }
            });
        let key = family.draw(&mut Draws::new(&self.seed, Part::Tensor(index)));
        let wide = family.width();
        (self.plain_of.par_chunks(BLOCK_ROWS).enumerate()).try_for_each(|(block, plain)| {
            let mut rows = Vec::with_capacity(plain.len() * width);
            for id in plain {
                rows.extend_from_slice(&source[*id as usize * width..][..width]);
            }
            let mut out = vec![0.0; plain.len() * wide];
            key.apply(
                MatRef::from_row_major_slice(&rows, plain.len(), width),
                MatMut::from_row_major_slice_mut(&mut out, plain.len(), wide),
            );
            put(writer, header, block * BLOCK_ROWS * wide, &out)
        })
    }

    /// The source tensor, the gain that it takes in merged into its columns.
    fn rows(&self, spec: &TensorSpec) -> Result<Vec<f64>, Error> {
        let mut values = self.checkpoint.read_f64(&self.source_name(spec))?;
        if let Some(gain) = merged_gain(self.source, spec) {
            let gain = self.checkpoint.read_f64(&gain)?;
            for row in values.chunks_mut(gain.len().max(1)) {
                row.iter_mut().zip(&gain).for_each(|(value, g)| *value *= g);
            }
        }
        Ok(values)
    }

    /// The tensor of the original: a tied head is the embedding.
    fn source_name(&self, spec: &TensorSpec) -> String {
        let role = match spec.row.role {
            Role::Head if self.source.tied_head => Role::Embed,
            role => role,
        };
        let row = self.source.architecture.row(role, self.source, spec.layer);
        row.map_or_else(
            || spec.name.clone(),
            |row| row.tensor_name(spec.layer, None),
        )
    }
}

/// What a linear layer or its bias has to do with the residual stream.
#[derive(Clone, Copy)]
enum Residual {
    Read,
    Written,
    Absent,
}

impl Residual {
    fn of(kind: &Kind) -> Self {
        let hidden = |side: &Side| {
            side.factors()
                .iter()
                .any(|factor| factor.axis == Axis::Hidden)
        };
        match kind {
            Kind::Linear { input, .. } if hidden(input) => Self::Read,
            Kind::Linear { out, .. } | Kind::Bias { out } if hidden(out) => Self::Written,
            _ => Self::Absent,
        }
    }
}

/// The standard deviation of all values.
fn deviation(values: &[f64]) -> f64 {
    let count = values.len().max(1) as f64;
    let mean = values.iter().sum::<f64>() / count;
    let square = values.iter().map(|v| (v - mean).powi(2)).sum::<f64>();
    (square / count).sqrt()
}

/// Rounds values to the tensor's dtype and writes them from its value `start` on.
fn put(
    writer: &CheckpointWriter,
    header: &TensorHeader,
    start: usize,
    values: &[f64],
) -> Result<(), Error> {
    let most = if header.dtype == Dtype::F16 {
        F16_MAX
    } else {
        f64::from(f32::MAX)
    };
    if values
        .iter()
        .any(|value| value.is_nan() || value.abs() > most)
    {
        return Err(refused(format!(
            "tensor {:?} does not fit {} any more; use another dtype, or a smaller lambda",
            header.name,
            header.dtype.name()
        )));
    }
    let size = header.dtype.size();
    let mut bytes = vec![0; values.len() * size];
    header.dtype.encode_f64(values, &mut bytes);
    Ok(writer.write(&header.name, (start * size) as u64, &bytes)?)
}

/// Rows of ids that one thread works on at once.
const BLOCK_ROWS: usize = 1024;

const F16_MAX: f64 = 65504.0;
