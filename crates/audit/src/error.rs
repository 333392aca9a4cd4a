use thiserror::Error;

/// What can go wrong while models are compared or attacked.
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
    /// AloePri cannot be applied.
    #[error("AloePri: {problem}")]
    AloePri {
        /// What was expected, found, and what to do.
        problem: String,
    },
    /// An id is outside a renaming.
    #[error("an id is outside the vocabulary of {size}; use ids of this model's own tokenizer")]
    Id {
        /// Ids there are.
        size: usize,
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
