use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// What an engine has done since it started, and what it is doing now.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Answers in the batch now.
    pub running: u64,
    /// Requests in the queue now.
    pub waiting: u64,
    /// Requests that were accepted.
    pub accepted: u64,
    /// Requests that were refused because the queue was full.
    pub overloaded: u64,
    /// Requests whose answers are all complete.
    pub finished: u64,
    /// Requests that nobody waited for any longer, or that were aborted.
    pub cancelled: u64,
    /// Requests that failed.
    pub failed: u64,
    /// Prompt tokens that were computed.
    pub prompt_tokens: u64,
    /// Prompt tokens whose keys and values were cached.
    pub cached_tokens: u64,
    /// Ids that were sampled.
    pub generated_tokens: u64,
    /// Forward passes.
    pub steps: u64,
    /// Time spent in forward passes.
    pub forward_time: Duration,
}

#[derive(Default)]
pub(crate) struct Counters {
    pub(crate) running: Counter,
    pub(crate) waiting: Counter,
    pub(crate) accepted: Counter,
    pub(crate) overloaded: Counter,
    pub(crate) finished: Counter,
    pub(crate) cancelled: Counter,
    pub(crate) failed: Counter,
    pub(crate) prompt_tokens: Counter,
    pub(crate) cached_tokens: Counter,
    pub(crate) generated_tokens: Counter,
    pub(crate) steps: Counter,
    pub(crate) forward_nanoseconds: Counter,
}

#[derive(Default)]
pub(crate) struct Counter(AtomicU64);

impl Counters {
    pub(crate) fn read(&self) -> Counts {
        Counts {
            running: self.running.value(),
            waiting: self.waiting.value(),
            accepted: self.accepted.value(),
            overloaded: self.overloaded.value(),
            finished: self.finished.value(),
            cancelled: self.cancelled.value(),
            failed: self.failed.value(),
            prompt_tokens: self.prompt_tokens.value(),
            cached_tokens: self.cached_tokens.value(),
            generated_tokens: self.generated_tokens.value(),
            steps: self.steps.value(),
            forward_time: Duration::from_nanos(self.forward_nanoseconds.value()),
        }
    }
}

impl Counter {
    pub(crate) fn add(&self, more: u64) {
        self.0.fetch_add(more, Ordering::Relaxed);
    }

    pub(crate) fn set(&self, value: usize) {
        self.0.store(value as u64, Ordering::Relaxed);
    }

    fn value(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}
