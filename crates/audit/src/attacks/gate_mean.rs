use crate::Error;
use crate::evidence::Attacker;
use crate::matrix::Matrix;
use crate::nearest::{self, Standard};
use crate::weights::{Weights, responses};

/// mean_k (E' W'^T)_ck = mean_k (E W^T)_ik for c = pi(i) and the gates W of one MLP: one number that neither the secret of the
/// hidden axis nor the permutation of the neurons changes. The numbers of all layers together are compared.
///
/// Source: Lin et al., EMNLP 2024, whose invariants of permuted transformers these are.
pub(super) fn study(public: &Weights) -> Result<Attacker<'_>, Error> {
    let layers = public.some_layers(LAYERS);
    let means = responses(public.embedding()?, &mean_gates(public, &layers)?);
    let standard = Standard::of(&means);
    let known = standard.bring(means);
    Ok(Box::new(move |seen| {
        let rows = seen.weights.embedding()?.gather(seen.asked);
        let means = responses(&rows, &mean_gates(seen.weights, &layers)?);
        Ok(nearest::by_distance(standard.bring(means), &known))
    }))
}

/// The mean of each layer's gates: the mean of products is the product with the mean.
fn mean_gates(weights: &Weights, layers: &[usize]) -> Result<Matrix, Error> {
    let width = weights.embedding()?.columns();
    let mut values = Vec::with_capacity(layers.len() * width);
    for layer in layers {
        let mut mean = vec![0.0f64; width];
        if let Some(gates) = weights.gates(*layer)? {
            for row in 0..gates.rows() {
                for (mean, value) in mean.iter_mut().zip(gates.row(row)) {
                    *mean += f64::from(*value) / gates.rows() as f64;
                }
            }
        }
        values.extend(mean.into_iter().map(|mean| mean as f32));
    }
    Ok(Matrix::new(width, values))
}

const LAYERS: usize = 32;
