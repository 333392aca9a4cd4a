//! One GGUF file, versions 2 and 3, little-endian: metadata, tensor descriptions, data.
//!
//! The layout is described in <https://github.com/ggml-org/ggml/blob/master/docs/gguf.md>.
//! [`parse`] reads and checks everything before the data; [`GgufFile`] adds positioned reads;
//! [`GgmlType::dequantize`] turns blocks of the data into f32.

mod cursor;
mod file;
mod ggml_type;
mod header;
mod metadata;
mod quant;
#[cfg(test)]
pub(crate) mod testing;

pub use file::GgufFile;
pub use ggml_type::GgmlType;
pub use header::{GgufHeader, GgufTensor, MAX_HEADER_BYTES, parse};
pub use metadata::{MetadataArray, MetadataValue};
