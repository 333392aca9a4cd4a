use std::sync::Arc;

use equicrypt_spec::ModelConfig;

use super::distance;
use super::head::{Head, SentenceDense};
use super::text::{Part, Rows, Text};
use crate::Error;
use crate::kernel::{Matrix, Real, WithinTexts, activate, add, attend_within, gate};
use crate::layers::{Linear, Norm, Projection, Rotary, Turns, apply};

/// An encoder in one precision.
pub(super) struct Model<T> {
    pub(super) config: ModelConfig,
    pub(super) rotary: Vec<Rotary>,
    pub(super) embedding: Arc<Matrix<T>>,
    pub(super) positions: Option<Matrix<T>>,
    pub(super) token_types: Option<Matrix<T>>,
    pub(super) embedding_norm: Option<Norm<T>>,
    pub(super) distances: Option<Matrix<T>>,
    pub(super) layers: Vec<Layer<T>>,
    pub(super) final_norm: Option<Norm<T>>,
    pub(super) head: Head<T>,
    pub(super) sentence_dense: Option<SentenceDense>,
}

/// A block of attention and one of neurons, with norms before them or behind the residual sums.
pub(super) struct Layer<T> {
    pub(super) attention_norm: Option<Norm<T>>,
    pub(super) query_key_value: Box<dyn Linear>,
    pub(super) output: Box<dyn Linear>,
    pub(super) attention_sum_norm: Option<Norm<T>>,
    pub(super) mlp_norm: Option<Norm<T>>,
    pub(super) up: Box<dyn Linear>,
    pub(super) is_gated: bool,
    pub(super) down: Box<dyn Linear>,
    pub(super) mlp_sum_norm: Option<Norm<T>>,
}

impl<T: Real> Model<T> {
    /// One answer for each text; texts and part were checked.
    pub(super) fn forward(&self, texts: &[Text<'_>], part: Part) -> Result<Vec<Rows<T>>, Error> {
        let lengths: Vec<usize> = texts.iter().map(|text| text.tokens.len()).collect();
        let most = lengths.iter().copied().max().unwrap_or(0);
        if most == 0 {
            return Ok(Vec::new());
        }
        let mut hidden = self.embed(texts);
        let turns = self.turns(texts);
        let biases = (self.distances.as_ref()).map(|table| distance::biases(table, most));
        for (index, layer) in self.layers.iter().enumerate() {
            let rope = self.config.layer_kinds[index].rope;
            let turned = rope.and_then(|rope| Some((self.rotary.get(rope)?, turns.get(rope)?)));
            hidden = self.layer(index, layer, &lengths, turned, biases.as_deref(), hidden)?;
        }
        if let Some(norm) = &self.final_norm {
            hidden = norm.apply(&hidden, self.config.norm_epsilon);
        }
        self.read_out(hidden, &lengths, part)
    }

    /// The sum of each token's embeddings, normalised.
    fn embed(&self, texts: &[Text<'_>]) -> Vec<T> {
        let mut hidden = Vec::new();
        let mut row = Vec::new();
        let mut put = |table: &Matrix<T>, index: usize, hidden: &mut [T]| {
            row.clear();
            table.append_row(index, &mut row);
            add(hidden, &row);
        };
        for text in texts {
            let places = positions(&self.config, text.tokens);
            for (index, (id, place)) in text.tokens.iter().zip(places).enumerate() {
                let start = hidden.len();
                self.embedding.append_row(*id as usize, &mut hidden);
                if let Some(table) = &self.positions {
                    put(table, place, &mut hidden[start..]);
                }
                if let Some(table) = &self.token_types {
                    let kind = text.token_types.get(index).copied().unwrap_or(0);
                    put(table, kind as usize, &mut hidden[start..]);
                }
            }
        }
        match &self.embedding_norm {
            Some(norm) => norm.apply(&hidden, self.config.norm_epsilon),
            None => hidden,
        }
    }

    /// How each RoPE turns every token.
    fn turns(&self, texts: &[Text<'_>]) -> Vec<Turns<T>> {
        let of_all = |rotary: &Rotary| {
            let most = texts.iter().map(|text| text.tokens.len()).max();
            let each: Turns<T> = (0..most.unwrap_or(0)).map(|p| rotary.turns(p)).collect();
            let texts = texts.iter().flat_map(|text| &each[..text.tokens.len()]);
            texts.cloned().collect()
        };
        self.rotary.iter().map(of_all).collect()
    }

    /// x + attention(norm(x)), x + mlp(norm(x)), each sum normalised where the architecture does that.
    fn layer(
        &self,
        index: usize,
        layer: &Layer<T>,
        lengths: &[usize],
        turned: Option<(&Rotary, &Turns<T>)>,
        biases: Option<&[Vec<T>]>,
        mut hidden: Vec<T>,
    ) -> Result<Vec<T>, Error> {
        let config = &self.config;
        let epsilon = config.norm_epsilon;
        let normed = |norm: &Option<Norm<T>>, x: &[T]| match norm {
            Some(norm) => norm.apply(x, epsilon),
            None => x.to_vec(),
        };
        let x = normed(&layer.attention_norm, &hidden);
        let key_width = config.heads * config.head_dim;
        let value_width = config.heads * config.value_dim;
        let sizes = [config.hidden_size, 2 * key_width + value_width];
        let id = Projection::QueryKeyValue.of(Some(index));
        let mut stacked = apply(&*layer.query_key_value, id, x, sizes)?;
        if let Some((rotary, turns)) = turned {
            for (row, turns) in stacked.chunks_exact_mut(sizes[1]).zip(turns) {
                rotary.rotate(&mut row[..2 * key_width], turns);
            }
        }
        let kind = config.layer_kinds[index];
        let context = attend_within(&WithinTexts {
            lengths,
            stacked: &stacked,
            heads: config.heads,
            key_dim: config.head_dim,
            value_dim: config.value_dim,
            scale: T::from_f64(kind.attention_scale),
            window: kind.window,
            biases,
        });
        let id = Projection::Output.of(Some(index));
        let sizes = [value_width, config.hidden_size];
        let attended = apply(&*layer.output, id, context, sizes)?;
        add(&mut hidden, &attended);
        if let Some(norm) = &layer.attention_sum_norm {
            hidden = norm.apply(&hidden, epsilon);
        }

        let x = normed(&layer.mlp_norm, &hidden);
        let stacked = if layer.is_gated { 2 } else { 1 } * config.ffn_size;
        let id = Projection::GateUp.of(Some(index));
        let mut inner = apply(&*layer.up, id, x, [config.hidden_size, stacked])?;
        if layer.is_gated {
            inner = gate(&inner, config.ffn_size, config.activation);
        } else {
            activate(&mut inner, config.activation);
        }
        let id = Projection::Down.of(Some(index));
        let sizes = [config.ffn_size, config.hidden_size];
        add(&mut hidden, &apply(&*layer.down, id, inner, sizes)?);
        if let Some(norm) = &layer.mlp_sum_norm {
            hidden = norm.apply(&hidden, epsilon);
        }
        Ok(hidden)
    }
}

/// The positions of a text's tokens. An id that is not counted has its own.
fn positions(config: &ModelConfig, tokens: &[u32]) -> Vec<usize> {
    let uncounted = config.uncounted_id();
    let mut next = config.first_position;
    let mut place = |id: &u32| {
        if uncounted == Some(*id) {
            return config.first_position - 1;
        }
        next += 1;
        next - 1
    };
    tokens.iter().map(&mut place).collect()
}
