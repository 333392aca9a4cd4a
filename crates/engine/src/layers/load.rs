use std::collections::HashMap;
use std::sync::Arc;

use equicrypt_checkpoint::{Checkpoint, Dtype};
use equicrypt_spec::{Kind, Layout, ModelConfig, Role, Side, TensorKey, TensorSpec};
use pulp::bytemuck;
use rayon::prelude::*;

use super::{Dense, LinearId, Projection};
use crate::Error;
use crate::kernel::{Matrix, Numbers, Real, Storage};

/// A model's tensors by what they are for.
pub(crate) struct Weights<T> {
    tensors: HashMap<TensorKey, (TensorSpec, Numbers<T>)>,
    /// How linear layers are kept.
    storage: Storage,
}

impl<T: Real> Weights<T> {
    /// Reads every tensor of a checkpoint, several at a time; `read` gives the values of those that
    /// cannot be stored as they are.
    pub(crate) fn read_checkpoint(
        checkpoint: &Checkpoint,
        tensors: Vec<TensorSpec>,
        storage: Storage,
        read: impl Fn(&str) -> Result<Vec<T>, equicrypt_checkpoint::Error> + Sync,
    ) -> Result<Self, Error> {
        let one = |tensor: TensorSpec| {
            let values = match halves(checkpoint, &tensor.name)? {
                Some(stored) => Numbers::Half(stored),
                None => Numbers::new(read(&tensor.name)?),
            };
            keep(tensor, values)
        };
        let tensors = tensors.into_par_iter().with_max_len(1).map(one);
        Ok(Self {
            tensors: tensors.collect::<Result<_, _>>()?,
            storage,
        })
    }

    /// Reads every tensor in order.
    pub(crate) fn read(
        tensors: Vec<TensorSpec>,
        storage: Storage,
        read: &mut dyn FnMut(&TensorSpec) -> Result<Vec<T>, Error>,
    ) -> Result<Self, Error> {
        let one = |tensor: TensorSpec| {
            let values = Numbers::new(read(&tensor)?);
            keep(tensor, values)
        };
        Ok(Self {
            tensors: tensors.into_iter().map(one).collect::<Result<_, _>>()?,
            storage,
        })
    }

    /// What the model needs even if its linear layers are computed elsewhere, without what is optional and not in `checkpoint`.
    pub(crate) fn local(config: &ModelConfig, checkpoint: Option<&Checkpoint>) -> Vec<TensorSpec> {
        let mut tensors = config.architecture.tensors(config);
        tensors.retain(|tensor| {
            let lacks =
                checkpoint.is_some_and(|checkpoint| checkpoint.tensor(&tensor.name).is_none());
            Self::is_local(config, tensor) && !(tensor.row.optional && lacks)
        });
        tensors
    }

    /// Whether the model needs the tensor even if its linear layers are computed elsewhere.
    pub(crate) fn is_local(config: &ModelConfig, tensor: &TensorSpec) -> bool {
        match (tensor.row.kind, tensor.row.role) {
            (Kind::Embed { .. } | Kind::Gain { .. } | Kind::NormBias { .. }, _) => true,
            // The head is computed where the embedding is.
            (Kind::Bias { .. }, Role::HeadBias) => config.tied_head,
            (Kind::Bias { .. }, role) => role == Role::RouterBias,
            (Kind::Linear { .. }, _) => false,
        }
    }

    /// A gain or a bias.
    pub(crate) fn vector(
        &mut self,
        config: &ModelConfig,
        role: Role,
        layer: Option<usize>,
    ) -> Result<Vec<T>, Error> {
        let (_, values) = self.take(config, key(role, layer))?;
        Ok(values.into_full())
    }

    /// The matrix of an embedding; `is_head` if it is the head's too.
    pub(crate) fn embedding(
        &mut self,
        config: &ModelConfig,
        role: Role,
        is_head: bool,
    ) -> Result<Matrix<T>, Error> {
        let (tensor, values) = self.take(config, key(role, None))?;
        let columns = tensor.shape.get(1).copied().unwrap_or(0);
        let storage = if is_head {
            self.storage
        } else {
            Storage::Exact
        };
        matrix(&tensor.name, columns, values, storage)
    }

    /// A linear layer: the rows of several tensors over each other, with their biases. A tensor that holds several kinds of
    /// rows in turn is sorted by kind.
    pub(crate) fn linear(&mut self, config: &ModelConfig, id: LinearId) -> Result<Dense<T>, Error> {
        let (weights, biases) = self.roles(id);
        let (mut stacked, mut columns, mut name) = (None, 0, String::new());
        for role in weights {
            let (tensor, values) = self.take(config, id.of(*role))?;
            let Kind::Linear { out, input, layout } = tensor.row.kind else {
                return Err(Error::missing_role(config.architecture.model_type, *role));
            };
            columns = input.size(config);
            name = tensor.name;
            let values = match layout {
                Layout::OutByInput => values,
                Layout::InputByOut => values.transposed(columns),
            };
            let values = values.sorted(&order(*role, out, config), columns);
            stacked = Some(match stacked {
                None => values,
                Some(above) => Numbers::join(above, values),
            });
        }
        let stacked = stacked.unwrap_or(Numbers::Full(Vec::new()));
        // What chooses among experts is small, and a rounded choice is another choice.
        let storage = match id.projection {
            Projection::Router | Projection::SharedShare => Storage::Exact,
            _ => self.storage,
        };
        let weight = Arc::new(matrix(&name, columns, stacked, storage)?);
        let mut bias = Vec::new();
        for role in biases {
            if let Some((tensor, values)) = self.tensors.remove(&id.of(*role))
                && let Kind::Bias { out } = tensor.row.kind
            {
                let sorted = values.sorted(&order(*role, out, config), 1);
                bias.extend(sorted.into_full());
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

    /// Whether the checkpoint has the tensor.
    pub(crate) fn has(&self, role: Role, layer: Option<usize>) -> bool {
        self.tensors.contains_key(&key(role, layer))
    }

    /// The tensors that a linear layer is stacked of, whichever of them the architecture has.
    fn roles(&self, id: LinearId) -> Stack {
        let found = id.stack(|key| self.tensors.contains_key(key));
        found.unwrap_or(roles(id.projection)[0])
    }

    fn take(
        &mut self,
        config: &ModelConfig,
        key: TensorKey,
    ) -> Result<(TensorSpec, Numbers<T>), Error> {
        let model_type = config.architecture.model_type;
        self.tensors
            .remove(&key)
            .ok_or_else(|| Error::missing_role(model_type, key.role))
    }
}

fn key(role: Role, layer: Option<usize>) -> TensorKey {
    let expert = None;
    TensorKey {
        role,
        layer,
        expert,
    }
}

impl LinearId {
    /// What the layer is stacked of in a model that has these tensors; none if it has no such layer.
    pub(super) fn stack(self, has: impl Fn(&TensorKey) -> bool) -> Option<Stack> {
        let candidates = roles(self.projection).iter();
        let mut found =
            candidates.filter(|(weights, _)| weights.iter().all(|role| has(&self.of(*role))));
        found.next().copied()
    }

    /// The tensor with this role in the same place.
    pub(super) fn of(self, role: Role) -> TensorKey {
        TensorKey {
            role,
            layer: self.layer,
            expert: self.expert,
        }
    }
}

/// The rows of a tensor that holds several kinds of them, kind by kind; of any other tensor as they stand.
fn order(role: Role, out: Side, config: &ModelConfig) -> Vec<usize> {
    match role {
        Role::QueryKeyValue | Role::QueryKeyValueBias | Role::KeyValueUp => {
            out.parts(config).concat()
        }
        _ => Vec::new(),
    }
}

fn matrix<T: Real>(
    name: &str,
    columns: usize,
    values: Numbers<T>,
    storage: Storage,
) -> Result<Matrix<T>, Error> {
    let found = values.len();
    let rows = found.checked_div(columns).unwrap_or(0);
    if columns == 0 || rows * columns != found {
        return Err(Error::TensorLength {
            name: name.to_owned(),
            expected: rows * columns,
            found,
        });
    }
    Matrix::new(rows, columns, values, storage).ok_or_else(|| Error::Unquantised {
        name: name.to_owned(),
    })
}

/// What a linear layer is stacked of: weights, and biases where there are any.
pub(super) type Stack = (&'static [Role], &'static [Role]);

/// What a linear layer may be stacked of.
fn roles(projection: Projection) -> &'static [Stack] {
    use Role as R;
    match projection {
        Projection::QueryKeyValue => &[
            (
                &[R::Query, R::Key, R::Value],
                &[R::QueryBias, R::KeyBias, R::ValueBias],
            ),
            (&[R::QueryKeyValue], &[R::QueryKeyValueBias]),
        ],
        Projection::Query => &[(&[R::Query], &[])],
        Projection::QueryDown => &[(&[R::QueryDown], &[R::QueryDownBias])],
        Projection::QueryUp => &[(&[R::QueryUp], &[])],
        Projection::KeyValueDown => &[(&[R::KeyValueDown], &[R::KeyValueDownBias])],
        Projection::KeyValueUp => &[(&[R::KeyValueUp], &[])],
        Projection::Output => &[(&[R::Output], &[R::OutputBias])],
        Projection::GateUp => &[
            (&[R::Gate, R::Up], &[R::GateBias, R::UpBias]),
            (&[R::GateUp], &[R::GateUpBias]),
            (&[R::Up], &[R::UpBias]),
        ],
        Projection::Down => &[(&[R::Down], &[R::DownBias])],
        Projection::Router => &[(&[R::Router], &[])],
        Projection::ExpertGateUp => &[(&[R::ExpertGate, R::ExpertUp], &[])],
        Projection::ExpertDown => &[(&[R::ExpertDown], &[])],
        Projection::SharedGateUp => &[(&[R::SharedGate, R::SharedUp], &[])],
        Projection::SharedDown => &[(&[R::SharedDown], &[])],
        Projection::SharedShare => &[(&[R::SharedShare], &[])],
        Projection::Head => &[(&[R::Head], &[R::HeadBias])],
        Projection::HeadDense => &[(&[R::HeadDense], &[R::HeadDenseBias])],
        Projection::Labels => &[(&[R::Labels], &[R::LabelsBias])],
        Projection::SentenceDense => &[(&[R::SentenceDense], &[R::SentenceDenseBias])],
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
type Entry<T> = (TensorKey, (TensorSpec, Numbers<T>));

fn keep<T: Real>(tensor: TensorSpec, values: Numbers<T>) -> Result<Entry<T>, Error> {
    let expected = tensor.shape.iter().product();
    if values.len() != expected {
        return Err(Error::TensorLength {
            name: tensor.name,
            expected,
            found: values.len(),
        });
    }
    Ok((tensor.key(), (tensor, values)))
}
