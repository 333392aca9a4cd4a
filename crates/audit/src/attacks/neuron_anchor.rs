use faer::Mat;

use crate::Error;
use crate::algebra::{least_squares, map};
use crate::evidence::Attacker;
use crate::matrix::{Matrix, dot, norm};
use crate::nearest;
use crate::weights::Weights;

/// u'_j . d'_j = u_i . d_i for neuron j of an encrypted MLP and the neuron i that it was, with u its row of the up projection and
/// d its column of the down projection: the secret of the hidden axis meets its inverse, and a neuron's sign and scale cancel.
///
/// 1. Both lists of products, sorted, match most neurons.
/// 2. X = argmin |G_z X - G'|^2 over the gates G of the matched neurons; neurons are matched anew by the nearest rows of G X;
///    again until nothing changes. X is the reading map M^-1 of the hidden axis, orthogonal or not, wider or not.
/// 3. E' X^T undoes that secret. What remains are the secret vocabulary and noise: each row is taken for the nearest by cosine.
///
/// Nothing of this is touched by noise on embedding and head. To our knowledge unpublished.
pub(super) fn study(public: &Weights) -> Result<Attacker<'_>, Error> {
    let embedding = public.embedding()?;
    let mut known = Vec::new();
    for layer in public.some_layers(TRIES) {
        if let Some(block) = Block::read(public, layer)? {
            known.push((layer, block));
        }
    }
    Ok(Box::new(move |seen| {
        let mut best: Option<(f64, Mat<f64>)> = None;
        for (layer, known) in &known {
            let Some(found) = Block::read(seen.weights, *layer)?.and_then(|b| known.align(&b))
            else {
                continue;
            };
            if best.as_ref().is_none_or(|best| found.0 > best.0) {
                best = Some(found);
            }
            if best.as_ref().is_some_and(|best| best.0 > ALIGNED) {
                break;
            }
        }
        let Some((_, reading)) = best else {
            return Ok(super::none(seen));
        };
        let rows = seen.weights.embedding()?.gather(seen.asked);
        Ok(nearest::by_cosine(
            map(&rows, reading.transpose()),
            embedding,
        ))
    }))
}

/// One MLP.
struct Block {
    gates: Matrix,
    /// Neurons in the order of u . d.
    order: Vec<u32>,
}

impl Block {
    fn read(weights: &Weights, layer: usize) -> Result<Option<Self>, Error> {
        let all = (
            weights.gates(layer)?,
            weights.ups(layer)?,
            weights.downs(layer)?,
        );
        let (Some(gates), Some(ups), Some(downs)) = all else {
            return Ok(None);
        };
        let neurons = gates.rows().min(ups.rows()).min(downs.rows());
        let products: Vec<f64> = (0..neurons)
            .map(|neuron| dot(ups.row(neuron), downs.row(neuron)))
            .collect();
        let mut order: Vec<u32> = (0..neurons as u32).collect();
        order.sort_by(|a, b| products[*a as usize].total_cmp(&products[*b as usize]));
        Ok(Some(Self { gates, order }))
    }

    /// X, and the mean cosine of a row of G' with its match in G X.
    fn align(&self, encrypted: &Self) -> Option<(f64, Mat<f64>)> {
        let mut matched = vec![0; encrypted.order.len()];
        for (ours, theirs) in self.order.iter().zip(&encrypted.order) {
            *matched.get_mut(*theirs as usize)? = *ours;
        }
        for _ in 0..ROUNDS {
            let reading = least_squares(&self.gates.gather(&matched), &encrypted.gates, RIDGE)?;
            let mapped = map(&self.gates, reading.as_ref());
            let again = nearest::by_cosine(encrypted.gates.clone(), &mapped);
            if again == matched {
                break;
            }
            matched = again;
        }
        let reading = least_squares(&self.gates.gather(&matched), &encrypted.gates, RIDGE)?;
        let mapped = map(&self.gates.gather(&matched), reading.as_ref());
        let cosines = (0..mapped.rows()).map(|row| {
            let (a, b) = (mapped.row(row), encrypted.gates.row(row));
            dot(a, b) / (norm(a) * norm(b)).max(f64::MIN_POSITIVE)
        });
        Some((cosines.sum::<f64>() / mapped.rows().max(1) as f64, reading))
    }
}

/// Layers that are tried.
const TRIES: usize = 4;
/// Least squares of as many neurons as coordinates fit any matching well; of twice as many they do not.
const ALIGNED: f64 = 0.95;
const ROUNDS: usize = 12;
const RIDGE: f64 = 1e-9;
