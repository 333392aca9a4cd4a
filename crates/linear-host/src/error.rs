use std::io;

use equicrypt_ring::ModelDigest;
use equicrypt_ring::wire::FrameError;
use equicrypt_sealed::Address;
use thiserror::Error;

/// Why a host does not start, or does not go on with an owner.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum Error {
    /// The checkpoint cannot be read.
    #[error(transparent)]
    Model(#[from] equicrypt_engine::Error),
    /// A layer cannot be turned into integers.
    #[error("linear layer {layer}: {source}")]
    Layer {
        /// The layer.
        layer: String,
        /// Why.
        source: equicrypt_ring::Error,
    },
    /// The address cannot be listened to.
    #[error("cannot listen on {address}; choose another address, or end who uses it")]
    Listen {
        /// The address.
        address: Address,
        /// The system's reason.
        source: io::Error,
    },
    /// The connection cannot be opened.
    #[error(transparent)]
    Link(#[from] equicrypt_sealed::Error),
    /// A message cannot be read or written.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// The first message is another one.
    #[error(
        "expected hello, which says what model the connection is about, as the first message and only then"
    )]
    Hello,
    /// The owner has another model.
    #[error(
        "the model here has the digest {here}, the owner's has {owner}: both must be prepared from the same checkpoint by the \
         same version"
    )]
    OtherModel {
        /// The host's.
        here: ModelDigest,
        /// The owner's.
        owner: ModelDigest,
    },
    /// A layer that the model does not have.
    #[error("layer {found}: the model has the layers 0 to {last}")]
    NoLayer {
        /// As asked for.
        found: u32,
        /// The last there is.
        last: usize,
    },
    /// Vectors of another width than the layer takes.
    #[error("layer {layer}: expected vectors of {expected} elements, found {found}")]
    Width {
        /// The layer.
        layer: String,
        /// Its inputs.
        expected: usize,
        /// As they came.
        found: usize,
    },
    /// Too many vectors at once.
    #[error("layer {layer}: expected 1 to {most} vectors at once, found {found}")]
    Rows {
        /// The layer.
        layer: String,
        /// As many as an answer has room for.
        most: usize,
        /// As asked about.
        found: usize,
    },
    /// Masks without a seed.
    #[error("expected a seed before the first question about masks")]
    NoSeed,
    /// A counter came again.
    #[error("mask counter {found}: expected {next} or more, because no mask may be used twice")]
    Counter {
        /// The least that was not used.
        next: u64,
        /// As asked for.
        found: u64,
    },
    /// All places are taken.
    #[error("{most} owners are connected, and no more are taken; try again later")]
    Full {
        /// As many as there may be.
        most: usize,
    },
}
