//! PUBLIC: instructions that have no safe name. All unsafe code of the workspace is here, behind safe functions.
//!
//! [`Lines`] asks for cache lines before they are wanted. [`TileUnit`] multiplies matrix tiles where the processor can (Intel's
//! AMX, Software Developer's Manual, volume 1, chapter 18): [`halves`] for numbers of 32 bits that are taken
//! apart into bfloat16, [`bytes`] for integers.

pub mod bytes;
pub mod halves;
mod lines;
mod tile;
mod unit;

pub use lines::Lines;
pub use unit::TileUnit;
