//! What decoders and encoders are made of.

mod linear;
mod load;
mod norm;
mod rope;
mod stacked;

pub(crate) use linear::{Asked, Dense, apply, ask};
pub use linear::{Linear, LinearId, Linears, Pending, Projection, Rows, Values};
pub(crate) use load::Weights;
pub(crate) use norm::{Norm, NormKind};
pub(crate) use rope::{Rotary, Turns};
pub use stacked::{LinearLayers, LinearWeights};
