//! One safetensors file: an 8-byte little-endian length, a JSON header of that length, the data.
//!
//! The header says for each tensor its dtype, shape and `[begin, end)` in the data. The format
//! is described at <https://huggingface.co/docs/safetensors>; [`parse_header`] refuses whatever
//! departs from it.

mod flusher;
mod header;
mod reader;
mod writer;

pub use header::{Header, MAX_HEADER_BYTES, parse_header};
pub use reader::SafetensorsFile;
pub use writer::SafetensorsWriter;
