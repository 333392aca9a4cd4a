//! The arithmetic of the forward pass on slices. Every result depends on its own row alone, bit for
//! bit, however many rows are computed together: batching and chunking never change an answer.

mod attention;
mod awake;
mod bidirectional;
mod elementwise;
mod functions;
mod matmul;
mod matrix;
mod memory;
mod norm;
mod numbers;
mod packed;
mod panel_matrix;
mod panels;
mod real;
mod stream;
mod tile_matrix;

pub(crate) use attention::{Attention, Sight, attend};
pub(crate) use awake::awake;
pub(crate) use bidirectional::{WithinTexts, attend_within};
pub(crate) use elementwise::{activate, activate_here, add, cap, gate, gate_here, rotate};
pub(crate) use matmul::matmul;
pub(crate) use matrix::{Matrix, Storage};
pub(crate) use norm::{layer_norm, norm_here, rms_norm};
pub(crate) use numbers::Numbers;
pub(crate) use packed::{Packed, block_rows};
pub(crate) use real::Real;
