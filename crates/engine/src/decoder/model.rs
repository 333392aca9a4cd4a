use std::sync::Arc;

use equicrypt_spec::{Activation, ModelConfig, NormPlace, Op, Role};

use super::cache::{CacheShape, Pages};
use super::linear::Dense;
use super::load::Weights;
use super::rope::Rotary;
use super::{Linear, LinearId, Linears, Logits, Projection, Rows, Want};
use crate::Error;
use crate::kernel::{Attention, Matrix, Real, add, attend, gate, rms_norm};

/// A decoder in one precision.
pub(super) struct Model<T> {
    config: ModelConfig,
    activation: Activation,
    rotary: Rotary,
    embedding: Arc<Matrix<T>>,
    layers: Vec<Layer<T>>,
    final_norm: Vec<T>,
    head: Box<dyn Linear>,
}

struct Layer<T> {
    attention_norm: Vec<T>,
    query_key_value: Box<dyn Linear>,
    output: Box<dyn Linear>,
    mlp_norm: Vec<T>,
    gate_up: Box<dyn Linear>,
    down: Box<dyn Linear>,
}

impl<T: Real> Model<T> {
    /// Sorts the weights into layers; `linear` gives the linear layers if they are not among them.
    pub(super) fn new(
        config: &ModelConfig,
        mut weights: Weights<T>,
        mut linear: Option<&mut dyn Linears>,
    ) -> Result<Self, Error> {
        let lacks = |missing: &str| Error::Architecture {
            model_type: config.architecture.model_type,
            missing: missing.to_owned(),
        };
        let activation = config
            .architecture
            .activation()
            .ok_or_else(|| lacks("gated MLP"))?;
        let before = |op: &Op| {
            matches!(
                op,
                Op::RmsNorm {
                    place: NormPlace::BeforeBlock,
                    ..
                }
            )
        };
        if !config.architecture.ops.iter().any(before) {
            return Err(lacks("RMSNorm before each block"));
        }
        let rotary = Rotary::new(config)?;
        let embedding = Arc::new(weights.matrix(config, Role::Embed, None)?);
        let mut linear = |weights: &mut Weights<T>, id: LinearId| match &mut linear {
            Some(elsewhere) => elsewhere.linear(id),
            None if id.projection == Projection::Head && config.tied_head => Ok(Box::new(Dense {
                weight: embedding.clone(),
                bias: None,
            })
                as Box<dyn Linear>),
            None => Ok(Box::new(weights.linear(config, id)?) as Box<dyn Linear>),
        };
        let mut layers = Vec::with_capacity(config.layers);
        for layer in (0..config.layers).map(Some) {
            layers.push(Layer {
                attention_norm: weights.gain(config, Role::AttentionNorm, layer)?,
                query_key_value: linear(&mut weights, Projection::QueryKeyValue.of(layer))?,
                output: linear(&mut weights, Projection::Output.of(layer))?,
                mlp_norm: weights.gain(config, Role::MlpNorm, layer)?,
                gate_up: linear(&mut weights, Projection::GateUp.of(layer))?,
                down: linear(&mut weights, Projection::Down.of(layer))?,
            });
        }
        let final_norm = weights.gain(config, Role::FinalNorm, None)?;
        let head = linear(&mut weights, Projection::Head.of(None))?;
        let config = config.clone();
        Ok(Self {
            config,
            activation,
            rotary,
            embedding,
            layers,
            final_norm,
            head,
        })
    }

    pub(super) fn new_pages(&self) -> Pages<T> {
        Pages::new(self.cache_shape())
    }

    /// The pass over all chunks; `logits` takes the wanted rows of one chunk.
    pub(super) fn forward(
        &self,
        inputs: Vec<(&[u32], &mut Pages<T>, Want)>,
        logits: impl Fn(&[T]) -> Logits,
    ) -> Result<Vec<Logits>, Error> {
        let mut sequences = Vec::with_capacity(inputs.len());
        let mut wanted = Vec::with_capacity(inputs.len());
        for (tokens, pages, want) in inputs {
            self.check(tokens, pages)?;
            wanted.push(want.rows(tokens.len()));
            sequences.push(Sequence {
                tokens,
                first: pages.len(),
                pages,
            });
        }
        let mut hidden = Vec::new();
        let mut turns = Vec::new();
        for sequence in &mut sequences {
            sequence.pages.reserve(sequence.tokens.len());
            for (offset, id) in sequence.tokens.iter().enumerate() {
                self.embedding.append_row(*id as usize, &mut hidden);
                turns.push(self.rotary.turns(sequence.first + offset));
            }
        }
        for (index, layer) in self.layers.iter().enumerate() {
            self.attention(index, layer, &mut sequences, &turns, &mut hidden)?;
            self.mlp(index, layer, &mut hidden)?;
        }
        let answers = self.answers(&sequences, &wanted, &hidden, logits)?;
        for sequence in &mut sequences {
            sequence.pages.advance(sequence.tokens.len());
        }
        Ok(answers)
    }

    fn check(&self, tokens: &[u32], pages: &Pages<T>) -> Result<(), Error> {
        if pages.shape() != self.cache_shape() {
            return Err(Error::ForeignCache);
        }
        if tokens.is_empty() {
            return Err(Error::EmptyChunk);
        }
        let vocab_size = self.config.vocab_size;
        if let Some(id) = tokens.iter().find(|id| **id as usize >= vocab_size) {
            return Err(Error::TokenId {
                id: *id,
                vocab_size,
            });
        }
        let (positions, max_positions) = (pages.len() + tokens.len(), self.config.max_positions);
        if positions > max_positions {
            return Err(Error::ContextLength {
                positions,
                max_positions,
            });
        }
        Ok(())
    }

    /// hidden += W_o attention(W_qkv norm(hidden))
    fn attention(
        &self,
        index: usize,
        layer: &Layer<T>,
        sequences: &mut [Sequence<'_, T>],
        turns: &[Vec<(T, T)>],
        hidden: &mut [T],
    ) -> Result<(), Error> {
        let config = &self.config;
        let (queries, keys) = (
            config.heads * config.head_dim,
            config.kv_heads * config.head_dim,
        );
        let x = rms_norm(hidden, &layer.attention_norm, config.norm_epsilon);
        let id = Projection::QueryKeyValue.of(Some(index));
        let stacked = self.linear(
            &*layer.query_key_value,
            id,
            x,
            config.hidden_size,
            queries + 2 * keys,
        )?;
        let scale = T::from_f64(1.0 / (config.head_dim as f64).sqrt());
        let mut rotated = Vec::with_capacity(turns.len() * queries);
        let mut rows = self
            .numbers(&stacked, id)?
            .chunks_exact(queries + 2 * keys)
            .zip(turns);
        let mut key = vec![T::zero(); keys];
        for sequence in sequences.iter_mut() {
            for (offset, (row, turns)) in rows.by_ref().take(sequence.tokens.len()).enumerate() {
                let start = rotated.len();
                rotated.extend(row[..queries].iter().map(|query| *query * scale));
                self.rotary.rotate(&mut rotated[start..], turns);
                key.copy_from_slice(&row[queries..queries + keys]);
                self.rotary.rotate(&mut key, turns);
                let position = sequence.first + offset;
                sequence
                    .pages
                    .write(index, position, &key, &row[queries + keys..]);
            }
        }
        let mut context = vec![T::zero(); rotated.len()];
        let (mut rest_queries, mut rest_context) = (rotated.as_slice(), context.as_mut_slice());
        let mut tasks = Vec::with_capacity(sequences.len());
        for sequence in sequences.iter() {
            let size = sequence.tokens.len() * queries;
            let (queries, later_queries) = rest_queries.split_at(size);
            let (context, later_context) = rest_context.split_at_mut(size);
            (rest_queries, rest_context) = (later_queries, later_context);
            tasks.push(Attention {
                queries,
                pages: sequence.pages,
                first: sequence.first,
                context,
            });
        }
        attend(&mut tasks, index, config.heads / config.kv_heads);
        let id = Projection::Output.of(Some(index));
        let out = self.linear(&*layer.output, id, context, queries, config.hidden_size)?;
        add(hidden, self.numbers(&out, id)?);
        Ok(())
    }

    /// hidden += W_down (act(W_gate x) * W_up x) with x = norm(hidden)
    fn mlp(&self, index: usize, layer: &Layer<T>, hidden: &mut [T]) -> Result<(), Error> {
        let config = &self.config;
        let x = rms_norm(hidden, &layer.mlp_norm, config.norm_epsilon);
        let id = Projection::GateUp.of(Some(index));
        let (width, ffn) = (config.hidden_size, config.ffn_size);
        let stacked = self.linear(&*layer.gate_up, id, x, width, 2 * ffn)?;
        let neurons = gate(self.numbers(&stacked, id)?, ffn, self.activation);
        let id = Projection::Down.of(Some(index));
        let out = self.linear(&*layer.down, id, neurons, ffn, width)?;
        add(hidden, self.numbers(&out, id)?);
        Ok(())
    }

    /// The head on the rows that want it.
    fn answers(
        &self,
        sequences: &[Sequence<'_, T>],
        wanted: &[usize],
        hidden: &[T],
        logits: impl Fn(&[T]) -> Logits,
    ) -> Result<Vec<Logits>, Error> {
        let (width, vocab) = (self.config.hidden_size, self.config.vocab_size);
        let mut rows = Vec::new();
        let mut end = 0;
        for (sequence, wanted) in sequences.iter().zip(wanted) {
            end += sequence.tokens.len();
            rows.extend_from_slice(&hidden[(end - wanted) * width..end * width]);
        }
        if rows.is_empty() {
            return Ok(wanted.iter().map(|_| Logits::default()).collect());
        }
        let x = rms_norm(&rows, &self.final_norm, self.config.norm_epsilon);
        let id = Projection::Head.of(None);
        let all = self.linear(&*self.head, id, x, width, vocab)?;
        let mut all = self.numbers(&all, id)?;
        let split = wanted.iter().map(|wanted| {
            let (own, rest) = all.split_at(wanted * vocab);
            all = rest;
            logits(own)
        });
        Ok(split.collect())
    }

    fn linear(
        &self,
        linear: &dyn Linear,
        id: LinearId,
        x: Vec<T>,
        input: usize,
        out: usize,
    ) -> Result<Rows, Error> {
        let rows = x.len() / input;
        let values = T::into_values(x);
        let y = linear.forward(&Rows {
            width: input,
            values,
        })?;
        let count = self.numbers(&y, id)?.len();
        if y.width == out && count == rows * out {
            return Ok(y);
        }
        Err(Error::LinearShape {
            layer: id.to_string(),
            expected: vec![rows, out],
            found: vec![count / y.width.max(1), y.width],
        })
    }

    fn numbers<'a>(&self, rows: &'a Rows, id: LinearId) -> Result<&'a [T], Error> {
        T::of_values(&rows.values).ok_or_else(|| Error::Linear {
            layer: id.to_string(),
            problem: "it answered in another precision than it was asked in".to_owned(),
        })
    }

    fn cache_shape(&self) -> CacheShape {
        CacheShape {
            layers: self.config.layers,
            kv_heads: self.config.kv_heads,
            head_dim: self.config.head_dim,
        }
    }
}

struct Sequence<'a, T> {
    tokens: &'a [u32],
    /// The position of the first of them.
    first: usize,
    pages: &'a mut Pages<T>,
}
