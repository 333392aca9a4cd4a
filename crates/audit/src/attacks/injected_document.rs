use crate::Error;
use crate::evidence::{Attacker, NO_GUESS};
use crate::weights::Weights;
use std::collections::HashMap;

/// The adversary has the application put a document of the adversary's own into an encrypted prompt, as a retrieval
/// does: its place in the stream of cipher ids is known, so each of its tokens is a known pair. Nothing is inferred beyond these.
///
/// Source: chosen plaintext against any code book; for applications of language models, Greshake et al. 2023 (arXiv
/// 2302.12173) describe how documents get into prompts.
pub(super) fn study(_: &Weights) -> Result<Attacker<'_>, Error> {
    Ok(Box::new(|seen| {
        let pairs = seen.known.iter().map(|pair| (pair.cipher, pair.plain));
        let plain: HashMap<u32, u32> = pairs.collect();
        let guess = |cipher| plain.get(cipher).copied().unwrap_or(NO_GUESS);
        Ok(seen.asked.iter().map(guess).collect())
    }))
}
