use crate::Error;
use crate::evidence::Attacker;
use crate::matrix::{Matrix, norm};
use crate::nearest;
use crate::weights::Weights;
use rayon::prelude::*;

/// |E'_c| = |E_i| for c = pi(i): permutations, signs and rotations of the hidden axis keep the norm of every row. Each row is
/// taken for the one whose norm is nearest.
///
/// Source: the repository `Gowin-liuyin/fastProve`, which recovers permuted token embeddings this way.
pub(super) fn study(public: &Weights) -> Result<Attacker<'_>, Error> {
    let known = norms(public.embedding()?);
    Ok(Box::new(move |seen| {
        let rows = seen.weights.embedding()?.gather(seen.asked);
        Ok(nearest::of_numbers(&norms(&rows), &known))
    }))
}

fn norms(rows: &Matrix) -> Vec<f64> {
    rows.each_row().map(norm).collect()
}
