use equicrypt_spec::Role;
use thiserror::Error;

/// What can go wrong while a model is loaded or run.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum Error {
    /// The configuration or the tensors are not those of a supported model.
    #[error(transparent)]
    Spec(#[from] equicrypt_spec::Error),
    /// The checkpoint cannot be read.
    #[error(transparent)]
    Checkpoint(#[from] equicrypt_checkpoint::Error),
    /// A linear layer was given vectors of another width or precision than its own.
    #[error(
        "a linear layer takes vectors of {expected} numbers in the decoder's precision, found {found}"
    )]
    LinearInput {
        /// The layer's input.
        expected: usize,
        /// As it was given.
        found: usize,
    },
    /// A matrix was given vectors whose numbers do not add up.
    #[error("a matrix of shape {shape:?} was given {input} numbers to turn into {output}")]
    MatrixShape {
        /// `[rows, columns]`.
        shape: [usize; 2],
        /// Numbers given.
        input: usize,
        /// Room for the result.
        output: usize,
    },
    /// The table of an architecture lacks what the decoder cannot do without.
    #[error("architecture {model_type:?} cannot run in the decoder: its table has no {missing}")]
    Architecture {
        /// The architecture.
        model_type: &'static str,
        /// A role or an operation.
        missing: String,
    },
    /// A tensor holds too few or too many values.
    #[error("tensor {name:?}: expected {expected} values, found {found}")]
    TensorLength {
        /// The tensor.
        name: String,
        /// From the table and the configuration.
        expected: usize,
        /// As it was read.
        found: usize,
    },
    /// A weight cannot be kept in eight bits.
    #[error(
        "tensor {name:?} has a number that is not finite or too large for q8_0; serve the model in f32"
    )]
    Unquantised {
        /// The last tensor of the linear layer.
        name: String,
    },
    /// Encoders are computed with their weights as they are.
    #[error("bf16 and q8_0 are for decoders; an encoder is served in f32")]
    EncoderPrecision,
    /// A linear layer answered with another shape than it was asked for.
    #[error("linear layer {layer}: expected an answer of shape {expected:?}, found {found:?}")]
    LinearShape {
        /// The linear layer.
        layer: String,
        /// `[rows, out]`.
        expected: Vec<usize>,
        /// What came back.
        found: Vec<usize>,
    },
    /// A linear layer that is computed elsewhere failed there.
    #[error("linear layer {layer}: {problem}")]
    Linear {
        /// The linear layer.
        layer: String,
        /// What happened.
        problem: String,
    },
    /// A token id that the model does not have.
    #[error(
        "token id {id} is out of range: the model has the ids 0 to {last}; check that the \
         request was made for this model",
        last = .vocab_size - 1
    )]
    TokenId {
        /// The id.
        id: u32,
        /// The number of ids.
        vocab_size: usize,
    },
    /// A chunk without tokens.
    #[error("a sequence came without new tokens; give at least one")]
    EmptyChunk,
    /// More positions than the model was made for.
    #[error(
        "the sequence would have {positions} tokens, but the model's context holds \
         {max_positions}; shorten the prompt or ask for fewer tokens"
    )]
    ContextLength {
        /// Cached and new tokens.
        positions: usize,
        /// `max_position_embeddings`.
        max_positions: usize,
    },
    /// A text without tokens.
    #[error("a text came without tokens; give at least one, special tokens included")]
    EmptyText,
    /// A text that is longer than the model was made for.
    #[error("the text has {tokens} tokens, but the model reads at most {max_tokens}; shorten it")]
    TextLength {
        /// Of the text.
        tokens: usize,
        /// From the configuration.
        max_tokens: usize,
    },
    /// Token types that the model cannot read.
    #[error("token types: expected {expected}, found {found}")]
    TokenTypes {
        /// How many, or which.
        expected: String,
        /// As they came.
        found: String,
    },
    /// The model has no such answer.
    #[error("the model gives no {part}; {advice}")]
    NoPart {
        /// What was asked for.
        part: &'static str,
        /// What to do.
        advice: &'static str,
    },
    /// The model is a decoder.
    #[error("a {model_type} model is no encoder; ask it for the next token")]
    NoEncoder {
        /// The architecture.
        model_type: &'static str,
    },
    /// The model is an encoder.
    #[error("a {model_type} model is no decoder; run it as an encoder")]
    NoDecoder {
        /// The architecture.
        model_type: &'static str,
    },
    /// Names of ids are not one for each.
    #[error("other names of the ids: expected each id below {vocab} once, id {id} is not")]
    Names {
        /// The id that has none, or more than one, or that there is not.
        id: u32,
        /// How many there are.
        vocab: usize,
    },
    /// A cache that another decoder made.
    #[error("the cache was made for another model or precision; take a new one from this decoder")]
    ForeignCache,
    /// The forward pass returned something that is no number.
    #[error(
        "the model's logit of id {id} is {found}, expected a finite number: the weights are \
         damaged, or too large for the engine's precision"
    )]
    Logit {
        /// The id.
        id: usize,
        /// The logit.
        found: f32,
    },
    /// Nothing is left to draw from.
    #[error(
        "no id is left to sample: expected at least one that allowed_token_ids, min_tokens and \
         the model's own logits do not exclude"
    )]
    NothingToSample,
    /// The engine's thread cannot be started.
    #[error("the engine's thread cannot be started: {0}; lower the number of processes or threads")]
    Thread(#[source] std::io::Error),
}

impl Error {
    pub(crate) fn missing_role(model_type: &'static str, role: Role) -> Self {
        Self::Architecture {
            model_type,
            missing: format!("row for the role {role:?}"),
        }
    }
}
