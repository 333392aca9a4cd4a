use thiserror::Error;

/// What can go wrong while two models are compared.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum Error {
    /// A folder cannot be read.
    #[error(transparent)]
    Checkpoint(#[from] equicrypt_checkpoint::Error),
    /// A model is not supported, or its folder is not sound.
    #[error(transparent)]
    Spec(#[from] equicrypt_spec::Error),
    /// A forward pass failed.
    #[error(transparent)]
    Engine(#[from] equicrypt_engine::Error),
    /// An id is outside the vocabulary.
    #[error(transparent)]
    Cipher(#[from] equicrypt_cipher::Error),
    /// A checkpoint lacks what every model has.
    #[error("the checkpoint has no {what}; an attack needs it")]
    NoTensor {
        /// What is missing.
        what: &'static str,
    },
    /// There is nothing to compare on.
    #[error(
        "fidelity: expected prompts of at least two tokens, found none; give the model folder its tokenizer"
    )]
    NoPrompts,
    /// The two models are not of one size.
    #[error(
        "fidelity: the plain model has {plain} ids, the encrypted one {encrypted}; compare a model with its own encryption"
    )]
    Vocabulary {
        /// Of the plain model.
        plain: usize,
        /// Of the encrypted model.
        encrypted: usize,
    },
}
