//! BLIND: the forward pass, the KV cache, sampling and batching; it cannot name a key.

mod decoder;
mod error;
mod sampling;
mod scheduler;

pub use decoder::*;
pub use error::Error;
pub use sampling::*;
pub use scheduler::*;
