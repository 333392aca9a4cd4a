use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::slice;
use std::sync::Arc;

use equicrypt_spec::ModelConfig;

use crate::{Chunk, Decoder, Error, KvCache, Logits};

/// The decoder as the engine's thread uses it: a failure harms only the sequence that causes it.
pub(super) struct Model {
    decoder: Arc<Decoder>,
    /// Runs before each forward pass: how tests let one fail, panic or wait.
    #[cfg(test)]
    pub(super) probe: Option<Probe>,
}

#[cfg(test)]
pub(super) type Probe = Box<dyn Fn(&[Chunk<'_>]) -> Result<(), Error> + Send>;

impl Model {
    pub(super) fn new(decoder: Arc<Decoder>) -> Self {
        Self {
            decoder,
            #[cfg(test)]
            probe: None,
        }
    }

    pub(super) fn config(&self) -> &ModelConfig {
        self.decoder.config()
    }

    pub(super) fn new_cache(&self) -> KvCache {
        self.decoder.new_cache()
    }

    /// The forward pass over all chunks at once; if that fails, over each alone. One result for
    /// each chunk; the error is a message.
    pub(super) fn forward(&self, chunks: &mut [Chunk<'_>]) -> Vec<Result<Logits, String>> {
        let lengths: Vec<usize> = chunks.iter().map(|chunk| chunk.cache.len()).collect();
        match self.attempt(chunks) {
            Ok(logits) => logits.into_iter().map(Ok).collect(),
            Err(message) if chunks.len() < 2 => vec![Err(message)],
            Err(_) => chunks
                .iter_mut()
                .zip(lengths)
                .map(|(chunk, length)| {
                    chunk.cache.truncate(length);
                    let mut logits = self.attempt(slice::from_mut(chunk))?;
                    logits.pop().ok_or_else(|| NO_LOGITS.to_owned())
                })
                .collect(),
        }
    }

    fn attempt(&self, chunks: &mut [Chunk<'_>]) -> Result<Vec<Logits>, String> {
        // A panic leaves at most the chunks' caches half written, past the length that they count.
        let result = catch_unwind(AssertUnwindSafe(|| {
            #[cfg(test)]
            if let Some(probe) = &self.probe {
                probe(chunks)?;
            }
            self.decoder.forward(chunks)
        }));
        match result {
            Ok(Ok(logits)) if logits.len() == chunks.len() => Ok(logits),
            Ok(Ok(_)) => Err(NO_LOGITS.to_owned()),
            Ok(Err(error)) => Err(chain(&error)),
            Err(panic) => Err(panic_text(panic.as_ref())),
        }
    }
}

fn chain(error: &Error) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    text
}

fn panic_text(panic: &(dyn Any + Send)) -> String {
    let text = panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no message");
    format!("the forward pass panicked: {text}; this is a bug of the engine")
}

const NO_LOGITS: &str = "the forward pass returned fewer logits than it was asked for";
