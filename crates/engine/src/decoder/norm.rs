use crate::kernel::{Real, layer_norm, rms_norm};

/// A norm with its gain, to which the architecture's offset is added.
pub(super) struct Norm<T> {
    pub(super) gain: Vec<T>,
    pub(super) kind: NormKind<T>,
}

pub(super) enum NormKind<T> {
    /// x / sqrt(mean(x^2) + epsilon) * gain
    RootMeanSquare,
    /// (x - mean(x)) / sqrt(var(x) + epsilon) * gain + bias
    MeanAndVariance { bias: Vec<T> },
}

impl<T: Real> Norm<T> {
    pub(super) fn root_mean_square(gain: Vec<T>) -> Self {
        let kind = NormKind::RootMeanSquare;
        Self { gain, kind }
    }

    /// Each row of x, which is as wide as the gain.
    pub(super) fn apply(&self, x: &[T], epsilon: f64) -> Vec<T> {
        match &self.kind {
            NormKind::RootMeanSquare => rms_norm(x, &self.gain, epsilon),
            NormKind::MeanAndVariance { bias } => layer_norm(x, &self.gain, bias, epsilon),
        }
    }
}
