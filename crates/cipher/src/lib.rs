//! OWNER room: the key, its schedule, the secret vocabulary, and the rewrite of a checkpoint under them.
//!
//! The order of reading: [`MasterKey`] (a file), the key schedule (a subkey for each axis), elements (the maps that act on
//! an axis), [`Homophones`] (how many cipher ids each plain id has), [`Secrets`] (one legal element for each axis), [`Plan`] (every output tensor, checked), [`encrypt`] (the
//! write pass), [`Vocabulary`] (ids there and back), [`Outputs`] (an encoder's answers back), [`VectorCipher`] (embeddings for a database).

mod adapter;
mod element;
mod encrypt;
mod error;
mod expand;
mod homophone_chain;
mod homophones;
mod key;
mod key_file;
mod linear_algebra;
mod noise;
mod outputs;
mod pass;
mod plan;
mod real;
mod rekey;
mod rewrite;
mod rng;
mod sample;
mod schedule;
mod secrets;
mod tokenizer;
mod vectors;
mod vocabulary;

pub use adapter::encrypt_adapter;
pub use encrypt::{Options, Summary, encrypt, encrypt_with_homophones};
pub use error::Error;
pub use homophones::{Allocation, Homophones};
pub use key::MasterKey;
pub use key_file::{Passphrase, read_key_file, write_key_file};
pub use outputs::Outputs;
pub use plan::{OutputTensor, Plan};
pub use rekey::{NextEpoch, Rekeyed, rekey};
pub use schedule::Schedule;
pub use secrets::{Permit, Secrets};
pub use vectors::{EncryptedVector, Nonce, VectorCipher};
pub use vocabulary::{CipherIds, Vocabulary};

/// Ways around the legality check, for tests that must see an illegal secret break the model. Nothing that ships calls
/// them.
pub mod danger {
    pub use crate::encrypt::encrypt_with;
    pub use crate::secrets::danger::{derive_illegal, permit_anything};
}
