//! One GGUF file, versions 2 and 3, little-endian: metadata, tensor descriptions, data.
//!
//! The layout is described in <https://github.com/ggml-org/ggml/blob/master/docs/gguf.md>.
//! [`parse`] reads and checks everything before the data; [`GgufFile`] adds positioned reads;
//! [`GgmlType::dequantize`] turns blocks of the data into f32.
//! [`GgufWriter`] and [`GgmlType::quantize`] go the other way.

mod cursor;
mod encode;
mod file;
mod ggml_type;
mod header;
mod metadata;
mod q4_k;
mod quant;
#[cfg(test)]
pub(crate) mod testing;
mod writer;

pub use file::GgufFile;
pub use ggml_type::GgmlType;
pub use header::{GgufHeader, GgufTensor, MAX_HEADER_BYTES, parse};
pub use metadata::{MetadataArray, MetadataValue};
pub use writer::{GgufTensorHeader, GgufWriter};
