use std::collections::HashMap;
use std::sync::Arc;

use equicrypt_spec::{Kind, ModelConfig, Role, TensorSpec};
use rayon::prelude::*;

use super::linear::Dense;
use super::{LinearId, Projection};
use crate::Error;
use crate::kernel::{Matrix, Real};

/// A model's tensors by what they are for.
pub(super) struct Weights<T>(HashMap<(Role, Option<usize>), (TensorSpec, Vec<T>)>);

impl<T: Real> Weights<T> {
    /// Reads every tensor, several at a time.
    pub(super) fn read_parallel(
        tensors: Vec<TensorSpec>,
        read: impl Fn(&str) -> Result<Vec<T>, Error> + Sync,
    ) -> Result<Self, Error> {
        tensors
            .into_par_iter()
            .with_max_len(1)
            .map(|tensor| {
                let values = read(&tensor.name)?;
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
                let values = read(&tensor)?;
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
        Ok(values)
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
                bias.extend(values);
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
        let (mut rows, mut columns, mut stacked, mut name) = (0, 0, Vec::new(), String::new());
        for role in roles {
            let (tensor, values) = self.take(config, *role, layer)?;
            rows += tensor.shape.first().copied().unwrap_or(0);
            columns = tensor.shape.get(1).copied().unwrap_or(0);
            name = tensor.name;
            if stacked.is_empty() {
                stacked = values;
            } else {
                stacked.extend_from_slice(&values);
            }
        }
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
    ) -> Result<(TensorSpec, Vec<T>), Error> {
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

type Entry<T> = ((Role, Option<usize>), (TensorSpec, Vec<T>));

fn keep<T>(tensor: TensorSpec, values: Vec<T>) -> Result<Entry<T>, Error> {
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
