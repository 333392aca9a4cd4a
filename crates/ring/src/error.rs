use thiserror::Error;

/// What cannot be computed or read. No message holds a number that was hidden.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum Error {
    /// A weight that is no number.
    #[error("row {row} of the weights has a number that is not finite; the checkpoint is damaged")]
    Weight {
        /// The output it leads to.
        row: usize,
    },
    /// An activation that is no number.
    #[error("number {place} of a vector is not finite: expected a linear layer's input")]
    Activation {
        /// Its place.
        place: usize,
    },
    /// A layer that is too wide.
    #[error("a linear layer of {inputs} inputs: expected 1 to {most}")]
    Inputs {
        /// As it has.
        inputs: usize,
        /// As the ring has room for.
        most: usize,
    },
    /// Numbers that do not fit together.
    #[error("{what}: expected {expected} numbers, found {found}")]
    Length {
        /// Of what.
        what: &'static str,
        /// As many as there should be.
        expected: usize,
        /// As many as there are.
        found: usize,
    },
    /// A residue that is not less than its prime.
    #[error("number {place} is no residue: expected less than {modulus}")]
    Residue {
        /// Its place in the message.
        place: usize,
        /// The prime.
        modulus: u32,
    },
}
