//! How each engine spells a request for an answer, and the events of the answer.

mod completions;
mod generate;
mod llama_cpp;
mod sglang;

use equicrypt_spec::wire::{FinishReason, TokenLogprob, Usage};

use super::Options;

/// One engine's token-in, token-out route: a row of [`DIALECTS`].
pub struct Dialect {
    /// What `--engine` calls the engine.
    pub name: &'static str,
    /// Most ids with a bias that it takes.
    pub most_biased: usize,
    /// Most log-probabilities at one place that it gives.
    pub most_logprobs: usize,
    /// Whether these are computed behind biases and temperature, rather than from the model's own logits.
    pub(crate) biased_logprobs: bool,
    /// Below the host's address.
    pub(super) route: &'static str,
    /// The body of a request.
    pub(super) body: fn(&Ask<'_>) -> serde_json::Result<Vec<u8>>,
    /// The data of an event, which is one of this engine's chunks if there is an answer.
    pub(crate) read: fn(&str, Progress) -> Option<Chunk>,
}

/// Everything that a request says.
pub(super) struct Ask<'a> {
    pub(super) prompt: &'a [u32],
    pub(super) options: &'a Options<'a>,
    /// The host's name for what it serves, if it told.
    pub(super) model: Option<&'a str>,
    pub(super) cache_salt: &'a str,
}

/// What was read of an answer before an event.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Progress {
    /// Cipher ids.
    pub(crate) tokens: usize,
}

/// What an event says.
#[derive(Debug, Default)]
pub(crate) struct Chunk {
    /// Of the answers that go on; one was asked for.
    pub(crate) answers: Vec<Added>,
    /// Token counts.
    pub(crate) usage: Option<Usage>,
    /// Nothing follows.
    pub(crate) last: bool,
}

/// What an event adds to an answer.
#[derive(Debug, Default)]
pub(crate) struct Added {
    pub(crate) index: usize,
    pub(crate) ids: Vec<u32>,
    /// One for each id, or none at all.
    pub(crate) logprobs: Vec<TokenLogprob>,
    pub(crate) finish: Option<FinishReason>,
}

/// All engines. vLLM has two routes: the first is switched off unless its operator asks for it.
pub static DIALECTS: [Dialect; 5] = [
    Dialect {
        name: "equicrypt",
        most_biased: 1 << 20,
        most_logprobs: 64,
        biased_logprobs: false,
        route: "inference/v1/generate",
        body: generate::body,
        read: generate::read,
    },
    Dialect {
        name: "vllm",
        most_biased: 1024,
        most_logprobs: 20,
        biased_logprobs: false,
        route: "inference/v1/generate",
        body: generate::body,
        read: generate::read,
    },
    Dialect {
        name: "vllm-completions",
        most_biased: 1024,
        most_logprobs: 20,
        biased_logprobs: false,
        route: "v1/completions",
        body: completions::body,
        read: completions::read,
    },
    Dialect {
        name: "sglang",
        most_biased: 1 << 20,
        most_logprobs: 64,
        biased_logprobs: true,
        route: "generate",
        body: sglang::body,
        read: sglang::read,
    },
    Dialect {
        name: "llamacpp",
        most_biased: 1 << 20,
        most_logprobs: 64,
        biased_logprobs: false,
        route: "completion",
        body: llama_cpp::body,
        read: llama_cpp::read,
    },
];

impl Dialect {
    /// The row of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<&'static Self> {
        DIALECTS.iter().find(|dialect| dialect.name == name)
    }
}

#[cfg(test)]
mod tests;
