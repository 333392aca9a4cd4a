//! What decoders and encoders are made of.

mod linear;
mod load;
mod norm;
mod rope;
mod stacked;

pub(crate) use linear::{Dense, apply};
pub use linear::{Linear, LinearId, Linears, Projection, Rows, Values};
pub(crate) use load::Weights;
pub(crate) use norm::{Norm, NormKind};
pub(crate) use rope::{Rotary, Turns};
pub use stacked::{LinearLayers, LinearWeights};
