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

    /// Begins to compute the same: of layers that are computed elsewhere several can be asked before one is waited for. What is
    /// computed here is ready at once.
    ///
    /// # Errors
    /// As there, now or when it is waited for.
    fn ask(&self, x: &Rows) -> Result<Pending<'_>, Error> {
        let y = self.forward(x)?;
        Ok(Box::new(|| Ok(y)))
    }
}

/// An answer on its way, which is waited for by calling it.
pub type Pending<'a> = Box<dyn FnOnce() -> Result<Rows, Error> + 'a>;

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

/// Where a decoder or an encoder gets linear layers from that are computed elsewhere.
///
/// Where, may be somebody who is not to know what is computed. Which layers are asked, and about how many vectors, therefore
/// depends on the number of tokens alone: in a mixture of experts every token visits every expert, and what those say whom the
/// router did not choose is dropped. That costs the traffic and the work of all experts. A head that is the embedding is
/// computed where the embedding is.
pub trait Linears {
    /// The linear layer `id`.
    ///
    /// # Errors
    /// If there is none.
    fn linear(&mut self, id: LinearId) -> Result<Box<dyn Linear>, Error>;

    /// Whether there is the linear layer `id`: asked about those that some checkpoints of an architecture lack.
    fn has(&self, id: LinearId) -> bool {
        let _ = id;
        true
    }
}

/// Which linear layer of a decoder. Layers that read the same vectors are stacked into one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct LinearId {
    /// Which one inside its layer.
    pub projection: Projection,
    /// The layer; none for the head.
    pub layer: Option<usize>,
    /// The expert, if each has one.
    pub expert: Option<usize>,
}

/// The linear layers of a decoder layer, and the head.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Projection {
    /// Queries, keys and values, stacked in this order.
    QueryKeyValue,
    /// Queries alone, where keys and values come out of a latent vector.
    Query,
    /// Down to the latent vector of queries.
    QueryDown,
    /// Queries from it.
    QueryUp,
    /// Down to the latent vector of keys and values, and the rotary key that all heads share.
    KeyValueDown,
    /// Keys of all heads and then values of all heads from it.
    KeyValueUp,
    /// From the attention's context back to the residual stream.
    Output,
    /// Gate and up, stacked in this order; up alone where there is no gate.
    GateUp,
    /// From the neurons back to the residual stream.
    Down,
    /// A number for each expert.
    Router,
    /// Gate and up of an expert.
    ExpertGateUp,
    /// From an expert's neurons back to the residual stream.
    ExpertDown,
    /// Gate and up of the expert that every token visits.
    SharedGateUp,
    /// From its neurons back to the residual stream.
    SharedDown,
    /// The share of it that a token takes.
    SharedShare,
    /// Logits.
    Head,
    /// The first layer of an encoder's head.
    HeadDense,
    /// Labels.
    Labels,
    /// Behind the pooling of a sentence embedding.
    SentenceDense,
}

impl Projection {
    /// All of them, about in the order in which a token passes them.
    pub(crate) const ALL: [Self; 19] = [
        Self::QueryKeyValue,
        Self::KeyValueDown,
        Self::KeyValueUp,
        Self::Query,
        Self::QueryDown,
        Self::QueryUp,
        Self::Output,
        Self::GateUp,
        Self::Down,
        Self::Router,
        Self::ExpertGateUp,
        Self::ExpertDown,
        Self::SharedGateUp,
        Self::SharedDown,
        Self::SharedShare,
        Self::HeadDense,
        Self::Head,
        Self::Labels,
        Self::SentenceDense,
    ];

    /// Those that each expert has.
    pub(crate) const OF_EXPERT: [Self; 2] = [Self::ExpertGateUp, Self::ExpertDown];

    /// This one of `layer`.
    #[must_use]
    pub fn of(self, layer: Option<usize>) -> LinearId {
        LinearId {
            projection: self,
            layer,
            expert: None,
        }
    }

    /// This one of `expert` in `layer`.
    #[must_use]
    pub fn of_expert(self, layer: Option<usize>, expert: usize) -> LinearId {
        LinearId {
            expert: Some(expert),
            ..self.of(layer)
        }
    }
}

impl fmt::Display for LinearId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.projection)?;
        if let Some(expert) = self.expert {
            write!(f, " of expert {expert}")?;
        }
        match self.layer {
            Some(layer) => write!(f, " of layer {layer}"),
            None => Ok(()),
        }
    }
}

/// The layer's answer to x, `sizes` being its input's and its output's; checked, because it may have been computed
/// elsewhere.
pub(crate) fn apply<T: Real>(
    linear: &dyn Linear,
    id: LinearId,
    x: Vec<T>,
    [input, out]: [usize; 2],
) -> Result<Vec<T>, Error> {
    let rows = x.len() / input;
    let values = T::into_values(x);
    let y = linear.forward(&Rows {
        width: input,
        values,
    })?;
    checked(y, id, [rows, out])
}

/// The same, of which the answer is waited for later.
pub(crate) fn ask<'a, T: Real>(
    linear: &'a dyn Linear,
    id: LinearId,
    x: Vec<T>,
    [input, out]: [usize; 2],
) -> Result<Asked<'a>, Error> {
    let shape = [x.len() / input, out];
    let values = T::into_values(x);
    let pending = linear.ask(&Rows {
        width: input,
        values,
    })?;
    Ok(Asked { pending, id, shape })
}

/// An answer on its way, and what it must be.
pub(crate) struct Asked<'a> {
    pending: Pending<'a>,
    id: LinearId,
    shape: [usize; 2],
}

impl Asked<'_> {
    pub(crate) fn wait<T: Real>(self) -> Result<Vec<T>, Error> {
        checked((self.pending)()?, self.id, self.shape)
    }
}

fn checked<T: Real>(y: Rows, id: LinearId, [rows, out]: [usize; 2]) -> Result<Vec<T>, Error> {
    let width = y.width;
    let values = T::from_values(y.values).ok_or_else(|| Error::Linear {
        layer: id.to_string(),
        problem: "it answered in another precision than it was asked in".to_owned(),
    })?;
    if width == out && values.len() == rows * out {
        return Ok(values);
    }
    Err(Error::LinearShape {
        layer: id.to_string(),
        expected: vec![rows, out],
        found: vec![values.len() / width.max(1), width],
    })
}

/// A linear layer computed here.
pub(crate) struct Dense<T> {
    pub(crate) weight: Arc<Matrix<T>>,
    pub(crate) bias: Option<Vec<T>>,
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
