use crate::kernel::{Real, layer_norm, rms_norm};

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
}
