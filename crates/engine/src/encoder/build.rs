use equicrypt_spec::{Axis, Kind, ModelConfig, Op, Role, Task};

use super::affine::Affine;
use super::distance::CLASSES;
use super::head::Head;
use super::model::{Layer, Model};
use crate::Error;
use crate::kernel::{Matrix, Packed, Real};
use crate::layers::{LinearId, Linears, Norm, NormKind, Projection, Rotary, Weights};

impl<T: Real> Model<T> {
    /// Sorts the weights into layers; `linears` gives the linear layers if they are not among them.
    pub(super) fn new(
        config: &ModelConfig,
        weights: Weights<T>,
        linears: Option<&mut dyn Linears>,
    ) -> Result<Self, Error> {
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
        Builder {
            config,
            weights,
            linears,
        }
        .model()
    }
}

struct Builder<'a, 'l, T> {
    config: &'a ModelConfig,
    weights: Weights<T>,
    linears: Option<&'l mut dyn Linears>,
}

impl<T: Real> Builder<'_, '_, T> {
    fn model(mut self) -> Result<Model<T>, Error> {
        let config = self.config;
        let embedding = self.weights.embedding(config, Role::Embed, false)?;
        let layers = (0..config.layers).map(|layer| self.layer(layer));
        let layers = layers.collect::<Result<_, _>>()?;
        Ok(Model {
            config: config.clone(),
            is_local: self.linears.is_none(),
            rotary: Rotary::all(config),
            positions: self.table(Role::PositionEmbed)?,
            token_types: self.table(Role::TokenTypeEmbed)?,
            embedding_norm: self.norm(Role::EmbedNorm, Role::EmbedNormBias, None)?,
            distances: self.table(Role::DistanceBias)?,
            layers,
            final_norm: self.norm(Role::FinalNorm, Role::FinalNormBias, None)?,
            head: self.head(&embedding)?,
            embedding,
        })
    }

    fn layer(&mut self, index: usize) -> Result<Layer<T>, Error> {
        let layer = Some(index);
        let mut ops = self.config.architecture.ops(self.config);
        let is_gated = ops.any(|op| op == Op::Gate(Axis::Ffn));
        let (hidden, ffn) = (self.config.hidden_size, self.config.ffn_size);
        let values = self.config.heads * self.config.value_dim;
        let stacked = 2 * self.config.heads * self.config.head_dim + values;
        let up = if is_gated { 2 * ffn } else { ffn };
        Ok(Layer {
            attention_norm: self.norm(Role::AttentionNorm, Role::AttentionNormBias, layer)?,
            query_key_value: self.linear(Projection::QueryKeyValue.of(layer), [hidden, stacked])?,
            output: self.linear(Projection::Output.of(layer), [values, hidden])?,
            attention_sum_norm: self.norm(
                Role::AttentionSumNorm,
                Role::AttentionSumNormBias,
                layer,
            )?,
            mlp_norm: self.norm(Role::MlpNorm, Role::MlpNormBias, layer)?,
            up: self.linear(Projection::GateUp.of(layer), [hidden, up])?,
            is_gated,
            down: self.linear(Projection::Down.of(layer), [ffn, hidden])?,
            mlp_sum_norm: self.norm(Role::MlpSumNorm, Role::MlpSumNormBias, layer)?,
        })
    }

    fn head(&mut self, embedding: &Matrix<T>) -> Result<Head<T>, Error> {
        let config = self.config;
        let hidden = config.hidden_size;
        // A pooler is in some checkpoints of a body and not in others.
        let has_dense = match &self.linears {
            Some(elsewhere) => {
                let row = config.architecture.row(Role::HeadDense, config, None);
                row.is_some() && elsewhere.has(Projection::HeadDense.of(None))
            }
            None => self.weights.has(Role::HeadDense, None),
        };
        let dense = match has_dense {
            true => Some(self.linear(Projection::HeadDense.of(None), [hidden; 2])?),
            false if self.requires(Role::HeadDense) => {
                let model_type = config.architecture.model_type;
                return Err(Error::missing_role(model_type, Role::HeadDense));
            }
            false => None,
        };
        let to_labels = (Projection::Labels.of(None), [hidden, config.labels]);
        let to_ids = (Projection::Head.of(None), [hidden, config.vocab_size]);
        let last = match config.task {
            Task::MaskedToken if config.tied_head => {
                let bias = match self.weights.has(Role::HeadBias, None) {
                    true => Some(self.weights.vector(config, Role::HeadBias, None)?),
                    false => None,
                };
                let (id, sizes) = to_ids;
                Some(Affine::Here(packed(id, sizes, embedding, bias.as_deref())?))
            }
            Task::MaskedToken => Some(self.linear(to_ids.0, to_ids.1)?),
            task if task.has_labels() => Some(self.linear(to_labels.0, to_labels.1)?),
            _ => None,
        };
        let sentence = config.sentence.as_ref();
        let sentence_dense = match sentence.filter(|head| head.dense.is_some()) {
            Some(head) => {
                let id = Projection::SentenceDense.of(None);
                Some(self.linear(id, [hidden, head.width])?)
            }
            None => None,
        };
        Ok(Head {
            dense,
            norm: self.norm(Role::HeadNorm, Role::HeadNormBias, None)?,
            last,
            sentence_dense,
        })
    }

    fn requires(&self, role: Role) -> bool {
        let row = self.config.architecture.row(role, self.config, None);
        row.is_some_and(|row| !row.optional)
    }

    /// The layer, whose input's and output's sizes must be these.
    fn linear(&mut self, id: LinearId, sizes: [usize; 2]) -> Result<Affine<T>, Error> {
        if let Some(elsewhere) = &mut self.linears {
            let linear = elsewhere.linear(id)?;
            return Ok(Affine::Elsewhere { id, linear, sizes });
        }
        let dense = self.weights.linear(self.config, id)?;
        let packed = packed(id, sizes, &dense.weight, dense.bias.as_deref())?;
        Ok(Affine::Here(packed))
    }

    /// An embedding, if the architecture has it.
    fn table(&mut self, role: Role) -> Result<Option<Matrix<T>>, Error> {
        let config = self.config;
        match config.architecture.row(role, config, None) {
            Some(_) => Ok(Some(self.weights.embedding(config, role, false)?)),
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

fn packed<T: Real>(
    id: LinearId,
    [input, out]: [usize; 2],
    weight: &Matrix<T>,
    bias: Option<&[T]>,
) -> Result<Packed<T>, Error> {
    let found = [weight.rows(), weight.columns()];
    let sound = found == [out, input] && bias.is_none_or(|bias| bias.len() == out);
    let packed = Packed::new(weight, bias).filter(|_| sound);
    packed.ok_or_else(|| Error::LinearShape {
        layer: id.to_string(),
        expected: vec![out, input],
        found: found.to_vec(),
    })
}
