use std::sync::Arc;

use equicrypt_spec::{Axis, ModelConfig, Op, Role};

use super::attention::{AttentionBlock, AttentionInput, LatentQuery};
use super::mlp::{Ffn, Mlp, Shared, Sparse};
use super::model::{Layer, Model};
use crate::Error;
use crate::kernel::{Matrix, Real};
use crate::layers::{
    Dense, Linear, LinearId, Linears, Norm, NormKind, Projection, Rotary, Weights,
};

impl<T: Real> Model<T> {
    /// Sorts the weights into layers; `linears` gives the linear layers if they are not among them.
    pub(super) fn new(
        config: &ModelConfig,
        weights: Weights<T>,
        linears: Option<&mut dyn Linears>,
    ) -> Result<Self, Error> {
        if config.task.is_of_encoder() {
            let model_type = config.architecture.model_type;
            return Err(Error::NoDecoder { model_type });
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
        let embedding = self
            .weights
            .embedding(config, Role::Embed, config.tied_head)?;
        let embedding = Arc::new(embedding);
        let positions = match config.learned_positions {
            0 => None,
            _ => Some(self.weights.embedding(config, Role::PositionEmbed, false)?),
        };
        let layers = (0..config.layers).map(|layer| self.layer(layer));
        let layers = layers.collect::<Result<_, _>>()?;
        let final_norm = self.hidden_norm(Role::FinalNorm, Role::FinalNormBias, None)?;
        Ok(Model {
            config: config.clone(),
            rotary: Rotary::all(config),
            head: self.head(&embedding)?,
            embedding,
            positions,
            layers,
            final_norm: final_norm.ok_or_else(|| self.missing(Role::FinalNorm))?,
        })
    }

    fn layer(&mut self, index: usize) -> Result<Layer<T>, Error> {
        let layer = Some(index);
        Ok(Layer {
            attention_norm: self.hidden_norm(
                Role::AttentionNorm,
                Role::AttentionNormBias,
                layer,
            )?,
            attention: self.attention(layer)?,
            attention_out_norm: self.norm(Role::AttentionOutNorm, layer)?,
            mlp_norm: self.hidden_norm(Role::MlpNorm, Role::MlpNormBias, layer)?,
            mlp: self.mlp(index)?,
            mlp_out_norm: self.norm(Role::MlpOutNorm, layer)?,
        })
    }

    fn attention(&mut self, layer: Option<usize>) -> Result<AttentionBlock<T>, Error> {
        let input = match &self.config.latent {
            None => AttentionInput::Direct(self.linear(Projection::QueryKeyValue.of(layer))?),
            Some(latent) => AttentionInput::Latent {
                query: match latent.query {
                    None => LatentQuery::Direct(self.linear(Projection::Query.of(layer))?),
                    Some(_) => LatentQuery::Latent {
                        down: self.linear(Projection::QueryDown.of(layer))?,
                        norm: self.required_norm(Role::QueryLatentNorm, layer)?,
                        up: self.linear(Projection::QueryUp.of(layer))?,
                    },
                },
                key_value_down: self.linear(Projection::KeyValueDown.of(layer))?,
                key_value_norm: self.required_norm(Role::KeyValueLatentNorm, layer)?,
                key_value_up: self.linear(Projection::KeyValueUp.of(layer))?,
            },
        };
        Ok(AttentionBlock {
            input,
            query_norm: self.norm(Role::QueryNorm, layer)?,
            key_norm: self.norm(Role::KeyNorm, layer)?,
            output: self.linear(Projection::Output.of(layer))?,
        })
    }

    fn mlp(&mut self, index: usize) -> Result<Mlp<T>, Error> {
        let (config, layer) = (self.config, Some(index));
        let sparse = config.layer_kinds[index].sparse;
        let Some(experts) = config.experts.as_ref().filter(|_| sparse) else {
            let ids = [Projection::GateUp.of(layer), Projection::Down.of(layer)];
            return Ok(Mlp::Dense(self.ffn(ids, Axis::Ffn)?));
        };
        let router_bias = match config.architecture.row(Role::RouterBias, config, layer) {
            Some(_) => Some(self.weights.vector(config, Role::RouterBias, layer)?),
            None => None,
        };
        let each = (0..experts.count).map(|expert| {
            let ids = [Projection::ExpertGateUp, Projection::ExpertDown];
            self.ffn(ids.map(|id| id.of_expert(layer, expert)), Axis::ExpertFfn)
        });
        let each = each.collect::<Result<_, _>>()?;
        let shared = if experts.shared_ffn_size == 0 {
            None
        } else {
            let ids = [Projection::SharedGateUp, Projection::SharedDown];
            let ids = ids.map(|id| id.of(layer));
            Some(Shared {
                ffn: self.ffn(ids, Axis::SharedFfn)?,
                share: match config.architecture.row(Role::SharedShare, config, layer) {
                    Some(_) => Some(self.linear(Projection::SharedShare.of(layer))?),
                    None => None,
                },
            })
        };
        Ok(Mlp::Sparse(Box::new(Sparse {
            visits_all: self.linears.is_some(),
            router: self.linear(Projection::Router.of(layer))?,
            router_bias,
            experts: each,
            shared,
        })))
    }

    fn ffn(&mut self, ids: [LinearId; 2], axis: Axis) -> Result<Ffn, Error> {
        let mut ops = self.config.architecture.ops(self.config);
        let is_gated = ops.any(|op| op == Op::Gate(axis));
        Ok(Ffn {
            gate_up: self.linear(ids[0])?,
            down: self.linear(ids[1])?,
            is_gated,
            size: axis.size(self.config),
        })
    }

    fn head(&mut self, embedding: &Arc<Matrix<T>>) -> Result<Box<dyn Linear>, Error> {
        if self.config.tied_head {
            return Ok(Box::new(Dense {
                weight: embedding.clone(),
                bias: None,
            }));
        }
        self.linear(Projection::Head.of(None))
    }

    fn linear(&mut self, id: LinearId) -> Result<Box<dyn Linear>, Error> {
        match &mut self.linears {
            Some(elsewhere) => elsewhere.linear(id),
            None => Ok(Box::new(self.weights.linear(self.config, id)?)),
        }
    }

    /// A norm of the residual stream.
    fn hidden_norm(
        &mut self,
        role: Role,
        bias: Role,
        layer: Option<usize>,
    ) -> Result<Option<Norm<T>>, Error> {
        let norm = self.norm(role, layer)?;
        let config = self.config;
        match (norm, config.architecture.row(bias, config, layer)) {
            (Some(norm), Some(_)) => Ok(Some(Norm {
                kind: NormKind::MeanAndVariance {
                    bias: self.weights.vector(config, bias, layer)?,
                },
                ..norm
            })),
            (norm, _) => Ok(norm),
        }
    }

    fn required_norm(&mut self, role: Role, layer: Option<usize>) -> Result<Norm<T>, Error> {
        self.norm(role, layer)?.ok_or_else(|| self.missing(role))
    }

    /// The norm, if the architecture has it.
    fn norm(&mut self, role: Role, layer: Option<usize>) -> Result<Option<Norm<T>>, Error> {
        let config = self.config;
        if config.architecture.row(role, config, layer).is_none() {
            return Ok(None);
        }
        let mut gain = self.weights.vector(config, role, layer)?;
        let offset = T::from_f64(config.gain_offset);
        gain.iter_mut().for_each(|gain| *gain += offset);
        Ok(Some(Norm::root_mean_square(gain)))
    }

    fn missing(&self, role: Role) -> Error {
        Error::missing_role(self.config.architecture.model_type, role)
    }
}
