//! BLIND: the forward pass, the KV cache, sampling and batching; it cannot name a key.

mod decoder;
mod error;
mod kernel;
mod sampling;
mod scheduler;

pub use decoder::{
    Chunk, Decoder, KvCache, Linear, LinearId, Linears, Logits, Precision, Projection, Rows,
    Values, Want,
};
pub use error::Error;
pub use sampling::*;
pub use scheduler::*;
