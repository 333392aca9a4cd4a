use std::collections::HashMap;

use equicrypt_checkpoint::Checkpoint;
use equicrypt_spec::{ModelConfig, TensorKey, TensorSpec};

use super::{Dense, Linear, LinearId, Projection, Weights};
use crate::kernel::{Matrix, Real, Storage};
use crate::{Error, Precision};

/// The linear layers of a checkpoint, stacked as a decoder or an encoder asks for them: for who computes them elsewhere.
pub struct LinearLayers<'a> {
    checkpoint: &'a Checkpoint,
    config: ModelConfig,
    tensors: HashMap<TensorKey, TensorSpec>,
    ids: Vec<LinearId>,
}

/// The weights of one of them, and its bias if it has one.
pub struct LinearWeights {
    dense: Dense<f64>,
}

impl<'a> LinearLayers<'a> {
    /// Of a whole model. The header is checked against the architecture's table both ways.
    ///
    /// # Errors
    /// If `config.json` or the header are not those of a supported model.
    pub fn open(checkpoint: &'a Checkpoint) -> Result<Self, Error> {
        let config = checkpoint.model_config()?;
        let header = checkpoint
            .tensors()
            .map(|t| (t.name.as_str(), t.shape.as_slice()));
        let tensors = config.architecture.check(&config, header)?;
        Ok(Self::new(checkpoint, config, tensors))
    }

    /// Of as much of a model as a folder has, under the names of the table.
    ///
    /// # Errors
    /// If `config.json` is not that of a supported model.
    pub fn open_part(checkpoint: &'a Checkpoint) -> Result<Self, Error> {
        let config = checkpoint.model_config()?;
        let mut tensors = config.architecture.tensors(&config);
        tensors.retain(|tensor| {
            let found = checkpoint.tensor(&tensor.name);
            found.is_some_and(|found| found.shape == tensor.shape)
        });
        Ok(Self::new(checkpoint, config, tensors))
    }

    fn new(checkpoint: &'a Checkpoint, config: ModelConfig, tensors: Vec<TensorSpec>) -> Self {
        let tensors: HashMap<_, _> = (tensors.into_iter())
            .map(|tensor| (tensor.key(), tensor))
            .collect();
        let experts = config.experts.as_ref().map_or(0, |experts| experts.count);
        let layers = (0..config.layers).map(Some).chain([None]);
        let ids = layers
            .flat_map(|layer| {
                let own = Projection::ALL.into_iter().map(move |p| p.of(layer));
                own.flat_map(move |id| match id.projection {
                    Projection::ExpertGateUp => (0..experts)
                        .flat_map(|expert| {
                            Projection::OF_EXPERT.map(|p| p.of_expert(layer, expert))
                        })
                        .collect(),
                    Projection::ExpertDown => Vec::new(),
                    _ => vec![id],
                })
            })
            // Queries are a layer of their own where keys come out of a latent vector.
            .filter(|id| id.projection != Projection::Query || config.latent.is_some())
            .filter(|id| id.stack(|key| tensors.contains_key(key)).is_some())
            .collect();
        Self {
            checkpoint,
            config,
            tensors,
            ids,
        }
    }

    /// What the model is.
    #[must_use]
    pub fn config(&self) -> &ModelConfig {
        &self.config
    }

    /// All of them, about in the order in which a token passes them. A head that is the embedding is none.
    #[must_use]
    pub fn ids(&self) -> &[LinearId] {
        &self.ids
    }

    /// What a model needs of the checkpoint even if its linear layers are computed elsewhere, in the table's order and under
    /// the checkpoint's names.
    #[must_use]
    pub fn others(&self) -> Vec<&TensorSpec> {
        let all = self.config.architecture.tensors(&self.config);
        let found = all.iter().filter_map(|t| self.tensors.get(&t.key()));
        found
            .filter(|tensor| Weights::<f64>::is_local(&self.config, tensor))
            .collect()
    }

    /// The tensors that a layer is stacked of.
    ///
    /// # Errors
    /// If the model has no such layer.
    pub fn tensors_of(&self, id: LinearId) -> Result<Vec<&TensorSpec>, Error> {
        let stack = id.stack(|key| self.tensors.contains_key(key));
        let (weights, biases) = stack.ok_or_else(|| Error::Linear {
            layer: id.to_string(),
            problem: format!("{} has no such layer", self.checkpoint.dir().display()),
        })?;
        let roles = weights.iter().chain(biases);
        Ok(roles
            .filter_map(|role| self.tensors.get(&id.of(*role)))
            .collect())
    }

    /// Reads a layer.
    ///
    /// # Errors
    /// If the model has no such layer, or the files cannot be read.
    pub fn read(&self, id: LinearId) -> Result<LinearWeights, Error> {
        let read = |name: &str| self.checkpoint.read_f64(name);
        let dense = self.dense(id, Storage::Exact, read)?;
        Ok(LinearWeights { dense })
    }

    /// The layer, computed here, for a decoder of this precision.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub fn here(&self, id: LinearId, precision: Precision) -> Result<Box<dyn Linear>, Error> {
        let storage = precision.storage();
        Ok(match precision {
            Precision::F64 => {
                let read = |name: &str| self.checkpoint.read_f64(name);
                Box::new(self.dense::<f64>(id, storage, read)?)
            }
            Precision::F32 | Precision::Bf16 | Precision::Q8_0 => {
                let read = |name: &str| self.checkpoint.read_f32(name);
                Box::new(self.dense::<f32>(id, storage, read)?)
            }
        })
    }

    fn dense<T: Real>(
        &self,
        id: LinearId,
        storage: Storage,
        read: impl Fn(&str) -> Result<Vec<T>, equicrypt_checkpoint::Error> + Sync,
    ) -> Result<Dense<T>, Error> {
        let tensors = self.tensors_of(id)?.into_iter().cloned().collect();
        Weights::read_checkpoint(self.checkpoint, tensors, storage, read)?.linear(&self.config, id)
    }
}

impl LinearWeights {
    /// Numbers that go in.
    #[must_use]
    pub fn inputs(&self) -> usize {
        self.matrix().columns()
    }

    /// Numbers that come out.
    #[must_use]
    pub fn outputs(&self) -> usize {
        self.matrix().rows()
    }

    /// Appends the weights that lead to one output.
    ///
    /// # Panics
    /// If there is no such output.
    pub fn append_row(&self, output: usize, weights: &mut Vec<f64>) {
        self.matrix().append_row(output, weights);
    }

    /// What is added to the outputs.
    #[must_use]
    pub fn bias(&self) -> Option<&[f64]> {
        self.dense.bias.as_deref()
    }

    fn matrix(&self) -> &Matrix<f64> {
        &self.dense.weight
    }
}
