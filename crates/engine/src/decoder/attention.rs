use super::model::{Model, Sequence};
use crate::Error;
use crate::kernel::{Attention, Real, Sight, attend};
use crate::layers::{Linear, Norm, Projection, Turns};

/// What leads into attention and out of it.
pub(super) struct AttentionBlock<T> {
    pub(super) input: AttentionInput<T>,
    pub(super) query_norm: Option<Norm<T>>,
    pub(super) key_norm: Option<Norm<T>>,
    pub(super) output: Box<dyn Linear>,
}

/// Where queries, keys and values come from.
pub(super) enum AttentionInput<T> {
    /// From the residual stream.
    Direct(Box<dyn Linear>),
    /// From latent vectors, but for a rotary key that all heads share.
    Latent {
        query: LatentQuery<T>,
        key_value_down: Box<dyn Linear>,
        key_value_norm: Norm<T>,
        key_value_up: Box<dyn Linear>,
    },
}

/// Where the queries of latent attention come from.
pub(super) enum LatentQuery<T> {
    /// From the residual stream.
    Direct(Box<dyn Linear>),
    /// From a latent vector.
    Latent {
        down: Box<dyn Linear>,
        norm: Norm<T>,
        up: Box<dyn Linear>,
    },
}

/// A vector for each head and token.
struct Heads<T> {
    queries: Vec<T>,
    keys: Vec<T>,
    values: Vec<T>,
}

impl<T: Real> Model<T> {
    /// W_o attention(x)
    pub(super) fn attention(
        &self,
        index: usize,
        block: &AttentionBlock<T>,
        sequences: &mut [Sequence<'_, T>],
        turns: Option<&Turns<T>>,
        x: Vec<T>,
    ) -> Result<Vec<T>, Error> {
        let config = &self.config;
        let mut heads = match &block.input {
            AttentionInput::Direct(linear) => self.direct_heads(index, &**linear, x)?,
            AttentionInput::Latent { .. } => self.latent_heads(index, &block.input, x)?,
        };
        for (norm, vectors) in [
            (&block.query_norm, &mut heads.queries),
            (&block.key_norm, &mut heads.keys),
        ] {
            if let Some(norm) = norm {
                *vectors = norm.apply(vectors, config.norm_epsilon);
            }
        }
        let (width, key_width, value_width) = (
            config.heads * config.head_dim,
            config.kv_heads * config.head_dim,
            config.kv_heads * config.value_dim,
        );
        let kind = config.layer_kinds[index];
        if let (Some(turns), Some(rope)) = (turns, kind.rope) {
            let rotary = &self.rotary[rope];
            for (row, turns) in heads.queries.chunks_exact_mut(width).zip(turns) {
                rotary.rotate(row, turns);
            }
            for (row, turns) in heads.keys.chunks_exact_mut(key_width).zip(turns) {
                rotary.rotate(row, turns);
            }
        }
        let scale = T::from_f64(kind.attention_scale);
        heads.queries.iter_mut().for_each(|query| *query *= scale);

        let mut new = heads
            .keys
            .chunks_exact(key_width)
            .zip(heads.values.chunks_exact(value_width));
        for sequence in sequences.iter_mut() {
            for (offset, (key, value)) in new.by_ref().take(sequence.tokens.len()).enumerate() {
                let position = sequence.first + offset;
                sequence.pages.write(index, position, key, value);
            }
        }
        let out_width = config.heads * config.value_dim;
        let mut context = vec![T::zero(); heads.queries.len() / width * out_width];
        let (mut rest_queries, mut rest_context) =
            (heads.queries.as_slice(), context.as_mut_slice());
        let mut tasks = Vec::with_capacity(sequences.len());
        for sequence in sequences.iter() {
            let tokens = sequence.tokens.len();
            let (queries, later_queries) = rest_queries.split_at(tokens * width);
            let (context, later_context) = rest_context.split_at_mut(tokens * out_width);
            (rest_queries, rest_context) = (later_queries, later_context);
            tasks.push(Attention {
                queries,
                pages: sequence.pages,
                first: sequence.first,
                context,
            });
        }
        let sight = Sight {
            window: kind.window,
            cap: config.attention_cap.map(T::from_f64),
        };
        attend(&mut tasks, index, config.heads / config.kv_heads, sight);
        let id = Projection::Output.of(Some(index));
        self.linear(&*block.output, id, context, out_width, config.hidden_size)
    }

    fn direct_heads(
        &self,
        index: usize,
        linear: &dyn Linear,
        x: Vec<T>,
    ) -> Result<Heads<T>, Error> {
        let config = &self.config;
        let sizes = [
            config.heads * config.head_dim,
            config.kv_heads * config.head_dim,
            config.kv_heads * config.value_dim,
        ];
        let id = Projection::QueryKeyValue.of(Some(index));
        let stacked = self.linear(linear, id, x, config.hidden_size, sizes.iter().sum())?;
        let [queries, keys, values] = split(&stacked, sizes);
        Ok(Heads {
            queries,
            keys,
            values,
        })
    }

    /// Multi-head latent attention (DeepSeek-V2, arXiv 2405.04434, section 2.1), with its keys and values written out.
    fn latent_heads(
        &self,
        index: usize,
        input: &AttentionInput<T>,
        x: Vec<T>,
    ) -> Result<Heads<T>, Error> {
        let config = &self.config;
        let (
            AttentionInput::Latent {
                query,
                key_value_down,
                key_value_norm,
                key_value_up,
            },
            Some(latent),
        ) = (input, &config.latent)
        else {
            return Err(Error::missing_role(
                config.architecture.model_type,
                equicrypt_spec::Role::KeyValueDown,
            ));
        };
        let layer = Some(index);
        let (width, queries) = (config.hidden_size, config.heads * config.head_dim);
        let down = self.linear(
            &**key_value_down,
            Projection::KeyValueDown.of(layer),
            x.clone(),
            width,
            latent.key_value + config.rotary_dim,
        )?;
        let [compressed, shared] = split(&down, [latent.key_value, config.rotary_dim]);
        let compressed = key_value_norm.apply(&compressed, LATENT_EPSILON);
        let plain = config.head_dim - config.rotary_dim;
        let sizes = [config.heads * plain, config.heads * config.value_dim];
        let up = self.linear(
            &**key_value_up,
            Projection::KeyValueUp.of(layer),
            compressed,
            latent.key_value,
            sizes.iter().sum(),
        )?;
        let [plain_keys, values] = split(&up, sizes);
        let mut keys = Vec::with_capacity(shared.len() / config.rotary_dim * queries);
        for (own, shared) in plain_keys
            .chunks_exact(sizes[0])
            .zip(shared.chunks_exact(config.rotary_dim))
        {
            for own in own.chunks_exact(plain) {
                keys.extend_from_slice(own);
                keys.extend_from_slice(shared);
            }
        }
        let queries = match query {
            LatentQuery::Direct(linear) => {
                let id = Projection::Query.of(layer);
                self.linear(&**linear, id, x, width, queries)?
            }
            LatentQuery::Latent { down, norm, up } => {
                let inner = norm.gain.len();
                let id = Projection::QueryDown.of(layer);
                let compressed = self.linear(&**down, id, x, width, inner)?;
                let compressed = norm.apply(&compressed, LATENT_EPSILON);
                let id = Projection::QueryUp.of(layer);
                self.linear(&**up, id, compressed, inner, queries)?
            }
        };
        Ok(Heads {
            queries,
            keys,
            values,
        })
    }
}

/// The parts of each row, as matrices of their own.
fn split<T: Real, const N: usize>(rows: &[T], sizes: [usize; N]) -> [Vec<T>; N] {
    let width: usize = sizes.iter().sum();
    let count = rows.len() / width.max(1);
    let mut parts = sizes.map(|size| Vec::with_capacity(count * size));
    for row in rows.chunks_exact(width) {
        let mut start = 0;
        for (part, size) in parts.iter_mut().zip(sizes) {
            part.extend_from_slice(&row[start..start + size]);
            start += size;
        }
    }
    parts
}

/// Transformers gives the norms of latent vectors this epsilon, whatever `rms_norm_eps` says.
const LATENT_EPSILON: f64 = 1e-6;
