use std::io;
use std::path::PathBuf;

use thiserror::Error;

/// Why a host cannot be set up or run.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum Error {
    /// The folder cannot be read as a checkpoint.
    #[error(transparent)]
    Checkpoint(#[from] equicrypt_checkpoint::Error),
    /// The configuration or the manifest makes no sense.
    #[error(transparent)]
    Spec(#[from] equicrypt_spec::Error),
    /// The model cannot be loaded or run.
    #[error(transparent)]
    Engine(#[from] equicrypt_engine::Error),
    /// The transport key cannot be used.
    #[error(transparent)]
    Sealed(#[from] equicrypt_sealed::Error),
    /// A file cannot be read.
    #[error("{path}: cannot be read: {source}", path = .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// `equicrypt.json` and `config.json` describe different models.
    #[error(
        "equicrypt.json: {field}: expected {expected} as in config.json, found {found}; the folder \
         was put together from several models, so encrypt the original again"
    )]
    ForeignManifest {
        /// The manifest's field.
        field: &'static str,
        /// From `config.json`.
        expected: String,
        /// From the manifest.
        found: String,
    },
    /// A field of `generation_config.json` makes no sense.
    #[error("generation_config.json: eos_token_id: expected {expected}, found {found}")]
    EndIds {
        /// What would have been right.
        expected: String,
        /// What stands there.
        found: String,
    },
    /// An API key cannot be used.
    #[error("API key: expected one line of 1 to 512 visible ASCII characters, found {found}")]
    ApiKey {
        /// What is wrong with it; never the key.
        found: &'static str,
    },
    /// The socket failed.
    #[error("the listening socket failed: {0}")]
    Listen(#[source] io::Error),
}
