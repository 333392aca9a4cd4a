use std::io;
use std::path::PathBuf;
use std::time::Duration;

use equicrypt_ring::ModelDigest;
use thiserror::Error;

use crate::{HostAddress, HostName};

/// Why a model cannot be prepared, or a layer not be computed. No message holds anything of a prompt.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum Error {
    /// The checkpoint or the owner's folder cannot be read or written.
    #[error(transparent)]
    Checkpoint(#[from] equicrypt_checkpoint::Error),
    /// The model is not supported.
    #[error(transparent)]
    Engine(#[from] equicrypt_engine::Error),
    /// A layer cannot be turned into integers, or its vectors cannot.
    #[error("linear layer {layer}: {source}")]
    Layer {
        /// The layer.
        layer: String,
        /// Why.
        source: equicrypt_ring::Error,
    },
    /// A file of the owner's folder is not as it was prepared.
    #[error("{path}: expected {expected}, found {found}; prepare the folder anew", path = .path.display())]
    Folder {
        /// The file.
        path: PathBuf,
        /// What should be there.
        expected: String,
        /// What is.
        found: String,
    },
    /// A file cannot be read or written.
    #[error("{path}: {source}", path = .path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// Others can read what answers are checked with.
    #[error(
        "{path}: its mode is {mode:o}, so that hosts may know how their answers are checked; say chmod 600 if nobody has read it, \
         or prepare the folder anew",
        path = .path.display()
    )]
    FileMode {
        /// The file.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// The operating system has no randomness.
    #[error("the operating system's random generator failed: {0}")]
    Randomness(getrandom::Error),
    /// A host's text is none.
    #[error(
        "host {found:?}: expected unix:/path/of/a/socket, or tcp://host:port#fingerprint as the host prints it: {problem}"
    )]
    HostText {
        /// The text.
        found: String,
        /// What is wrong with it.
        problem: String,
    },
    /// Both hosts are the same.
    #[error(
        "host A and host B are the same, {address}: one that sees both shares sees the prompt; name two that do not collude"
    )]
    SameHost {
        /// Where it is.
        address: HostAddress,
    },
    /// A host failed.
    #[error(transparent)]
    Host(Box<HostError>),
    /// The session was ended by another request's failure.
    #[error("the session with the hosts ended because of another request; ask again")]
    Ended,
    /// All counters of a session are used up.
    #[error("a session has no masks left; ask again")]
    Exhausted,
    /// A layer was asked about in vectors of another width.
    #[error("linear layer {layer}: expected vectors of {expected} numbers, found {found}")]
    Width {
        /// The layer.
        layer: String,
        /// Its inputs.
        expected: usize,
        /// As they came.
        found: usize,
    },
}

/// Which host failed, and how.
#[derive(Debug, Error)]
#[error("host {name} ({address}): {problem}")]
pub struct HostError {
    /// Which of the two.
    pub name: HostName,
    /// Where it is.
    pub address: HostAddress,
    /// What it did.
    pub problem: HostProblem,
}

/// What a host did.
#[derive(Debug, Clone, Error)]
#[non_exhaustive]
pub enum HostProblem {
    /// It cannot be reached, or is not who it should be.
    #[error("{0}")]
    Unreachable(String),
    /// It has other weights.
    #[error(
        "it has another model or version: expected the digest {expected}, found {found}; prepare the owner's folder from the \
         host's checkpoint, with the same version of equicrypt"
    )]
    OtherModel {
        /// Of the owner's folder.
        expected: ModelDigest,
        /// As it says.
        found: ModelDigest,
    },
    /// It says why it does not answer.
    #[error("it refused: {0:?}")]
    Refused(String),
    /// The connection ended.
    #[error("the connection ended; look whether the host runs")]
    Gone,
    /// The connection failed.
    #[error("{0}")]
    Failed(String),
    /// It takes too long.
    #[error("it did not answer within {0:?}; look at its load, or allow more time")]
    Slow(Duration),
    /// It answered something that was not asked.
    #[error("expected {expected}, found {found}")]
    Unasked {
        /// What should have come.
        expected: String,
        /// What did.
        found: String,
    },
    /// It answered wrongly.
    #[error(
        "its answer to linear layer {layer} is wrong: it computes something else than the weights that it agreed to, by error or \
         on purpose; do not use it until that is explained"
    )]
    Wrong {
        /// The layer.
        layer: String,
    },
}
