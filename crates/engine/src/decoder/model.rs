use std::sync::Arc;

use equicrypt_spec::ModelConfig;

use super::attention::AttentionBlock;
use super::cache::{CacheShape, Pages};
use super::mlp::Mlp;
use super::{Logits, Want};
use crate::Error;
use crate::kernel::{Matrix, Real, add, cap};
use crate::layers::{Linear, LinearId, Norm, Projection, Rotary, Turns, apply};

/// A decoder in one precision.
pub(super) struct Model<T> {
    pub(super) config: ModelConfig,
    pub(super) rotary: Vec<Rotary>,
    pub(super) embedding: Arc<Matrix<T>>,
    pub(super) positions: Option<Matrix<T>>,
    pub(super) layers: Vec<Layer<T>>,
    pub(super) final_norm: Norm<T>,
    pub(super) head: Box<dyn Linear>,
}

/// A block of attention and one of neurons. A norm stands where the architecture has one.
pub(super) struct Layer<T> {
    pub(super) attention_norm: Option<Norm<T>>,
    pub(super) attention: AttentionBlock<T>,
    pub(super) attention_out_norm: Option<Norm<T>>,
    pub(super) mlp_norm: Option<Norm<T>>,
    pub(super) mlp: Mlp<T>,
    pub(super) mlp_out_norm: Option<Norm<T>>,
}

/// New tokens of one sequence.
pub(super) struct Sequence<'a, T> {
    pub(super) tokens: &'a [u32],
    /// The position of the first of them.
    pub(super) first: usize,
    pub(super) pages: &'a mut Pages<T>,
}

impl<T: Real> Model<T> {
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
        let (mut hidden, turns) = self.enter(&mut sequences);
        for (index, layer) in self.layers.iter().enumerate() {
            let turns = self.config.layer_kinds[index].rope.map(|rope| &turns[rope]);
            self.layer(index, layer, &mut sequences, turns, &mut hidden)?;
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
        let (positions, max_positions) = (pages.len() + tokens.len(), self.config.exact_context());
        if positions > max_positions {
            return Err(Error::ContextLength {
                positions,
                max_positions,
            });
        }
        Ok(())
    }

    /// The residual stream of every token, and how each RoPE turns it; makes room in the caches.
    fn enter(&self, sequences: &mut [Sequence<'_, T>]) -> (Vec<T>, Vec<Turns<T>>) {
        let mut hidden = Vec::new();
        let mut turns: Vec<Turns<T>> = self.rotary.iter().map(|_| Turns::new()).collect();
        let scale = T::from_f64(self.config.embedding_scale);
        for sequence in sequences {
            sequence.pages.reserve(sequence.tokens.len());
            for (offset, id) in sequence.tokens.iter().enumerate() {
                let (start, position) = (hidden.len(), sequence.first + offset);
                self.embedding.append_row(*id as usize, &mut hidden);
                hidden[start..].iter_mut().for_each(|x| *x *= scale);
                if let Some(positions) = &self.positions {
                    let mut learned = Vec::with_capacity(hidden.len() - start);
                    positions.append_row(position, &mut learned);
                    add(&mut hidden[start..], &learned);
                }
                for (turns, rotary) in turns.iter_mut().zip(&self.rotary) {
                    turns.push(rotary.turns(position));
                }
            }
        }
        (hidden, turns)
    }

    /// hidden += attention(norm(hidden)), hidden += mlp(norm(hidden)); or both at once.
    fn layer(
        &self,
        index: usize,
        layer: &Layer<T>,
        sequences: &mut [Sequence<'_, T>],
        turns: Option<&Turns<T>>,
        hidden: &mut [T],
    ) -> Result<(), Error> {
        let epsilon = self.config.norm_epsilon;
        let before = |norm: &Option<Norm<T>>, hidden: &[T]| match norm {
            Some(norm) => norm.apply(hidden, epsilon),
            None => hidden.to_vec(),
        };
        let after = |norm: &Option<Norm<T>>, out: Vec<T>| match norm {
            Some(norm) => norm.apply(&out, epsilon),
            None => out,
        };
        let x = before(&layer.attention_norm, hidden);
        let attended = self.attention(index, &layer.attention, sequences, turns, x)?;
        let attended = after(&layer.attention_out_norm, attended);
        if !self.config.parallel_residual {
            add(hidden, &attended);
        }
        let x = before(&layer.mlp_norm, hidden);
        let out = after(&layer.mlp_out_norm, self.mlp(index, &layer.mlp, x)?);
        add(hidden, &out);
        if self.config.parallel_residual {
            add(hidden, &attended);
        }
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
        let x = self.final_norm.apply(&rows, self.config.norm_epsilon);
        let id = Projection::Head.of(None);
        let mut all = self.linear(&*self.head, id, x, width, vocab)?;
        if let Some(limit) = self.config.logit_cap {
            cap(&mut all, T::from_f64(limit));
        }
        let mut all = all.as_slice();
        let split = wanted.iter().map(|wanted| {
            let (own, rest) = all.split_at(wanted * vocab);
            all = rest;
            logits(own)
        });
        Ok(split.collect())
    }

    /// The layer's answer to x, checked: it may have been computed elsewhere.
    pub(super) fn linear(
        &self,
        linear: &dyn Linear,
        id: LinearId,
        x: Vec<T>,
        input: usize,
        out: usize,
    ) -> Result<Vec<T>, Error> {
        apply(linear, id, x, [input, out])
    }

    fn cache_shape(&self) -> CacheShape {
        CacheShape {
            layers: self.config.layers,
            kv_heads: self.config.kv_heads,
            key_dim: self.config.head_dim,
            value_dim: self.config.value_dim,
        }
    }
}
