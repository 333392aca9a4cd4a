use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use equicrypt_spec::ModelConfig;
use equicrypt_spec::wire::SamplingParams;
use tokio::sync::mpsc::{self, UnboundedReceiver, UnboundedSender};

use super::counters::Counters;
use super::{EngineOptions, Event, Request, SubmitError, check};

/// What the handles and the engine's thread share.
pub(super) struct Shared {
    pub(super) config: ModelConfig,
    pub(super) options: EngineOptions,
    pub(super) context: usize,
    pub(super) counters: Counters,
    inbox: Mutex<Inbox>,
    /// Something changed in the inbox.
    changed: Condvar,
}

/// A request that was accepted, and where its events go.
pub(super) struct Job {
    pub(super) request: Request,
    pub(super) events: UnboundedSender<Event>,
}

/// What the engine's thread does next.
pub(super) enum Orders {
    /// Take these on and make a step.
    Work(Vec<Job>),
    /// Nothing is left to do, and nothing will come.
    End,
    /// End at once; these were still waiting.
    Abort(Vec<Job>),
}

struct Inbox {
    queue: VecDeque<Job>,
    state: State,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Open,
    Closed,
    Aborted,
}

impl Shared {
    pub(super) fn new(config: ModelConfig, options: EngineOptions) -> Self {
        let options = EngineOptions {
            max_batch: options.max_batch.max(1),
            max_queue: options.max_queue.max(1),
            prefill_chunk: options.prefill_chunk.max(1),
            ..options
        };
        let longest = options.max_context.unwrap_or(config.exact_context());
        Self {
            context: longest.min(config.exact_context()),
            config,
            options,
            counters: Counters::default(),
            inbox: Mutex::new(Inbox {
                queue: VecDeque::new(),
                state: State::Open,
            }),
            changed: Condvar::new(),
        }
    }

    pub(super) fn submit(&self, request: Request) -> Result<UnboundedReceiver<Event>, SubmitError> {
        check::check(&request, self)?;
        let (events, receiver) = mpsc::unbounded_channel();
        let mut inbox = self.inbox();
        if inbox.state != State::Open {
            return Err(SubmitError::ShuttingDown);
        }
        inbox.drop_abandoned(self);
        if inbox.queue.len() >= self.options.max_queue {
            self.counters.overloaded.add(1);
            return Err(SubmitError::Overloaded {
                waiting: inbox.queue.len(),
            });
        }
        inbox.queue.push_back(Job { request, events });
        self.counters.accepted.add(1);
        self.counters.waiting.set(inbox.queue.len());
        drop(inbox);
        self.changed.notify_all();
        Ok(receiver)
    }

    /// Takes as many jobs from the queue, in their order, as have room in `places`. Waits if there
    /// is nothing to do at all.
    pub(super) fn orders(&self, mut places: usize, is_idle: bool) -> Orders {
        let mut inbox = self.inbox();
        loop {
            inbox.drop_abandoned(self);
            if inbox.state == State::Aborted {
                return Orders::Abort(inbox.queue.drain(..).collect());
            }
            let mut jobs = Vec::new();
            while let Some(job) = inbox.queue.front()
                && job.request.sampling.n <= places
                && let Some(job) = inbox.queue.pop_front()
            {
                places -= job.request.sampling.n;
                jobs.push(job);
            }
            self.counters.waiting.set(inbox.queue.len());
            if !jobs.is_empty() || !is_idle {
                return Orders::Work(jobs);
            }
            if inbox.state == State::Closed {
                return Orders::End;
            }
            inbox = self
                .changed
                .wait(inbox)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// The ids that end an answer, ascending.
    pub(super) fn stops(&self, params: &SamplingParams) -> Vec<u32> {
        let mut stops = params.stop_token_ids.clone();
        if !params.ignore_eos {
            stops.extend(&self.config.eos);
            stops.extend(&self.options.end_ids);
        }
        stops.sort_unstable();
        stops.dedup();
        stops
    }

    pub(super) fn is_open(&self) -> bool {
        self.inbox().state == State::Open
    }

    pub(super) fn close(&self) {
        let mut inbox = self.inbox();
        if inbox.state == State::Open {
            inbox.state = State::Closed;
        }
        drop(inbox);
        self.changed.notify_all();
    }

    pub(super) fn abort(&self) {
        self.inbox().state = State::Aborted;
        self.changed.notify_all();
    }

    /// Drops what nobody will take from the queue any more, so that nobody waits for it.
    pub(super) fn clear(&self) {
        let mut inbox = self.inbox();
        inbox.state = State::Aborted;
        inbox.queue.clear();
        self.counters.waiting.set(0);
    }

    fn inbox(&self) -> MutexGuard<'_, Inbox> {
        self.inbox.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inbox {
    fn drop_abandoned(&mut self, shared: &Shared) {
        let before = self.queue.len();
        self.queue.retain(|job| !job.events.is_closed());
        let gone = before - self.queue.len();
        shared.counters.cancelled.add(gone as u64);
        shared.counters.waiting.set(self.queue.len());
    }
}
