use pulp::Arch;

use crate::kernel::{Real, layer_norm, norm_here, rms_norm};

/// A norm with its gain, to which the architecture's offset is added.
pub(crate) struct Norm<T> {
    pub(crate) gain: Vec<T>,
    pub(crate) kind: NormKind<T>,
}

pub(crate) enum NormKind<T> {
    /// x / sqrt(mean(x^2) + epsilon) * gain
    RootMeanSquare,
    /// (x - mean(x)) / sqrt(var(x) + epsilon) * gain + bias
    MeanAndVariance { bias: Vec<T> },
}

impl<T: Real> Norm<T> {
    pub(crate) fn root_mean_square(gain: Vec<T>) -> Self {
        let kind = NormKind::RootMeanSquare;
        Self { gain, kind }
    }

    /// Each row of x, which is as wide as the gain.
    pub(crate) fn apply(&self, x: &[T], epsilon: f64) -> Vec<T> {
        match &self.kind {
            NormKind::RootMeanSquare => rms_norm(x, &self.gain, epsilon),
            NormKind::MeanAndVariance { bias } => layer_norm(x, &self.gain, bias, epsilon),
        }
    }

    /// The same in place, on this thread alone.
    pub(crate) fn apply_here(&self, arch: Arch, rows: &mut [T], epsilon: f64) {
        let bias = match &self.kind {
            NormKind::RootMeanSquare => None,
            NormKind::MeanAndVariance { bias } => Some(bias.as_slice()),
        };
        norm_here(arch, rows, &self.gain, bias, epsilon);
    }
}
