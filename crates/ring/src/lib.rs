//! PUBLIC: exact linear layers over a ring of two primes, masks, and the messages between an owner and two hosts.
//!
//! The ring is R = Z_P with P = p1 p2 for the two largest primes below 2^31 ([`PRIMES`]). An element is a pair of residues,
//! and eight bytes on the wire. Weights are integers of 16 bits with a scale for each output ([`IntegerWeights`]), which all
//! parties compute from the same public checkpoint and agree on by a digest ([`ModelDigest`]). Activations are integers of
//! [`activation_bits`] bits with a scale for each vector ([`Scaled`]), which leaves the owner's machine never. A sum of
//! products then stays within half of P, so that it comes back from its residues exactly.
//!
//! Nothing here knows a key, opens a connection or reads a file.

mod activation;
mod combine;
mod digest;
mod error;
mod kernel;
mod mask;
mod modulus;
mod residues;
mod secret_dots;
mod weights;
pub mod wire;

pub use activation::{Scaled, activation_bits};
pub use combine::{ORDER, combine};
pub use digest::{LayerDigest, ModelDigest};
pub use error::Error;
pub use kernel::PackedWeights;
pub use mask::{MaskSeed, SEED_BYTES, expand};
pub use modulus::{Modulus, PRIMES};
pub use residues::Residues;
pub use secret_dots::SecretDots;
pub use weights::{IntegerWeights, LARGEST_WEIGHT};
