//! What adversaries hold, and what they answer. Nothing here can name a key or a secret vocabulary.

use crate::Error;
use crate::matrix::Matrix;
use crate::weights::Weights;

/// A cipher id whose plain id the adversary knows.
#[derive(Clone, Copy)]
pub struct Pair {
    /// As the host sees it.
    pub cipher: u32,
    /// As the owner does.
    pub plain: u32,
}

/// What a host holds besides the original checkpoint.
pub(crate) struct Evidence<'a> {
    /// The encrypted checkpoint.
    pub(crate) weights: &'a Weights,
    /// Cipher ids to name.
    pub(crate) asked: &'a [u32],
    /// Known plaintext.
    pub(crate) known: &'a [Pair],
}

/// For each id asked for, the plain id that it is taken for; [`NO_GUESS`] where there is none.
pub(crate) type Guesses = Vec<u32>;

/// No plain id.
pub(crate) const NO_GUESS: u32 = u32::MAX;

/// An attack that has studied the original checkpoint, and can be turned on any encrypted copy of it.
pub(crate) type Attacker<'a> = Box<dyn Fn(&Evidence<'_>) -> Result<Guesses, Error> + 'a>;

/// An attack on a cache or on embeddings: it sees one vector for each thing to name.
pub(crate) type Reader<'a> = Box<dyn Fn(&Matrix) -> Result<Guesses, Error> + 'a>;
