use equicrypt_spec::ModelConfig;
use pulp::Arch;
use rayon::prelude::*;

use super::affine::Affine;
use super::batch::{Batch, Place, Room, Rooms};
use super::distance;
use super::head::Head;
use super::text::{Part, Rows, Text};
use crate::Error;
use crate::kernel::{
    Matrix, Real, WithinTexts, activate_here, attend_within, block_rows, gate_here,
};
use crate::layers::{Norm, Rotary, Turns};

/// An encoder in one precision.
pub(super) struct Model<T> {
    pub(super) config: ModelConfig,
    /// Whether no linear layer is computed elsewhere.
    pub(super) is_local: bool,
    pub(super) rotary: Vec<Rotary>,
    pub(super) embedding: Matrix<T>,
    pub(super) positions: Option<Matrix<T>>,
    pub(super) token_types: Option<Matrix<T>>,
    pub(super) embedding_norm: Option<Norm<T>>,
    pub(super) distances: Option<Matrix<T>>,
    pub(super) layers: Vec<Layer<T>>,
    pub(super) final_norm: Option<Norm<T>>,
    pub(super) head: Head<T>,
}

/// A block of attention and one of neurons, with norms before them or behind the residual sums.
pub(super) struct Layer<T> {
    pub(super) attention_norm: Option<Norm<T>>,
    pub(super) query_key_value: Affine<T>,
    pub(super) output: Affine<T>,
    pub(super) attention_sum_norm: Option<Norm<T>>,
    pub(super) mlp_norm: Option<Norm<T>>,
    pub(super) up: Affine<T>,
    pub(super) is_gated: bool,
    pub(super) down: Affine<T>,
    pub(super) mlp_sum_norm: Option<Norm<T>>,
}

impl<T: Real> Model<T> {
    /// One answer for each text; texts and part were checked.
    pub(super) fn forward(&self, texts: &[Text<'_>], part: Part) -> Result<Vec<Rows<T>>, Error> {
        let batch = Batch::new(&self.config, texts);
        if batch.places.is_empty() {
            return Ok(Vec::new());
        }
        self.read_out(self.hidden(&batch)?, &batch.lengths, part)
    }

    /// The last hidden states of all texts.
    ///
    /// Between two attentions every token is on its own, so that a thread leads some neighbouring ones all the way from one
    /// to the next while they are in its cache. What is computed elsewhere takes all of them at once.
    fn hidden(&self, batch: &Batch) -> Result<Vec<T>, Error> {
        let (config, tokens) = (&self.config, batch.places.len());
        let (width, value_width) = (config.hidden_size, config.heads * config.value_dim);
        let stacked_width = self.stacked_width();
        let mut hidden = vec![T::zero(); tokens * width];
        let mut stacked = vec![T::zero(); tokens * stacked_width];
        let mut context = vec![T::zero(); tokens * value_width];
        let longest = batch.longest();
        let turns: Vec<Turns<T>> = (self.rotary.iter())
            .map(|rotary| (0..longest).map(|place| rotary.turns(place)).collect())
            .collect();
        let biases = (self.distances.as_ref()).map(|table| distance::biases(table, longest));
        let (arch, rooms) = (Arch::new(), Rooms::default());
        let block = match self.is_local {
            true => block_rows(tokens),
            false => tokens,
        };
        for stage in 0..=self.layers.len() {
            let blocks = (batch.places.par_chunks(block))
                .zip(hidden.par_chunks_mut(block * width))
                .zip(stacked.par_chunks_mut(block * stacked_width));
            let each = |((places, hidden), stacked): ((&[Place], &mut [T]), &mut [T])| -> Result<(), Error> {
                let mut room = rooms.take();
                match stage.checked_sub(1).and_then(|last| self.layers.get(last)) {
                    Some(layer) => {
                        self.gather(places, &context, room.first(places.len() * value_width));
                        self.leave_attention(arch, layer, &mut room, hidden)?;
                    }
                    None => self.embed(arch, places, hidden),
                }
                match self.layers.get(stage) {
                    Some(layer) => {
                        self.enter_attention(arch, layer, hidden, &mut room, stacked)?;
                        self.turn(stage, places, &turns, stacked);
                    }
                    None => self.normed(arch, self.final_norm.as_ref(), hidden),
                }
                rooms.give_back(room);
                Ok(())
            };
            blocks.try_for_each(each)?;
            if let Some(kind) = config.layer_kinds.get(stage) {
                let task = WithinTexts {
                    lengths: &batch.lengths,
                    stacked: &stacked,
                    heads: config.heads,
                    key_dim: config.head_dim,
                    value_dim: config.value_dim,
                    scale: T::from_f64(kind.attention_scale),
                    window: kind.window,
                    biases: biases.as_deref(),
                };
                attend_within(&task, &mut context);
            }
        }
        Ok(hidden)
    }

    /// The sum of each token's embeddings, normalised.
    fn embed(&self, arch: Arch, places: &[Place], hidden: &mut [T]) {
        let width = self.config.hidden_size;
        for (place, row) in places.iter().zip(hidden.chunks_exact_mut(width)) {
            self.embedding.copy_row(place.id as usize, row);
            if let Some(table) = &self.positions {
                table.add_row(place.position, row);
            }
            if let Some(table) = &self.token_types {
                table.add_row(place.kind as usize, row);
            }
        }
        self.normed(arch, self.embedding_norm.as_ref(), hidden);
    }

    /// The contexts of all heads of each token, which stand apart, side by side.
    fn gather(&self, places: &[Place], context: &[T], rows: &mut [T]) {
        let (heads, dim) = (self.config.heads, self.config.value_dim);
        for (place, row) in places.iter().zip(rows.chunks_exact_mut(heads * dim)) {
            for (head, part) in row.chunks_exact_mut(dim).enumerate() {
                let from = place.text.start * heads + head * place.text.len() + place.offset;
                part.copy_from_slice(&context[from * dim..][..dim]);
            }
        }
    }

    /// Queries, keys and values.
    fn enter_attention(
        &self,
        arch: Arch,
        layer: &Layer<T>,
        hidden: &[T],
        room: &mut Room<T>,
        stacked: &mut [T],
    ) -> Result<(), Error> {
        let Some(norm) = &layer.attention_norm else {
            return layer.query_key_value.apply(hidden, stacked, false);
        };
        let x = room.first(hidden.len());
        x.copy_from_slice(hidden);
        self.normed(arch, Some(norm), x);
        layer.query_key_value.apply(x, stacked, false)
    }

    /// Turns queries and keys by their places.
    fn turn(&self, index: usize, places: &[Place], turns: &[Turns<T>], stacked: &mut [T]) {
        let config = &self.config;
        let rope = config.layer_kinds.get(index).and_then(|kind| kind.rope);
        let found = rope.and_then(|rope| Some((self.rotary.get(rope)?, turns.get(rope)?)));
        let Some((rotary, turns)) = found else {
            return;
        };
        let turned = 2 * config.heads * config.head_dim;
        for (place, row) in places
            .iter()
            .zip(stacked.chunks_exact_mut(self.stacked_width()))
        {
            rotary.rotate(&mut row[..turned], &turns[place.offset]);
        }
    }

    /// x + W_o context, x + mlp(norm(x)), each sum normalised where the architecture does that; the room's first part is the
    /// context.
    fn leave_attention(
        &self,
        arch: Arch,
        layer: &Layer<T>,
        room: &mut Room<T>,
        hidden: &mut [T],
    ) -> Result<(), Error> {
        let config = &self.config;
        let rows = hidden.len() / config.hidden_size;
        let context = room.first(rows * config.heads * config.value_dim);
        layer.output.apply(context, hidden, true)?;
        self.normed(arch, layer.attention_sum_norm.as_ref(), hidden);

        let (size, activation) = (config.ffn_size, config.activation);
        let (x, stacked) = room.both(hidden.len(), rows * layer.up.outputs());
        let inner = match &layer.mlp_norm {
            Some(norm) => {
                x.copy_from_slice(hidden);
                self.normed(arch, Some(norm), x);
                &*x
            }
            None => &*hidden,
        };
        layer.up.apply(inner, stacked, false)?;
        if layer.is_gated {
            let (neurons, stacked) = room.both(rows * size, rows * 2 * size);
            gate_here(arch, stacked, size, activation, neurons);
            layer.down.apply(neurons, hidden, true)?;
        } else {
            activate_here(arch, stacked, activation);
            layer.down.apply(stacked, hidden, true)?;
        }
        self.normed(arch, layer.mlp_sum_norm.as_ref(), hidden);
        Ok(())
    }

    fn normed(&self, arch: Arch, norm: Option<&Norm<T>>, rows: &mut [T]) {
        if let Some(norm) = norm {
            norm.apply_here(arch, rows, self.config.norm_epsilon);
        }
    }

    /// Queries, keys and values of a token.
    fn stacked_width(&self) -> usize {
        self.config.heads * (2 * self.config.head_dim + self.config.value_dim)
    }
}
