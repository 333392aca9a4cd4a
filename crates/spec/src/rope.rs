use std::f64::consts::PI;

/// Rotary position embedding: plane i of a head turns by position * f_i.
#[derive(Debug, Clone, PartialEq)]
pub struct Rope {
    /// f_i = theta^(-2 i / dim) before scaling.
    pub theta: f64,
    /// How the frequencies are stretched for long contexts.
    pub scaling: RopeScaling,
}

/// Ways to stretch RoPE's frequencies.
#[derive(Debug, Clone, PartialEq)]
pub enum RopeScaling {
    /// f_i as it is.
    None,
    /// f_i / factor.
    Linear {
        /// The stretch.
        factor: f64,
    },
    /// Llama 3: long wavelengths are stretched by `factor`, short ones are not, with a linear blend between them
    /// (Llama 3.1 model card and `config.json`).
    Llama3 {
        /// The stretch of the longest wavelengths.
        factor: f64,
        /// Wavelengths above `original_positions / low` are stretched fully.
        low: f64,
        /// Wavelengths below `original_positions / high` are left alone.
        high: f64,
        /// The context before stretching.
        original_positions: f64,
    },
}

impl Rope {
    /// The angular frequencies f_0 ... f_{dim/2 - 1}, in radians a position.
    #[must_use]
    pub fn frequencies(&self, dim: usize) -> Vec<f64> {
        (0..dim / 2)
            .map(|pair| {
                self.scaling
                    .apply(self.theta.powf(-2.0 * pair as f64 / dim as f64))
            })
            .collect()
    }
}

impl RopeScaling {
    fn apply(&self, frequency: f64) -> f64 {
        match *self {
            Self::None => frequency,
            Self::Linear { factor } => frequency / factor,
            Self::Llama3 {
                factor,
                low,
                high,
                original_positions,
            } => {
                let turns = original_positions * frequency / (2.0 * PI);
                let unstretched = ((turns - low) / (high - low)).clamp(0.0, 1.0);
                frequency * (unstretched + (1.0 - unstretched) / factor)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn llama3_stretches_long_waves_only() {
        let plain = Rope {
            theta: 500_000.0,
            scaling: RopeScaling::None,
        };
        let scaling = RopeScaling::Llama3 {
            factor: 8.0,
            low: 1.0,
            high: 4.0,
            original_positions: 8192.0,
        };
        let stretched = Rope {
            theta: 500_000.0,
            scaling,
        };
        let (plain, stretched) = (plain.frequencies(128), stretched.frequencies(128));
        assert_eq!(plain[0], stretched[0]);
        assert_eq!(plain[63] / 8.0, stretched[63]);
        assert!(
            plain
                .iter()
                .zip(&stretched)
                .all(|(p, s)| s <= p && *s >= p / 8.0)
        );
    }
}
