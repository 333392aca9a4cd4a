use equicrypt_spec::{Kind, Role};

use crate::Error;
use crate::evidence::Reader;
use crate::matrix::{Matrix, norm};
use crate::nearest::{self, Standard};
use crate::weights::{Weights, responses};

/// |v'_h| = |v_pi(h)| for each head h: an isometry inside a head keeps the norm of its values, and the first layer's values depend
/// on nothing but the token. A dictionary of these norms over the vocabulary reads a KV cache.
pub(super) fn study(public: &Weights) -> Result<Reader<'_>, Error> {
    let tokens = public.embedding()?.rows() as u32;
    let ids: Vec<u32> = (0..tokens).collect();
    let heads = public.config().kv_heads;
    let known = first_values(public, &ids)?.map(|values| norms(&values, heads));
    Ok(Box::new(move |seen| {
        let Some(known) = &known else {
            return Ok(vec![crate::evidence::NO_GUESS; seen.rows()]);
        };
        let standard = Standard::of(known);
        let known = standard.bring(known.clone());
        Ok(nearest::by_distance(
            standard.bring(norms(seen, heads)),
            &known,
        ))
    }))
}

/// What a cache holds for each of these tokens in the first layer: W_v (e / rms(e)), gain folded, and its bias. None where values
/// are not computed so.
pub(crate) fn first_values(weights: &Weights, ids: &[u32]) -> Result<Option<Matrix>, Error> {
    let config = weights.config();
    let rows = config.architecture.rows();
    let is_gain =
        |kind| matches!(kind, Kind::Gain { folds_into, .. } if folds_into.contains(&Role::Value));
    let has_bias = weights.vector(Role::AttentionNormBias, Some(0))?.is_some();
    let (true, false) = (rows.into_iter().any(|row| is_gain(row.kind)), has_bias) else {
        return Ok(None);
    };
    let Some(matrix) = weights.values(0)? else {
        return Ok(None);
    };
    let mut tokens = weights.embedding()?.gather(ids);
    let (scale, epsilon) = (config.embedding_scale, config.norm_epsilon);
    let size = tokens.columns() as f64;
    use rayon::prelude::*;
    tokens.each_row_mut().for_each(|row| {
        let square = (norm(row) * scale).powi(2) / size;
        let factor = (scale / (square + epsilon).sqrt()) as f32;
        row.iter_mut().for_each(|value| *value *= factor);
    });
    let mut values = responses(&tokens, &matrix);
    if let Some(bias) = weights.vector(Role::ValueBias, Some(0))? {
        values.each_row_mut().for_each(|row| {
            row.iter_mut()
                .zip(&bias)
                .for_each(|(value, bias)| *value += bias);
        });
    }
    Ok(Some(values))
}

/// The norms of the heads, sorted, for the order of the heads is secret.
fn norms(values: &Matrix, heads: usize) -> Matrix {
    let width = values.columns() / heads;
    Matrix::from_rows(values.rows(), heads, |row, out| {
        let of_heads = values.row(row).chunks_exact(width);
        for (out, head) in out.iter_mut().zip(of_heads) {
            *out = norm(head) as f32;
        }
        out.sort_unstable_by(f32::total_cmp);
    })
}
