use std::fmt;
use std::sync::Arc;

use crate::Error;
use crate::kernel::{Matrix, Real, matmul};

/// y = x W^T + b: the decoder asks for its linear layers through this, so that they can be computed
/// elsewhere.
pub trait Linear: Send + Sync {
    /// From vectors of the layer's input to as many of its output, both in the decoder's precision.
    ///
    /// # Errors
    /// If the layer cannot be computed.
    fn forward(&self, x: &Rows) -> Result<Rows, Error>;
}

/// Vectors, one a token, each of `width` numbers, one after the other.
#[derive(Debug, Clone, PartialEq)]
pub struct Rows {
    /// Numbers in a vector.
    pub width: usize,
    /// All of them.
    pub values: Values,
}

/// Numbers in the decoder's precision.
#[derive(Debug, Clone, PartialEq)]
pub enum Values {
    /// Of a decoder in f32.
    F32(Vec<f32>),
    /// Of a decoder in f64.
    F64(Vec<f64>),
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
    fn forward(&self, x: &Rows) -> Result<Rows, Error> {
        let (input, out) = (self.weight.columns(), self.weight.rows());
        let wrong = || Error::LinearInput {
            expected: input,
            found: x.width,
        };
        let x = T::of_values(&x.values)
            .filter(|_| x.width == input)
            .ok_or_else(wrong)?;
        let mut y = vec![T::zero(); x.len() / input * out];
        matmul(x, &self.weight, &mut y)?;
        if let Some(bias) = &self.bias {
            for row in y.chunks_exact_mut(out) {
                for (y, b) in row.iter_mut().zip(bias) {
                    *y += *b;
                }
            }
        }
        Ok(Rows {
            width: out,
            values: T::into_values(y),
        })
    }
}
