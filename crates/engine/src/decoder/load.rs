use std::collections::HashMap;
use std::sync::Arc;

use equicrypt_checkpoint::{Checkpoint, Dtype};
use equicrypt_spec::{Kind, ModelConfig, Role, TensorSpec};
use pulp::bytemuck;
use rayon::prelude::*;

use super::linear::Dense;
use super::{LinearId, Projection};
use crate::Error;
use crate::kernel::{Matrix, Numbers, Real};

/// A model's tensors by what they are for.
pub(super) struct Weights<T>(HashMap<(Role, Option<usize>), (TensorSpec, Numbers<T>)>);

impl<T: Real> Weights<T> {
    /// Reads every tensor of a checkpoint, several at a time; `read` gives the values of those that
    /// cannot be stored as they are.
    pub(super) fn read_checkpoint(
        checkpoint: &Checkpoint,
        tensors: Vec<TensorSpec>,
        read: impl Fn(&str) -> Result<Vec<T>, equicrypt_checkpoint::Error> + Sync,
    ) -> Result<Self, Error> {
        tensors
            .into_par_iter()
            .with_max_len(1)
            .map(|tensor| {
                let values = match halves(checkpoint, &tensor.name)? {
                    Some(stored) => Numbers::Half(stored),
                    None => Numbers::new(read(&tensor.name)?),
                };
                keep(tensor, values)
            })
            .collect::<Result<_, _>>()
            .map(Self)
    }

    /// Reads every tensor in order.
    pub(super) fn read(
        tensors: Vec<TensorSpec>,
        read: &mut dyn FnMut(&TensorSpec) -> Result<Vec<T>, Error>,
    ) -> Result<Self, Error> {
        tensors
            .into_iter()
            .map(|tensor| {
                let values = Numbers::new(read(&tensor)?);
                keep(tensor, values)
            })
            .collect::<Result<_, _>>()
            .map(Self)
    }

    /// Whether the decoder needs the tensor even if its linear layers are computed elsewhere.
    pub(super) fn is_local(tensor: &TensorSpec) -> bool {
        matches!(tensor.row.kind, Kind::Embed { .. } | Kind::Gain { .. })
    }

    /// A norm's gain.
    pub(super) fn gain(
        &mut self,
        config: &ModelConfig,
        role: Role,
        layer: Option<usize>,
    ) -> Result<Vec<T>, Error> {
        let (_, values) = self.take(config, role, layer)?;
        Ok(values.into_full())
    }

    /// The matrix of an embedding.
    pub(super) fn matrix(
        &mut self,
        config: &ModelConfig,
        role: Role,
        layer: Option<usize>,
    ) -> Result<Matrix<T>, Error> {
        self.stack(config, &[role], layer)
    }

    /// A linear layer: the rows of several tensors over each other, with their biases.
    pub(super) fn linear(&mut self, config: &ModelConfig, id: LinearId) -> Result<Dense<T>, Error> {
        let (weights, biases) = roles(id.projection);
        let weight = Arc::new(self.stack(config, weights, id.layer)?);
        let mut bias = Vec::new();
        for role in biases {
            if let Some((_, values)) = self.0.remove(&(*role, id.layer)) {
                bias.extend(values.into_full());
            }
        }
        if !bias.is_empty() && bias.len() != weight.rows() {
            return Err(Error::TensorLength {
                name: format!("bias of {id}"),
                expected: weight.rows(),
                found: bias.len(),
            });
        }
        Ok(Dense {
            weight,
            bias: (!bias.is_empty()).then_some(bias),
        })
    }

    fn stack(
        &mut self,
        config: &ModelConfig,
        roles: &[Role],
        layer: Option<usize>,
    ) -> Result<Matrix<T>, Error> {
        let (mut rows, mut columns, mut name) = (0, 0, String::new());
        let mut stacked = None;
        for role in roles {
            let (tensor, values) = self.take(config, *role, layer)?;
            rows += tensor.shape.first().copied().unwrap_or(0);
            columns = tensor.shape.get(1).copied().unwrap_or(0);
            name = tensor.name;
            stacked = Some(match stacked {
                None => values,
                Some(above) => Numbers::join(above, values),
            });
        }
        let stacked = stacked.unwrap_or(Numbers::Full(Vec::new()));
        let found = stacked.len();
        Matrix::new(rows, columns, stacked).ok_or(Error::TensorLength {
            name,
            expected: rows.saturating_mul(columns),
            found,
        })
    }

    fn take(
        &mut self,
        config: &ModelConfig,
        role: Role,
        layer: Option<usize>,
    ) -> Result<(TensorSpec, Numbers<T>), Error> {
        let model_type = config.architecture.model_type;
        self.0
            .remove(&(role, layer))
            .ok_or_else(|| Error::missing_role(model_type, role))
    }
}

/// The tensors of a linear layer, and their biases, in the order in which they are stacked.
fn roles(projection: Projection) -> (&'static [Role], &'static [Role]) {
    match projection {
        Projection::QueryKeyValue => (
            &[Role::Query, Role::Key, Role::Value],
            &[Role::QueryBias, Role::KeyBias, Role::ValueBias],
        ),
        Projection::Output => (&[Role::Output], &[Role::OutputBias]),
        Projection::GateUp => (&[Role::Gate, Role::Up], &[Role::GateBias, Role::UpBias]),
        Projection::Down => (&[Role::Down], &[Role::DownBias]),
        Projection::Head => (&[Role::Head], &[]),
    }
}

/// The bits of a tensor that is stored as bfloat16.
fn halves(checkpoint: &Checkpoint, name: &str) -> Result<Option<Vec<u16>>, Error> {
    let Some(info) = checkpoint
        .tensor(name)
        .filter(|info| info.dtype == Dtype::Bf16)
    else {
        return Ok(None);
    };
    let mut bits = vec![0; info.elements() as usize];
    checkpoint.read(name, 0, bytemuck::cast_slice_mut(&mut bits))?;
    for bits in &mut bits {
        *bits = u16::from_le(*bits);
    }
    Ok(Some(bits))
}

/// What a tensor is for, and then the tensor.
type Entry<T> = ((Role, Option<usize>), (TensorSpec, Numbers<T>));

fn keep<T: Real>(tensor: TensorSpec, values: Numbers<T>) -> Result<Entry<T>, Error> {
    let expected = tensor.shape.iter().product();
    if values.len() != expected {
        return Err(Error::TensorLength {
            name: tensor.name,
            expected,
            found: values.len(),
        });
    }
    Ok(((tensor.row.role, tensor.layer), (tensor, values)))
}
