use std::sync::Arc;

use equicrypt_spec::{Axis, Kind, ModelConfig, Op, Role, Task};

use super::distance::CLASSES;
use super::head::{Head, SentenceDense};
use super::model::{Layer, Model};
use crate::Error;
use crate::kernel::{Matrix, Real};
use crate::layers::{Dense, Linear, LinearId, Norm, NormKind, Projection, Rotary, Weights};

impl<T: Real> Model<T> {
    /// Sorts the weights into layers.
    pub(super) fn new(config: &ModelConfig, weights: Weights<T>) -> Result<Self, Error> {
        let model_type = config.architecture.model_type;
        if !config.task.is_of_encoder() || config.kv_heads != config.heads {
            return Err(Error::NoEncoder { model_type });
        }
        if config.distance_classes != 0 && config.distance_classes < CLASSES {
            return Err(Error::Architecture {
                model_type,
                missing: format!("{CLASSES} classes of distances"),
            });
        }
        Builder { config, weights }.model()
    }
}

struct Builder<'a, T> {
    config: &'a ModelConfig,
    weights: Weights<T>,
}

impl<T: Real> Builder<'_, T> {
    fn model(mut self) -> Result<Model<T>, Error> {
        let config = self.config;
        let embedding = Arc::new(self.weights.matrix(config, Role::Embed, None)?);
        let layers = (0..config.layers).map(|layer| self.layer(layer));
        let layers = layers.collect::<Result<_, _>>()?;
        let sentence_dense = match config
            .sentence
            .as_ref()
            .and_then(|head| head.dense.as_ref())
        {
            Some(_) => Some(SentenceDense {
                linear: self.linear(Projection::SentenceDense.of(None))?,
            }),
            None => None,
        };
        Ok(Model {
            config: config.clone(),
            rotary: Rotary::all(config),
            positions: self.table(Role::PositionEmbed)?,
            token_types: self.table(Role::TokenTypeEmbed)?,
            embedding_norm: self.norm(Role::EmbedNorm, Role::EmbedNormBias, None)?,
            distances: self.table(Role::DistanceBias)?,
            layers,
            final_norm: self.norm(Role::FinalNorm, Role::FinalNormBias, None)?,
            head: self.head(&embedding)?,
            embedding,
            sentence_dense,
        })
    }

    fn layer(&mut self, index: usize) -> Result<Layer<T>, Error> {
        let layer = Some(index);
        let mut ops = self.config.architecture.ops(self.config);
        let is_gated = ops.any(|op| op == Op::Gate(Axis::Ffn));
        Ok(Layer {
            attention_norm: self.norm(Role::AttentionNorm, Role::AttentionNormBias, layer)?,
            query_key_value: self.linear(Projection::QueryKeyValue.of(layer))?,
            output: self.linear(Projection::Output.of(layer))?,
            attention_sum_norm: self.norm(
                Role::AttentionSumNorm,
                Role::AttentionSumNormBias,
                layer,
            )?,
            mlp_norm: self.norm(Role::MlpNorm, Role::MlpNormBias, layer)?,
            up: self.linear(Projection::GateUp.of(layer))?,
            is_gated,
            down: self.linear(Projection::Down.of(layer))?,
            mlp_sum_norm: self.norm(Role::MlpSumNorm, Role::MlpSumNormBias, layer)?,
        })
    }

    fn head(&mut self, embedding: &Arc<Matrix<T>>) -> Result<Head<T>, Error> {
        let config = self.config;
        // A pooler is in some checkpoints of a body and not in others.
        let dense = match self.weights.has(Role::HeadDense, None) {
            true => Some(self.linear(Projection::HeadDense.of(None))?),
            false if self.requires(Role::HeadDense) => {
                let model_type = config.architecture.model_type;
                return Err(Error::missing_role(model_type, Role::HeadDense));
            }
            false => None,
        };
        let last: Option<Box<dyn Linear>> = match config.task {
            Task::MaskedToken if config.tied_head => {
                let bias = match self.weights.has(Role::HeadBias, None) {
                    true => Some(self.weights.vector(config, Role::HeadBias, None)?),
                    false => None,
                };
                Some(Box::new(Dense {
                    weight: Arc::clone(embedding),
                    bias,
                }))
            }
            Task::MaskedToken => Some(self.linear(Projection::Head.of(None))?),
            task if task.has_labels() => Some(self.linear(Projection::Labels.of(None))?),
            _ => None,
        };
        Ok(Head {
            dense,
            norm: self.norm(Role::HeadNorm, Role::HeadNormBias, None)?,
            last,
        })
    }

    fn requires(&self, role: Role) -> bool {
        let row = self.config.architecture.row(role, self.config, None);
        row.is_some_and(|row| !row.optional)
    }

    fn linear(&mut self, id: LinearId) -> Result<Box<dyn Linear>, Error> {
        Ok(Box::new(self.weights.linear(self.config, id)?))
    }

    /// An embedding, if the architecture has it.
    fn table(&mut self, role: Role) -> Result<Option<Matrix<T>>, Error> {
        let config = self.config;
        match config.architecture.row(role, config, None) {
            Some(_) => Ok(Some(self.weights.matrix(config, role, None)?)),
            None => Ok(None),
        }
    }

    /// The norm, if the architecture has it there.
    fn norm(
        &mut self,
        role: Role,
        bias: Role,
        layer: Option<usize>,
    ) -> Result<Option<Norm<T>>, Error> {
        let (config, arch) = (self.config, self.config.architecture);
        let Some(row) = arch.row(role, config, layer) else {
            return Ok(None);
        };
        let gain = self.weights.vector(config, role, layer)?;
        let axes: Vec<Axis> = match row.kind {
            Kind::Gain { axis, .. } => axis.factors().iter().map(|f| f.axis).collect(),
            _ => Vec::new(),
        };
        let removes_mean = arch
            .ops(config)
            .any(|op| matches!(op, Op::LayerNorm { axis, .. } if axes.contains(&axis)));
        if !removes_mean {
            return Ok(Some(Norm::root_mean_square(gain)));
        }
        let bias = match arch.row(bias, config, layer) {
            Some(_) => self.weights.vector(config, bias, layer)?,
            None => vec![T::zero(); gain.len()],
        };
        let kind = NormKind::MeanAndVariance { bias };
        Ok(Some(Norm { gain, kind }))
    }
}
