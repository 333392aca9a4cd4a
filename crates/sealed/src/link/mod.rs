//! A connection for both directions: a Unix socket as it is, TCP sealed from end to end.
//!
//! The host proves that it has the secret of a [`TransportPublic`](crate::TransportPublic) whose fingerprint the owner has pinned;
//! owners are not told apart. Both sides add a key that is gone when the handshake is over, so that who steals the secret
//! later does not read what was recorded before.
//!
//! ```text
//! host  -> owner   "equicrypt link 1\0"  public (32)
//! owner -> host    enc_1 (32)  seal_1(the owner's ephemeral public key)
//! host  -> owner   enc_2 (32)  seal_2("")
//! ```
//!
//! `seal_1` is HPKE in base mode to the host's key, `seal_2` the same to the owner's ephemeral one, with the associated data of
//! everything before it. Then frames follow in both directions as in a sealed answer, each direction with its key and base
//! nonce out of both exported secrets and the hash of the handshake. The last frame says that it is the last: what is cut off,
//! dropped, repeated, moved, changed or added is an error.

mod address;
mod handshake;
mod sealed;
mod socket;

pub use address::Address;
pub use socket::{Incoming, Link, LinkControl, LinkReader, LinkWriter, Listener, connect};
