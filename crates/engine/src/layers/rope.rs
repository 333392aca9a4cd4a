use equicrypt_spec::{Axis, ModelConfig};

use crate::kernel::{Real, rotate};

/// The planes of a head, and how fast each one turns.
pub(crate) struct Rotary {
    planes: Vec<(usize, usize)>,
    frequencies: Vec<f64>,
    amplitude: f64,
    head_dim: usize,
}

/// (cos, sin) of each plane, for each token.
pub(crate) type Turns<T> = Vec<Vec<(T, T)>>;

impl Rotary {
    /// One for each of the model's RoPEs.
    pub(crate) fn all(config: &ModelConfig) -> Vec<Self> {
        let (arch, dim) = (config.architecture, config.rotary_dim);
        // Latent attention turns the last coordinates of a head, everything else the first ones.
        let (layout, start) = match arch.rope_layout(Axis::QkShared, config) {
            Some(layout) => (Some(layout), config.head_dim - dim),
            None => (arch.rope_layout(Axis::QkDim, config), 0),
        };
        let Some(layout) = layout else {
            return Vec::new();
        };
        let plane = |pair| {
            let (a, b) = layout.plane(pair, dim);
            (start + a, start + b)
        };
        let rotary = |rope: &equicrypt_spec::Rope| Self {
            planes: (0..dim / 2).map(plane).collect(),
            frequencies: rope.frequencies(dim),
            amplitude: rope.amplitude(),
            head_dim: config.head_dim,
        };
        config.ropes.iter().map(rotary).collect()
    }

    /// (cos, sin) of position * f_i for each plane, rounded once.
    pub(crate) fn turns<T: Real>(&self, position: usize) -> Vec<(T, T)> {
        let turn = |frequency: &f64| {
            let (sin, cos) = (position as f64 * frequency).sin_cos();
            (
                T::from_f64(cos * self.amplitude),
                T::from_f64(sin * self.amplitude),
            )
        };
        self.frequencies.iter().map(turn).collect()
    }

    /// Turns every head of a row.
    pub(crate) fn rotate<T: Real>(&self, heads: &mut [T], turns: &[(T, T)]) {
        for head in heads.chunks_exact_mut(self.head_dim) {
            rotate(head, &self.planes, turns);
        }
    }
}
