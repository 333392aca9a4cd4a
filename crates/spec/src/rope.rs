use std::f64::consts::PI;

/// Rotary position embedding: plane i turns by position * f_i.
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
    /// YaRN (Peng et al., arXiv 2309.00071, section 3): planes that turn more than `fast` times in the original context
    /// are left alone, those that turn less than `slow` times are stretched, with a linear blend between them; queries and
    /// keys are multiplied by `amplitude`.
    Yarn {
        /// The stretch.
        factor: f64,
        /// Turns above which a plane is left alone.
        fast: f64,
        /// Turns below which a plane is stretched fully.
        slow: f64,
        /// The context before stretching.
        original_positions: f64,
        /// Whether the blend's ends are whole planes.
        truncate: bool,
        /// What cosine and sine are multiplied by, where the file says so itself.
        attention_factor: Option<f64>,
        /// Weights of the logarithmic term of the amplitude, in queries and in all of attention (DeepSeek).
        mscale: Option<(f64, f64)>,
    },
    /// LongRoPE (Ding et al., arXiv 2402.13753): each plane has a stretch of its own, another one for contexts within the
    /// original length than for longer ones.
    Long {
        /// Stretches within the original context.
        short: Vec<f64>,
        /// Stretches beyond it.
        long: Vec<f64>,
        /// The context before stretching.
        original_positions: f64,
        /// The stretched context in relation to it.
        factor: f64,
        /// What cosine and sine are multiplied by, where the file says so itself.
        attention_factor: Option<f64>,
    },
}

impl Rope {
    /// The angular frequencies f_0 ... f_{dim/2 - 1}, in radians a position.
    #[must_use]
    pub fn frequencies(&self, dim: usize) -> Vec<f64> {
        let plain = |pair: usize| self.theta.powf(-2.0 * pair as f64 / dim as f64);
        (0..dim / 2)
            .map(|pair| self.stretched(pair, dim, plain(pair)))
            .collect()
    }

    /// What cosines and sines are multiplied by.
    #[must_use]
    pub fn amplitude(&self) -> f64 {
        match self.scaling {
            RopeScaling::Yarn {
                attention_factor: Some(amplitude),
                ..
            }
            | RopeScaling::Long {
                attention_factor: Some(amplitude),
                ..
            } => amplitude,
            RopeScaling::Yarn {
                factor,
                mscale: Some((queries, all)),
                ..
            } => yarn_amplitude(factor, queries) / yarn_amplitude(factor, all),
            RopeScaling::Yarn { factor, .. } => yarn_amplitude(factor, 1.0),
            RopeScaling::Long {
                factor,
                original_positions,
                ..
            } if factor > 1.0 => (1.0 + factor.ln() / original_positions.ln()).sqrt(),
            _ => 1.0,
        }
    }

    /// The context up to which [`frequencies`](Self::frequencies) holds, if it does not hold for all.
    #[must_use]
    pub fn original_context(&self) -> Option<usize> {
        match self.scaling {
            RopeScaling::Long {
                original_positions, ..
            } => Some(original_positions as usize),
            _ => None,
        }
    }

    fn stretched(&self, pair: usize, dim: usize, frequency: f64) -> f64 {
        match &self.scaling {
            RopeScaling::None => frequency,
            RopeScaling::Linear { factor } => frequency / factor,
            RopeScaling::Llama3 {
                factor,
                low,
                high,
                original_positions,
            } => {
                let turns = original_positions * frequency / (2.0 * PI);
                let unstretched = ((turns - low) / (high - low)).clamp(0.0, 1.0);
                frequency * (unstretched + (1.0 - unstretched) / factor)
            }
            RopeScaling::Yarn {
                factor,
                fast,
                slow,
                original_positions,
                truncate,
                ..
            } => {
                let plane_of = |turns: f64| {
                    let wave = original_positions / (turns * 2.0 * PI);
                    dim as f64 * wave.ln() / (2.0 * self.theta.ln())
                };
                let (mut low, mut high) = (plane_of(*fast), plane_of(*slow));
                if *truncate {
                    (low, high) = (low.floor(), high.ceil());
                }
                let (low, mut high) = (low.max(0.0), high.min(dim as f64 - 1.0));
                if low == high {
                    high += 0.001;
                }
                let stretched = ((pair as f64 - low) / (high - low)).clamp(0.0, 1.0);
                frequency * (1.0 - stretched + stretched / factor)
            }
            RopeScaling::Long { short, .. } => frequency / short.get(pair).copied().unwrap_or(1.0),
        }
    }
}

/// 1 + 0.1 weight ln(factor): YaRN's amplitude.
pub(crate) fn yarn_amplitude(factor: f64, weight: f64) -> f64 {
    if factor <= 1.0 {
        1.0
    } else {
        1.0 + 0.1 * weight * factor.ln()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rope(theta: f64, scaling: RopeScaling) -> Rope {
        Rope { theta, scaling }
    }

    fn yarn(truncate: bool, mscale: Option<(f64, f64)>) -> RopeScaling {
        RopeScaling::Yarn {
            factor: 4.0,
            fast: 32.0,
            slow: 1.0,
            original_positions: 4096.0,
            truncate,
            attention_factor: None,
            mscale,
        }
    }

    #[test]
    fn only_long_waves_are_stretched() {
        let llama3 = RopeScaling::Llama3 {
            factor: 4.0,
            low: 1.0,
            high: 4.0,
            original_positions: 8192.0,
        };
        let plain = rope(500_000.0, RopeScaling::None).frequencies(128);
        for scaling in [llama3, yarn(true, None), yarn(false, None)] {
            let stretched = rope(500_000.0, scaling).frequencies(128);
            assert_eq!(plain[0], stretched[0]);
            assert!((plain[63] / 4.0 - stretched[63]).abs() < 1e-20);
            assert!(
                plain
                    .iter()
                    .zip(&stretched)
                    .all(|(p, s)| *s <= p * (1.0 + 1e-12) && *s >= p / 4.0 * (1.0 - 1e-12))
            );
        }
    }

    #[test]
    fn amplitudes_follow_the_stretch() {
        let amplitude = |scaling| rope(1e4, scaling).amplitude();
        assert_eq!(amplitude(RopeScaling::None), 1.0);
        assert!((amplitude(yarn(true, None)) - (1.0 + 0.1 * 4f64.ln())).abs() < 1e-15);
        assert_eq!(amplitude(yarn(true, Some((0.7, 0.7)))), 1.0);
        let long = RopeScaling::Long {
            short: vec![1.0],
            long: vec![4.0],
            original_positions: 4096.0,
            factor: 32.0,
            attention_factor: None,
        };
        assert!((amplitude(long) - 1.190_238).abs() < 1e-6);
    }
}
