use thiserror::Error;

/// What can go wrong while two models are compared.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum Error {
    /// A forward pass failed.
    #[error(transparent)]
    Engine(#[from] equicrypt_engine::Error),
    /// An id is outside the vocabulary.
    #[error(transparent)]
    Cipher(#[from] equicrypt_cipher::Error),
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
