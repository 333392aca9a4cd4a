//! Many requests, one forward pass.
//!
//! One thread owns the caches. Each step takes the next token of every running answer and the next
//! part of the prompts that are still being read through one [`Decoder::forward`]. Requests join
//! and leave between steps.

mod check;
mod counters;
mod inbox;
mod model;
mod prefix;
mod running;
mod worker;

use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use equicrypt_spec::ModelConfig;
use equicrypt_spec::wire::{FinishReason, SamplingParams, TokenLogprob, Usage};
use thiserror::Error as ThisError;
use tokio::sync::mpsc::UnboundedReceiver;

pub(crate) use counters::Counters;
pub use counters::Counts;

use crate::{Decoder, Error};
use inbox::Shared;
use model::Model;
use worker::Worker;

/// How much an engine takes on.
#[derive(Debug, Clone)]
pub struct EngineOptions {
    /// Most answers in one forward pass.
    pub max_batch: usize,
    /// Most requests that wait for a place.
    pub max_queue: usize,
    /// Most prompt tokens in one forward pass: how long a new prompt may hold up running answers.
    pub prefill_chunk: usize,
    /// Most tokens whose keys and values are kept after an answer, for prompts that begin alike; 0
    /// keeps none. What a token takes is said at [`KvCache`](crate::KvCache).
    pub cached_tokens: usize,
    /// The longest context, if shorter than the model's.
    pub max_context: Option<usize>,
    /// Ids that end an answer, besides those of `config.json`.
    pub end_ids: Vec<u32>,
}

/// A running engine. Clones are handles to the same one; when the last is dropped, the engine
/// finishes what it has accepted and ends.
#[derive(Clone)]
pub struct Engine(Arc<Handle>);

/// What to generate.
#[derive(Debug, Clone)]
pub struct Request {
    /// Token ids; at least one, and fewer than the context holds.
    pub prompt: Vec<u32>,
    /// How to sample.
    pub sampling: SamplingParams,
    /// Requests share cached prefixes only with requests of the same salt.
    pub salt: Option<String>,
}

/// The answers to a request as they come. Dropping it cancels the request.
#[derive(Debug)]
pub struct Generation {
    events: UnboundedReceiver<Event>,
    ended: bool,
}

/// Something that happened to a request. The last one is `Done`, `Aborted` or `Failed`.
#[derive(Debug, Clone)]
pub enum Event {
    /// An answer has one more id.
    Token {
        /// Which of the `n` answers.
        index: usize,
        /// The id.
        id: u32,
        /// If asked for.
        logprob: Option<TokenLogprob>,
        /// Set if this was the answer's last id.
        finish: Option<Finish>,
    },
    /// Every answer has finished.
    Done(Usage),
    /// The engine was told to [abort](Engine::abort).
    Aborted(Usage),
    /// The host failed.
    Failed {
        /// For people.
        message: String,
    },
}

/// Why an answer ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Finish {
    /// A stop id, or the length.
    pub reason: FinishReason,
    /// The stop id.
    pub stop_reason: Option<u32>,
}

/// Why a request was not accepted.
#[derive(Debug, Clone, PartialEq, Eq, ThisError)]
#[non_exhaustive]
pub enum SubmitError {
    /// The request asks for something that cannot be done.
    #[error("{param}: {message}")]
    Invalid {
        /// The field at fault.
        param: &'static str,
        /// What was expected and found.
        message: String,
    },
    /// The queue is full.
    #[error("{waiting} requests are waiting already, as many as may; try again later")]
    Overloaded {
        /// The queue's length.
        waiting: usize,
    },
    /// The engine accepts no more.
    #[error("the engine is shutting down and accepts no new requests; try another host")]
    ShuttingDown,
}

struct Handle {
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Default for EngineOptions {
    fn default() -> Self {
        Self {
            max_batch: 8,
            max_queue: 64,
            prefill_chunk: 256,
            cached_tokens: 8192,
            max_context: None,
            end_ids: Vec::new(),
        }
    }
}

impl Engine {
    /// Starts the engine's thread. Sizes of 0 in `options` are taken as 1, except `cached_tokens`.
    pub fn start(decoder: impl Into<Arc<Decoder>>, options: EngineOptions) -> Result<Self, Error> {
        Self::start_with(Model::new(decoder.into()), options)
    }

    fn start_with(model: Model, options: EngineOptions) -> Result<Self, Error> {
        let shared = Arc::new(Shared::new(model.config().clone(), options));
        let worker = Worker::new(model, Arc::clone(&shared));
        let thread = std::thread::Builder::new()
            .name("equicrypt-engine".into())
            .spawn(move || worker.run())
            .map_err(Error::Thread)?;
        Ok(Self(Arc::new(Handle {
            shared,
            thread: Mutex::new(Some(thread)),
        })))
    }

    /// Queues a request. Never waits.
    pub fn submit(&self, request: Request) -> Result<Generation, SubmitError> {
        let events = self.0.shared.submit(request)?;
        Ok(Generation {
            events,
            ended: false,
        })
    }

    /// The model.
    #[must_use]
    pub fn config(&self) -> &ModelConfig {
        &self.0.shared.config
    }

    /// The longest context: prompt and answer together have at most so many tokens.
    #[must_use]
    pub fn context(&self) -> usize {
        self.0.shared.context
    }

    /// The options.
    #[must_use]
    pub fn options(&self) -> &EngineOptions {
        &self.0.shared.options
    }

    /// What the engine has done so far.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.0.shared.counters.read()
    }

    /// Whether requests are accepted.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.0.shared.is_open()
    }

    /// Refuses new requests; those accepted are finished.
    pub fn close(&self) {
        self.0.shared.close();
    }

    /// Refuses new requests and ends those accepted with [`Event::Aborted`].
    pub fn abort(&self) {
        self.0.shared.abort();
    }

    /// [Closes](Self::close) the engine and waits until its thread has ended.
    pub fn join(&self) {
        self.close();
        let mut thread = self.0.thread.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(thread) = thread.take() {
            // A panic in the thread has been reported to every request by now.
            let _ = thread.join();
        }
    }
}

impl Generation {
    /// The next event; none after the last.
    pub async fn next(&mut self) -> Option<Event> {
        let event = self.events.recv().await;
        self.seen(event)
    }

    /// [`next`](Self::next) for threads that may wait.
    ///
    /// # Panics
    /// If called from asynchronous code.
    pub fn blocking_next(&mut self) -> Option<Event> {
        let event = self.events.blocking_recv();
        self.seen(event)
    }

    fn seen(&mut self, event: Option<Event>) -> Option<Event> {
        if self.ended {
            return None;
        }
        let event = event.unwrap_or_else(|| Event::Failed {
            message: "the engine stopped unexpectedly; restart the host".into(),
        });
        self.ended = !matches!(event, Event::Token { .. });
        Some(event)
    }
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine")
            .field("options", self.options())
            .field("counts", &self.counts())
            .finish_non_exhaustive()
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.shared.close();
    }
}

#[cfg(test)]
mod tests;
