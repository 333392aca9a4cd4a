//! BLIND: the forward pass, the KV cache, sampling and batching; it cannot name a key.

mod decoder;
mod encoder;
mod error;
mod kernel;
mod layers;
mod names;
mod sampling;
mod scheduler;

pub use decoder::{Chunk, Decoder, KvCache, Logits, Precision, Want};
pub use encoder::{
    EncodeRequest, Encoder, EncoderEngine, EncoderOptions, Encoding, Part, Text, Vectors,
};
pub use error::Error;
pub use layers::{
    Linear, LinearId, LinearLayers, LinearWeights, Linears, Pending, Projection, Rows, Values,
};
pub use sampling::*;
pub use scheduler::*;
