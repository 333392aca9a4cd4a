use std::path::PathBuf;

use equicrypt_spec::{AxisId, Group, KeyId};
use thiserror::Error;

/// What can go wrong on the owner's side. No message holds a key, a subkey or a token id.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum Error {
    /// The model's description is at fault.
    #[error(transparent)]
    Spec(#[from] equicrypt_spec::Error),
    /// A file of the checkpoint is at fault.
    #[error(transparent)]
    Checkpoint(#[from] equicrypt_checkpoint::Error),
    /// The key file cannot be opened, read or written.
    #[error("key file {path}: {source}")]
    KeyFile {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// The key file exists already.
    #[error("key file {path}: exists already; a key is never overwritten, choose another name")]
    KeyFileExists {
        /// The file.
        path: PathBuf,
    },
    /// Others can read the key file.
    #[error("key file {path}: mode is {mode:04o}, others can read it; run: chmod 600 {path}")]
    KeyFileMode {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The text is not a key.
    #[error(
        "key: expected EQUICRYPT-SECRET-KEY-1 followed by 58 characters with a correct checksum, found {found}; restore \
         the file from your copy"
    )]
    KeyText {
        /// What is wrong with it, without quoting it.
        found: &'static str,
    },
    /// The key file is protected, and no passphrase was given.
    #[error("key file is protected by a passphrase, and none was given")]
    PassphraseNeeded,
    /// The passphrase does not open the file.
    #[error("it does not open with this passphrase: {0}")]
    Passphrase(String),
    /// The key is not the one that encrypted the model.
    #[error(
        "wrong key: the model was encrypted under key {expected}, this key is {found}; use the key file that encrypted it"
    )]
    WrongKey {
        /// From the manifest.
        expected: KeyId,
        /// Of the key at hand.
        found: KeyId,
    },
    /// The operating system has no randomness.
    #[error("the operating system's random generator failed: {0}")]
    Randomness(getrandom::Error),
    /// A secret outside the legal group of its axis.
    #[error("axis {}: a secret from {requested:?} is illegal here; the operations on this axis allow {legal:?}", axis.label())]
    Illegal {
        /// The axis.
        axis: AxisId,
        /// What was asked for.
        requested: Group,
        /// What its operations permit.
        legal: Group,
    },
    /// A tensor asks for a part of a secret that does not exist.
    #[error(
        "tensor {tensor:?}: the secret of its axis mixes coordinates, and a gain or gate cannot follow that"
    )]
    NoPermutation {
        /// The tensor.
        tensor: String,
    },
    /// A norm whose bias cannot be carried.
    #[error(
        "tensor {bias:?}: it is to be divided by the gain {gain:?}, which is zero somewhere; use --profile permute"
    )]
    ZeroGain {
        /// The norm's gain.
        gain: String,
        /// The norm's bias.
        bias: String,
    },
    /// An epoch that a model cannot be rekeyed to.
    #[error("epoch {found}: the model has epoch {present}, and this {problem}")]
    Epoch {
        /// Of the encrypted model.
        present: u32,
        /// As asked for.
        found: u32,
        /// What is wrong with it, and what to do.
        problem: &'static str,
    },
    /// The manifest in an encrypted folder is of another model.
    #[error(
        "{}: its equicrypt.json is of another model than its config.json; encrypt the original again",
        dir.display()
    )]
    ForeignManifest {
        /// The folder.
        dir: PathBuf,
    },
    /// The adapter is not one that can be rewritten.
    #[error("adapter {file}: {problem}")]
    Adapter {
        /// The file at fault.
        file: PathBuf,
        /// What was expected and found.
        problem: String,
    },
    /// The encrypted base was not made from this model, or not with these options.
    #[error(
        "the encrypted base was not made from this model; give the folder that it was encrypted from, unchanged"
    )]
    OtherBase,
    /// The configuration is not that of the encrypted model's original.
    #[error(
        "expected the folder of the {expected} model that was encrypted, found one of a {found} model; give the original"
    )]
    OtherModel {
        /// From the manifest.
        expected: String,
        /// From the configuration.
        found: &'static str,
    },
    /// The model gives no such answer.
    #[error("this model gives no {what}")]
    NoSuchOutput {
        /// The answer.
        what: &'static str,
    },
    /// An answer has too few or too many numbers.
    #[error(
        "{what}: expected {expected} numbers, found {found}; the host serves another model than the manifest says"
    )]
    OutputWidth {
        /// The answer.
        what: &'static str,
        /// As many as the axis has.
        expected: usize,
        /// As many as came.
        found: usize,
    },
    /// A vector for a database, or how it is to be encrypted.
    #[error("vector: {what}: expected {expected}, found {found}")]
    Vector {
        /// What is wrong.
        what: &'static str,
        /// What would have been right.
        expected: String,
        /// What it is.
        found: String,
    },
    /// A rotation of sentence embeddings was asked for where there can be none.
    #[error("--rotate-output: {reason}; leave it out")]
    RotateOutput {
        /// Why not.
        reason: &'static str,
    },
    /// The residual stream cannot be made wider.
    #[error("--expand: {reason}")]
    Expand {
        /// Why not, and what to do.
        reason: String,
    },
    /// An id outside the vocabulary.
    #[error(
        "token {position} of {count}: its id is outside the vocabulary of {size}; check that the ids belong to this model"
    )]
    IdOutOfRange {
        /// Where it stands, from 0.
        position: usize,
        /// How many ids there were.
        count: usize,
        /// The vocabulary's size.
        size: usize,
    },
    /// Homophones that cannot be given out.
    #[error("--homophones: {reason}")]
    Homophones {
        /// Why not, and what to do.
        reason: String,
    },
    /// The manifest does not say, under this key, which ids have homophones.
    #[error("equicrypt.json: homophone_table: {problem}; use the file that the encryption wrote")]
    HomophoneTable {
        /// What was expected and found.
        problem: &'static str,
    },
    /// Noise that is no noise.
    #[error(
        "noise: expected a number from 0 to {most}, found {found}; 0 is none, 0.25 is a quarter of the weights' own deviation"
    )]
    Noise {
        /// What was asked for.
        found: f64,
        /// The most that is taken.
        most: f64,
    },
    /// A weight that the output dtype cannot hold.
    #[error(
        "tensor {tensor:?}: a weight is beyond the range of {dtype}; encrypt with --dtype bf16 or f32"
    )]
    Overflow {
        /// The tensor.
        tensor: String,
        /// The output dtype.
        dtype: &'static str,
    },
    /// A checkpoint whose tensors have different dtypes, or one that cannot be used.
    #[error("dtype: {0}")]
    Dtype(String),
}
