use std::sync::Arc;
use std::time::Instant;

use super::inbox::{Job, Orders, Shared};
use super::model::Model;
use super::prefix::Prefixes;
use super::running::{Outcome, Running};
use crate::Chunk;

/// The engine's thread.
pub(super) struct Worker {
    model: Model,
    shared: Arc<Shared>,
    running: Vec<Running>,
    prefixes: Prefixes,
}

impl Worker {
    pub(super) fn new(model: Model, shared: Arc<Shared>) -> Self {
        let prefixes = Prefixes::new(shared.options.cached_tokens);
        Self {
            model,
            shared,
            running: Vec::new(),
            prefixes,
        }
    }

    /// Works until the inbox is closed and empty, or aborted.
    pub(super) fn run(mut self) {
        let _last_act = self.last_act();
        loop {
            self.drop_abandoned();
            let free = self.shared.options.max_batch - self.places();
            match self.shared.orders(free, self.running.is_empty()) {
                Orders::Work(jobs) => {
                    for job in jobs {
                        self.admit(job);
                    }
                    self.step();
                    self.shared.counters.running.set(self.places());
                }
                Orders::End => return,
                Orders::Abort(jobs) => {
                    for job in jobs {
                        self.admit(job);
                    }
                    let running = self.running.drain(..);
                    self.shared.counters.cancelled.add(running.len() as u64);
                    running.for_each(Running::abort);
                    self.shared.counters.running.set(0);
                    return;
                }
            }
        }
    }

    /// What happens when the thread ends.
    pub(super) fn last_act(&self) -> ClearInbox {
        ClearInbox(Arc::clone(&self.shared))
    }

    fn places(&self) -> usize {
        self.running.iter().map(Running::places).sum()
    }

    fn drop_abandoned(&mut self) {
        let prefixes = &mut self.prefixes;
        for abandoned in self
            .running
            .extract_if(.., |request| request.is_abandoned())
        {
            self.shared.counters.cancelled.add(1);
            abandoned.keep(prefixes);
        }
        self.shared.counters.running.set(self.places());
    }

    fn admit(&mut self, job: Job) {
        let salt = job.request.salt.as_deref();
        let cache = self.prefixes.find(salt, &job.request.prompt);
        let cache = cache.unwrap_or_else(|| self.model.new_cache());
        self.shared.counters.cached_tokens.add(cache.len() as u64);
        self.running.push(Running::new(job, cache, &self.shared));
    }

    /// One forward pass over everything that is running, and what follows from it.
    fn step(&mut self) {
        let counters = &self.shared.counters;
        let mut chunks = Vec::new();
        let mut sizes = Vec::with_capacity(self.running.len());
        let mut budget = self.shared.options.prefill_chunk;
        for request in &mut self.running {
            let before = chunks.len();
            let prompt_tokens = request.chunks(budget, &mut chunks);
            budget -= prompt_tokens;
            counters.prompt_tokens.add(prompt_tokens as u64);
            sizes.push(chunks.len() - before);
        }
        let start = Instant::now();
        let mut results = self.model.forward(&mut chunks).into_iter();
        counters.forward_nanoseconds.add(nanoseconds(start));
        counters.steps.add(1);
        drop::<Vec<Chunk<'_>>>(chunks);
        let prefixes = &mut self.prefixes;
        let mut sizes = sizes.into_iter();
        self.running.retain_mut(|request| {
            let size = sizes.next().unwrap_or(0);
            let own = results.by_ref().take(size).collect();
            let before = request.generated();
            let outcome = request.advance(own, prefixes);
            let generated = request.generated() - before;
            counters.generated_tokens.add(generated as u64);
            match outcome {
                Outcome::Running => return true,
                Outcome::Finished => counters.finished.add(1),
                Outcome::Failed => counters.failed.add(1),
            }
            false
        });
    }
}

/// However the thread ends, by a panic too, nobody waits for it after that.
pub(super) struct ClearInbox(Arc<Shared>);

impl Drop for ClearInbox {
    fn drop(&mut self) {
        self.0.clear();
    }
}

fn nanoseconds(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_nanos()).unwrap_or(u64::MAX)
}
