//! HOST: computes the linear layers of a public checkpoint on vectors that say nothing; it holds no key.
//!
//! A [`LinearModel`] has a checkpoint's linear layers as integers; a [`LinearHost`] answers owners who ask about them, over
//! [`wire`](equicrypt_ring::wire) messages in a [`Link`](equicrypt_sealed::Link). It answers both questions of the protocol, for vectors that it is
//! sent and for masks that it expands from a seed, and does not depend on which of an owner's two hosts it is. It counts, and
//! keeps nothing else of what it sees.

mod connection;
mod error;
mod host;
mod model;

pub use error::Error;
pub use host::{Counts, HostEvent, HostHandle, HostOptions, LinearHost};
pub use model::LinearModel;
