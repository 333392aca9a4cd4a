//! What hides one layer's inner axes: Algorithm 2 of the paper for heads, section 5.2.4 for neurons.

use faer::linalg::solvers::DenseSolveCore;
use faer::{Mat, MatRef};

use equicrypt_spec::{ModelConfig, Role};

use super::AloePri;
use super::draws::Draws;
use super::key_matrix::product;

/// The secrets of one layer.
pub(super) struct LayerSecrets {
    /// tau_kv: the old place of each key/value head.
    kv_heads: Vec<usize>,
    /// tau_group: the old place of each query head in its group, the same in all groups.
    group: Vec<usize>,
    /// Of each key/value head at its old place.
    heads: Vec<Head>,
    /// The old place of each neuron.
    neurons: Vec<usize>,
    /// H_ffn: the factor of each neuron at its old place.
    scales: Vec<f64>,
}

/// What is multiplied to the outputs of one key/value head and its query heads, from the left.
struct Head {
    /// (R H Z)^T.
    query: Mat<f64>,
    /// (R H^-1 Z)^T.
    key: Mat<f64>,
    /// U^T.
    value: Mat<f64>,
    /// U^-1.
    context: Mat<f64>,
}

impl LayerSecrets {
    /// Fresh ones for a layer whose RoPE turns with `frequencies`.
    pub(super) fn draw(
        rng: &mut Draws,
        scheme: &AloePri,
        config: &ModelConfig,
        frequencies: &[f64],
    ) -> Self {
        let head = |_| Head::draw(rng, scheme, config, frequencies);
        let heads = (0..config.kv_heads).map(head).collect();
        Self {
            kv_heads: rng.permutation(config.kv_heads),
            group: rng.permutation(config.heads / config.kv_heads),
            heads,
            neurons: rng.permutation(config.ffn_size),
            scales: (0..config.ffn_size).map(|_| rng.scale()).collect(),
        }
    }

    /// The rows of `x`, one for each output of the linear layer `role` (or each input, where it writes the residual
    /// stream), as they become; in pieces each of which takes a key matrix of its own.
    pub(super) fn hide(&self, role: Role, x: MatRef<'_, f64>) -> Vec<Mat<f64>> {
        match role {
            Role::Query | Role::QueryBias => self.query_heads(x, |head| &head.query),
            Role::Key | Role::KeyBias => self.key_value_heads(x, |head| &head.key),
            Role::Value | Role::ValueBias => self.key_value_heads(x, |head| &head.value),
            Role::Output => self.query_heads(x, |head| &head.context),
            Role::Gate | Role::GateBias => vec![self.neurons(x, |_| 1.0)],
            Role::Up | Role::UpBias => vec![self.neurons(x, |scale| scale)],
            Role::Down => vec![self.neurons(x, |scale| 1.0 / scale)],
            _ => vec![x.to_owned()],
        }
    }

    fn query_heads(&self, x: MatRef<'_, f64>, map: impl Fn(&Head) -> &Mat<f64>) -> Vec<Mat<f64>> {
        let pairs = (self.kv_heads.iter()).flat_map(|kv| self.group.iter().map(move |q| (*kv, *q)));
        pairs
            .map(|(kv, query)| {
                let map = map(&self.heads[kv]);
                let start = (kv * self.group.len() + query) * map.ncols();
                product(map.as_ref(), x.subrows(start, map.ncols()))
            })
            .collect()
    }

    fn key_value_heads(
        &self,
        x: MatRef<'_, f64>,
        map: impl Fn(&Head) -> &Mat<f64>,
    ) -> Vec<Mat<f64>> {
        (self.kv_heads.iter())
            .map(|kv| {
                let map = map(&self.heads[*kv]);
                product(map.as_ref(), x.subrows(kv * map.ncols(), map.ncols()))
            })
            .collect()
    }

    fn neurons(&self, x: MatRef<'_, f64>, factor: impl Fn(f64) -> f64) -> Mat<f64> {
        Mat::from_fn(x.nrows(), x.ncols(), |row, column| {
            let old = self.neurons[row];
            factor(self.scales[old]) * x[(old, column)]
        })
    }
}

impl Head {
    fn draw(rng: &mut Draws, scheme: &AloePri, config: &ModelConfig, frequencies: &[f64]) -> Self {
        let (size, value_size, planes) = (config.head_dim, config.value_dim, frequencies.len());
        let order = block_permutation(rng, scheme.beta, scheme.gamma, frequencies);
        let (mut query, mut key) = (Mat::zeros(size, size), Mat::zeros(size, size));
        for (new, old) in order.into_iter().enumerate() {
            let angle = std::f64::consts::TAU * rng.uniform();
            let (sin, cos) = (libm::sin(angle), libm::cos(angle));
            let scale = rng.scale();
            for (matrix, factor) in [(&mut query, scale), (&mut key, 1.0 / scale)] {
                matrix[(new, old)] = factor * cos;
                matrix[(new, old + planes)] = factor * sin;
                matrix[(new + planes, old)] = -factor * sin;
                matrix[(new + planes, old + planes)] = factor * cos;
            }
        }
        let value = match scheme.orthogonal_values {
            true => rng.orthogonal(value_size),
            false => rng.gaussian(value_size, value_size, 1.0 / value_size as f64),
        };
        Self {
            query,
            key,
            context: value.partial_piv_lu().inverse(),
            value: value.transpose().to_owned(),
        }
    }
}

/// BLOCKPERM of Algorithm 2: the old place of each plane. Windows of at most `beta` neighbours are shuffled, the larger the
/// less their frequencies differ.
fn block_permutation(rng: &mut Draws, beta: usize, gamma: f64, frequencies: &[f64]) -> Vec<usize> {
    let planes = frequencies.len();
    let mut order = Vec::with_capacity(planes);
    while order.len() + 1 < planes {
        let start = order.len();
        let most = beta.clamp(1, planes - 1 - start);
        let weights: Vec<f64> = (1..=most)
            .map(|size| libm::exp(gamma * (frequencies[start + size] - frequencies[start])))
            .collect();
        let window = 1 + draw_index(rng, &weights);
        order.extend(rng.permutation(window).into_iter().map(|old| start + old));
    }
    order.extend(order.len()..planes);
    order
}

/// An index with a probability in proportion to its weight; 0 if no weight is above zero.
fn draw_index(rng: &mut Draws, weights: &[f64]) -> usize {
    let mut left = rng.uniform() * weights.iter().sum::<f64>();
    for (index, weight) in weights.iter().enumerate() {
        left -= weight;
        if left < 0.0 {
            return index;
        }
    }
    0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aloepri::draws::Part;

    #[test]
    fn only_planes_of_like_frequency_change_places() {
        let mut rng = Draws::new(&[5; 32], Part::Layer(0));
        let frequencies: Vec<f64> = (0..32).map(|i| 1e5f64.powf(-f64::from(i) / 32.0)).collect();
        let mut moved = vec![0; 32];
        for _ in 0..200 {
            let order = block_permutation(&mut rng, 8, 1e3, &frequencies);
            let mut sorted = order.clone();
            sorted.sort_unstable();
            assert_eq!(sorted, (0..32).collect::<Vec<_>>());
            for (new, old) in order.iter().enumerate() {
                assert!(new.abs_diff(*old) < 8);
                moved[new] += usize::from(new != *old);
            }
        }
        assert_eq!(moved[..8], [0; 8], "frequencies far apart stay: {moved:?}");
        assert!(moved[16..30].iter().all(|count| *count > 60), "{moved:?}");
        let still = block_permutation(&mut rng, 1, 1e3, &frequencies);
        assert_eq!(still, (0..32).collect::<Vec<_>>());
    }
}
