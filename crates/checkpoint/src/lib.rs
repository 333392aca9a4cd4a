//! PUBLIC: Hugging Face folders, safetensors and GGUF: headers, positioned reads, streaming writes.
//!
//! Nothing here knows a key. A [`Checkpoint`] is opened by its headers alone; data is read a block
//! at a time, by position, from as many threads as wanted. A [`CheckpointWriter`] fixes every
//! header first and then takes blocks in any order. A [`StagedDir`] makes the whole folder appear
//! at once or not at all. [`import_gguf`] makes a folder of a GGUF file, and [`export_gguf`] a GGUF
//! file with an opaque vocabulary of a folder.
//!
//! ```
//! use equicrypt_checkpoint::{Checkpoint, CheckpointWriter, Dtype, StagedDir, TensorHeader};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let parent = tempfile::tempdir()?;
//! # let out = parent.path().join("model");
//! let staged = StagedDir::new(&out)?;
//! let headers = [TensorHeader::new("w", Dtype::Bf16, &[2, 3])];
//! let writer = CheckpointWriter::create(staged.path(), &headers)?;
//! let mut bytes = vec![0; 12];
//! Dtype::Bf16.encode_f32(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0], &mut bytes);
//! writer.write("w", 0, &bytes)?;
//! writer.finish()?;
//! equicrypt_checkpoint::write_json(
//!     &staged.path().join("config.json"),
//!     &serde_json::json!({"model_type": "llama"}),
//! )?;
//! staged.commit()?;
//!
//! let model = Checkpoint::open(&out)?;
//! assert_eq!(model.read_f32("w")?, [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
//! # Ok(())
//! # }
//! ```

mod again;
mod dtype;
mod error;
mod export;
mod fingerprint;
mod folder;
pub mod gguf;
mod gguf_arch;
mod import;
mod json;
pub mod safetensors;
mod staging;
mod tensor;
mod writer;

pub use again::{CheckpointAgain, Files};
pub use dtype::Dtype;
pub use error::Error;
pub use export::{GgufWeights, MANIFEST_KEY, OpaqueVocabulary, export_gguf};
pub use folder::{Checkpoint, model_config};
pub use import::import_gguf;
pub use json::{read_json, read_list, write_json};
pub use staging::StagedDir;
pub use tensor::{IgnoredTensor, TensorHeader, TensorInfo};
pub use writer::{CheckpointWriter, DEFAULT_MAX_SHARD_BYTES};
