use std::ops::Range;
use std::sync::Arc;

use equicrypt_checkpoint::{Checkpoint, Dtype};
use equicrypt_spec::{Kind, Layout, Role, Side};

use super::{BLOCK_VALUES, Pass, blocks};
use crate::Error;
use crate::element::Element;
use crate::plan::{Gain, OutputTensor, Work};
use crate::real::Real;
use crate::rewrite::{Action, Form, LANES};

/// A source tensor as a matrix, and the maps that act on it. A vector is a matrix with one column.
pub(super) struct Ready<T: Real> {
    pub(super) source: String,
    /// Rows and columns of the source; those of the output may be more.
    pub(super) from: (usize, usize),
    /// Rows and columns of the output.
    pub(super) to: (usize, usize),
    pub(super) rows: Action<T>,
    pub(super) columns: Option<Action<T>>,
    /// What each row of the source is multiplied by, if not by one.
    pub(super) row_factors: Option<Vec<T>>,
    /// What each column of the source is multiplied by, if not by one.
    pub(super) column_factors: Option<Vec<T>>,
    pub(super) scale: T,
    /// What is added to the source before anything else, and its standard deviation.
    pub(super) noise: Option<(&'static str, f64)>,
    /// The dtype of the source.
    pub(super) dtype: Dtype,
    /// The source itself, if it is so small that reading its rows one by one would take longer.
    pub(super) whole: Option<Vec<u8>>,
}

impl<T: Real> Ready<T> {
    /// How rows lie one behind the other while they are made: apart where columns are mixed.
    pub(super) fn form(&self) -> Form {
        let width = self.to.1;
        let mixes = |columns: &Action<T>| columns.as_monomial().is_none();
        let apart = self.columns.as_ref().is_some_and(mixes);
        Form {
            width,
            stride: if apart { width + LANES } else { width },
        }
    }

    /// What a row of the source is multiplied by.
    pub(super) fn row_factor(&self, row: u32) -> T {
        match &self.row_factors {
            Some(factors) => factors[row as usize] * self.scale,
            None => self.scale,
        }
    }
}

impl<T: Real> Pass<'_, T> {
    /// The maps of the tensor's sides: M on what comes out, M^-T on what goes in.
    pub(super) fn ready(&self, output: &OutputTensor) -> Result<Ready<T>, Error> {
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
        let whole = match tensor {
            Some(tensor) if tensor.byte_len <= WHOLE_BYTES => {
                let mut bytes = vec![0; tensor.byte_len as usize];
                self.source.read(&source, 0, &mut bytes)?;
                Some(bytes)
            }
            _ => None,
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
            dtype: tensor.map_or(Dtype::F32, |tensor| tensor.dtype),
            whole,
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

/// Source tensors up to 2 MB are read at once.
const WHOLE_BYTES: u64 = 2 << 20;
