use equicrypt_spec::ModelConfig;

use crate::Error;
use crate::kernel::{Real, rotate};

/// The planes of a head, and how fast each one turns.
pub(super) struct Rotary {
    planes: Vec<(usize, usize)>,
    frequencies: Vec<f64>,
    head_dim: usize,
}

impl Rotary {
    pub(super) fn new(config: &ModelConfig) -> Result<Self, Error> {
        let layout = config
            .architecture
            .rope_layout()
            .ok_or_else(|| Error::Architecture {
                model_type: config.architecture.model_type,
                missing: "rotary position embedding".into(),
            })?;
        let head_dim = config.head_dim;
        Ok(Self {
            planes: (0..head_dim / 2)
                .map(|pair| layout.plane(pair, head_dim))
                .collect(),
            frequencies: config.rope.frequencies(head_dim),
            head_dim,
        })
    }

    /// (cos, sin) of position * f_i for each plane, rounded once.
    pub(super) fn turns<T: Real>(&self, position: usize) -> Vec<(T, T)> {
        let turn = |frequency: &f64| {
            let (sin, cos) = (position as f64 * frequency).sin_cos();
            (T::from_f64(cos), T::from_f64(sin))
        };
        self.frequencies.iter().map(turn).collect()
    }

    /// Turns every head of a row.
    pub(super) fn rotate<T: Real>(&self, heads: &mut [T], turns: &[(T, T)]) {
        for head in heads.chunks_exact_mut(self.head_dim) {
            rotate(head, &self.planes, turns);
        }
    }
}
