//! The arithmetic of the forward pass on slices. Every result depends on its own row alone, bit for
//! bit, however many rows are computed together: batching and chunking never change an answer.

mod attention;
mod bidirectional;
mod elementwise;
mod matmul;
mod matrix;
mod memory;
mod real;
mod tile;

pub(crate) use attention::{Attention, Sight, attend};
pub(crate) use bidirectional::{WithinTexts, attend_within};
pub(crate) use elementwise::{activate, add, cap, gate, layer_norm, rms_norm, rotate};
pub(crate) use matmul::matmul;
pub(crate) use matrix::{Matrix, Numbers};
pub(crate) use real::Real;
