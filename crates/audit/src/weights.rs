//! A checkpoint as an adversary reads it: matrices by what they do, with the norms' gains folded in.

use std::collections::HashMap;
use std::path::Path;
use std::sync::OnceLock;

use equicrypt_checkpoint::Checkpoint;
use equicrypt_spec::{Kind, Layout, ModelConfig, Role, TensorKey};

use crate::Error;
use crate::algebra::product;
use crate::matrix::Matrix;

/// A checkpoint of either side. Every matrix comes with one row for each thing that it tells apart (a token, a neuron, a
/// coordinate of a head), and the gain of the norm in front multiplied into its columns: `rotate` folds gains, so only then are
/// the two sides comparable.
pub struct Weights {
    checkpoint: Checkpoint,
    config: ModelConfig,
    names: HashMap<TensorKey, String>,
    /// Row c of the embedding is row `rows[c]` of the file.
    rows: Option<Vec<u32>>,
    embedding: OnceLock<Matrix>,
}

impl Weights {
    /// Reads headers only.
    ///
    /// # Errors
    /// If the folder is not one of a supported model.
    pub fn open(dir: &Path) -> Result<Self, Error> {
        let checkpoint = Checkpoint::open(dir)?;
        let config = checkpoint.model_config()?;
        let header = checkpoint
            .tensors()
            .map(|t| (t.name.as_str(), t.shape.as_slice()));
        let tensors = config.architecture.check(&config, header)?;
        let names = tensors.into_iter().map(|t| (t.key(), t.name)).collect();
        Ok(Self {
            checkpoint,
            config,
            names,
            rows: None,
            embedding: OnceLock::new(),
        })
    }

    /// The same model with nothing encrypted but its token ids: row c of embedding and head is row `rows[c]`.
    pub(crate) fn with_shuffled_vocabulary(dir: &Path, rows: Vec<u32>) -> Result<Self, Error> {
        let weights = Self::open(dir)?;
        Ok(Self {
            rows: Some(rows),
            ..weights
        })
    }

    /// What the model is.
    #[must_use]
    pub fn config(&self) -> &ModelConfig {
        &self.config
    }

    /// The folder's checkpoint.
    pub(crate) fn checkpoint(&self) -> &Checkpoint {
        &self.checkpoint
    }

    /// Which row of the file a token's row is.
    pub(crate) fn shuffled(&self) -> Option<&[u32]> {
        self.rows.as_deref()
    }

    /// E: a row for each token.
    pub(crate) fn embedding(&self) -> Result<&Matrix, Error> {
        if let Some(embedding) = self.embedding.get() {
            return Ok(embedding);
        }
        let name = self
            .name(Role::Embed, None, None)
            .ok_or(Error::NoTensor { what: "embedding" })?;
        let matrix = self.read(name)?;
        Ok(self.embedding.get_or_init(|| match &self.rows {
            Some(rows) => matrix.gather(rows),
            None => matrix,
        }))
    }

    /// The rows of each neuron that a non-linearity acts on: gates, or where there are none what a plain MLP computes first.
    /// Of a mixture of experts all of them, one below the other.
    pub(crate) fn gates(&self, layer: usize) -> Result<Option<Matrix>, Error> {
        self.neurons(
            layer,
            Role::Gate,
            0,
            &[Role::Gate, Role::Up, Role::ExpertGate],
        )
    }

    /// The rows that gates are multiplied with; the same as [`Weights::gates`] where there are no gates.
    pub(crate) fn ups(&self, layer: usize) -> Result<Option<Matrix>, Error> {
        self.neurons(layer, Role::Up, 1, &[Role::Up, Role::ExpertUp])
    }

    /// What each neuron adds to the residual stream, in the order of [`Weights::ups`].
    pub(crate) fn downs(&self, layer: usize) -> Result<Option<Matrix>, Error> {
        let columns = |role, expert| -> Result<_, Error> {
            let matrix = self.linear(role, Some(layer), expert)?;
            Ok(matrix.map(|matrix| matrix.transposed()))
        };
        match columns(Role::Down, None)? {
            Some(matrix) => Ok(Some(matrix)),
            None => self.of_experts(|expert| columns(Role::ExpertDown, Some(expert))),
        }
    }

    /// W_v of a layer, all heads, without its bias; none where it is a part of another matrix.
    pub(crate) fn values(&self, layer: usize) -> Result<Option<Matrix>, Error> {
        self.linear(Role::Value, Some(layer), None)
    }

    /// Layers in which [`Weights::gates`] has something, at most `count`, spread over the model.
    pub(crate) fn some_layers(&self, count: usize) -> Vec<usize> {
        let has = |layer: &usize| {
            let roles = [Role::Gate, Role::Up, Role::GateUp];
            let dense = roles
                .into_iter()
                .any(|role| self.name(role, Some(*layer), None).is_some());
            dense || self.name(Role::ExpertGate, Some(*layer), Some(0)).is_some()
        };
        let layers: Vec<usize> = (0..self.config.layers).filter(has).collect();
        let step = layers.len().div_ceil(count.max(1)).max(1);
        layers.into_iter().step_by(step).collect()
    }

    /// One bias of a layer, zeros if there is none.
    pub(crate) fn vector(
        &self,
        role: Role,
        layer: Option<usize>,
    ) -> Result<Option<Vec<f32>>, Error> {
        let name = self.name(role, layer, None);
        Ok(name
            .map(|name| self.checkpoint.read_f32(name))
            .transpose()?)
    }

    /// A linear layer, a row for each coordinate of its output.
    pub(crate) fn linear(
        &self,
        role: Role,
        layer: Option<usize>,
        expert: Option<usize>,
    ) -> Result<Option<Matrix>, Error> {
        let Some(name) = self.name(role, layer, expert) else {
            return Ok(None);
        };
        let mut matrix = self.read(name)?;
        let row = self.config.architecture.row(role, &self.config, layer);
        if let Some(Kind::Linear {
            layout: Layout::InputByOut,
            ..
        }) = row.map(|row| row.kind)
        {
            matrix = matrix.transposed();
        }
        if let Some(gain) = self.gain_before(role, layer)? {
            matrix.scale_columns(&gain);
        }
        Ok(Some(matrix))
    }

    /// The rows of `role`; or the `half` of gates and ups in one matrix; or the first of `others` that there is.
    fn neurons(
        &self,
        layer: usize,
        role: Role,
        half: usize,
        others: &[Role],
    ) -> Result<Option<Matrix>, Error> {
        if let Some(matrix) = self.linear(role, Some(layer), None)? {
            return Ok(Some(matrix));
        }
        if let Some(both) = self.linear(Role::GateUp, Some(layer), None)? {
            let size = both.rows() / 2;
            let rows: Vec<u32> = (0..both.rows() as u32)
                .skip(half * size)
                .take(size)
                .collect();
            return Ok(Some(both.gather(&rows)));
        }
        for other in others {
            if let Some(matrix) = self.linear(*other, Some(layer), None)? {
                return Ok(Some(matrix));
            }
            let of_experts =
                self.of_experts(|expert| self.linear(*other, Some(layer), Some(expert)))?;
            if of_experts.is_some() {
                return Ok(of_experts);
            }
        }
        Ok(None)
    }

    fn of_experts(
        &self,
        of: impl Fn(usize) -> Result<Option<Matrix>, Error>,
    ) -> Result<Option<Matrix>, Error> {
        let count = self
            .config
            .experts
            .as_ref()
            .map_or(0, |experts| experts.count);
        let all: Result<Vec<_>, Error> = (0..count).filter_map(|e| of(e).transpose()).collect();
        Ok(Matrix::stacked(all?))
    }

    /// g + offset of the norm that nothing but linear layers reads, this one among them.
    fn gain_before(&self, role: Role, layer: Option<usize>) -> Result<Option<Vec<f32>>, Error> {
        let rows = self.config.architecture.rows();
        let gains = rows.filter(
            |row| matches!(row.kind, Kind::Gain { folds_into, .. } if folds_into.contains(&role)),
        );
        for row in gains {
            if let Some(mut gain) = self.vector(row.role, layer)? {
                let offset = self.config.gain_offset as f32;
                gain.iter_mut().for_each(|gain| *gain += offset);
                return Ok(Some(gain));
            }
        }
        Ok(None)
    }

    fn name(&self, role: Role, layer: Option<usize>, expert: Option<usize>) -> Option<&str> {
        let key = TensorKey {
            role,
            layer,
            expert,
        };
        self.names.get(&key).map(String::as_str)
    }

    fn read(&self, name: &str) -> Result<Matrix, Error> {
        let columns = self.checkpoint.tensor(name).and_then(|t| t.shape.last());
        let columns = columns.copied().unwrap_or(1);
        Ok(Matrix::new(columns, self.checkpoint.read_f32(name)?))
    }
}

/// E W^T: what each token gives each neuron, before any norm.
pub(crate) fn responses(embedding: &Matrix, neurons: &Matrix) -> Matrix {
    product(embedding.view(), neurons.view().transpose())
}
