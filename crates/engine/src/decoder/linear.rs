use std::fmt;
use std::sync::Arc;

use candle_core::{Device, Tensor};

use crate::Error;
use crate::kernel::{Matrix, Real, matmul, view};

/// y = x W^T + b: the decoder asks for its linear layers through this, so that they can be computed
/// elsewhere.
pub trait Linear: Send + Sync {
    /// From `[rows, input]` to `[rows, out]`, both contiguous, in the decoder's precision and on the
    /// CPU.
    ///
    /// # Errors
    /// If the layer cannot be computed.
    fn forward(&self, x: &Tensor) -> Result<Tensor, Error>;
}

/// Where a decoder gets linear layers from that are computed elsewhere.
pub trait Linears {
    /// The linear layer `id`.
    ///
    /// # Errors
    /// If there is none.
    fn linear(&mut self, id: LinearId) -> Result<Box<dyn Linear>, Error>;
}

/// Which linear layer of a decoder. Layers that read the same vectors are stacked into one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct LinearId {
    /// Which one inside its layer.
    pub projection: Projection,
    /// The layer; none for the head.
    pub layer: Option<usize>,
}

/// The linear layers of a decoder layer, and the head.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Projection {
    /// Queries, keys and values, stacked in this order.
    QueryKeyValue,
    /// From the attention's context back to the residual stream.
    Output,
    /// Gate and up, stacked in this order.
    GateUp,
    /// From the neurons back to the residual stream.
    Down,
    /// Logits.
    Head,
}

impl Projection {
    /// This one of `layer`.
    #[must_use]
    pub fn of(self, layer: Option<usize>) -> LinearId {
        LinearId {
            projection: self,
            layer,
        }
    }
}

impl fmt::Display for LinearId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.layer {
            Some(layer) => write!(f, "{:?} of layer {layer}", self.projection),
            None => write!(f, "{:?}", self.projection),
        }
    }
}

/// A linear layer computed here.
pub(super) struct Dense<T> {
    pub(super) weight: Arc<Matrix<T>>,
    pub(super) bias: Option<Vec<T>>,
}

impl<T: Real> Linear for Dense<T> {
    fn forward(&self, x: &Tensor) -> Result<Tensor, Error> {
        let (rows, _) = x.dims2()?;
        let out = self.weight.rows();
        let mut y = vec![T::zero(); rows * out];
        view(x, |x| matmul(x, &self.weight, &mut y))??;
        if let Some(bias) = &self.bias {
            for row in y.chunks_exact_mut(out) {
                for (y, b) in row.iter_mut().zip(bias) {
                    *y += *b;
                }
            }
        }
        Ok(Tensor::from_vec(y, (rows, out), &Device::Cpu)?)
    }
}
