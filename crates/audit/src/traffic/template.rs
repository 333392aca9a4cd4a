//! What the fixed parts of prompts give away.

use super::{Log, Prior};
use crate::evidence::{Guesses, NO_GUESS};

/// A chat template puts the same tokens in front of every prompt, and everybody can read it: the cipher ids at those places are
/// the template's, for certain. Homophones do not hide them, because what has the same text before it has the same ids.
pub(super) fn attack(_: &Prior<'_>, log: &Log<'_>) -> Guesses {
    let mut guesses = vec![NO_GUESS; log.cipher_ids];
    for pair in log.known {
        guesses[pair.cipher as usize] = pair.plain;
    }
    guesses
}
