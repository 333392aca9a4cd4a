use std::hash::{BuildHasher, RandomState};
use std::slice;

use equicrypt_spec::wire::{FinishReason, PromptTokensDetails, Usage};
use tokio::sync::mpsc::UnboundedSender;

use super::inbox::{Job, Shared};
use super::prefix::Prefixes;
use super::{Event, Finish, Request};
use crate::{Chunk, KvCache, Logits, Sampler, Want};

/// A request in the batch.
pub(super) struct Running {
    terms: Terms,
    stage: Stage,
}

/// What became of a request in a step.
pub(super) enum Outcome {
    Running,
    Finished,
    Failed,
}

/// What holds for all answers to a request.
struct Terms {
    request: Request,
    events: UnboundedSender<Event>,
    /// Ascending.
    stops: Vec<u32>,
    max_tokens: usize,
    /// Tokens of the prompt that need not be computed.
    cached: usize,
    generated: usize,
    seed: u64,
}

enum Stage {
    /// The prompt is read into one cache, whatever the number of answers.
    Prompt(KvCache),
    /// The answers that go on.
    Answers(Vec<Answer>),
}

struct Answer {
    index: usize,
    /// Those that the cache holds.
    ids: Vec<u32>,
    /// The last one, which is not in the cache yet.
    last: u32,
    cache: KvCache,
    sampler: Sampler,
}

impl Running {
    pub(super) fn new(job: Job, cache: KvCache, engine: &Shared) -> Self {
        let room = engine.context.saturating_sub(job.request.prompt.len());
        let wanted = job.request.sampling.max_tokens.unwrap_or(room);
        let terms = Terms {
            stops: engine.stops(&job.request.sampling),
            max_tokens: wanted.min(room),
            cached: cache.len(),
            generated: 0,
            seed: job.request.sampling.seed.unwrap_or_else(fresh_seed),
            request: job.request,
            events: job.events,
        };
        Self {
            terms,
            stage: Stage::Prompt(cache),
        }
    }

    /// How many of the batch's places it takes.
    pub(super) fn places(&self) -> usize {
        match &self.stage {
            Stage::Prompt(_) => self.terms.request.sampling.n,
            Stage::Answers(answers) => answers.len(),
        }
    }

    /// Whether nobody waits for it any longer.
    pub(super) fn is_abandoned(&self) -> bool {
        self.terms.events.is_closed()
    }

    /// Adds its part of the next step; of the prompt at most `budget` tokens. Returns how many
    /// tokens of the prompt it added.
    pub(super) fn chunks<'a>(&'a mut self, budget: usize, chunks: &mut Vec<Chunk<'a>>) -> usize {
        match &mut self.stage {
            Stage::Prompt(cache) => {
                let left = self
                    .terms
                    .request
                    .prompt
                    .get(cache.len()..)
                    .unwrap_or_default();
                let size = left.len().min(budget);
                let Some(tokens) = left.get(..size).filter(|tokens| !tokens.is_empty()) else {
                    return 0;
                };
                let want = if size == left.len() {
                    Want::Last
                } else {
                    Want::Nothing
                };
                chunks.push(Chunk {
                    tokens,
                    cache,
                    want,
                });
                size
            }
            Stage::Answers(answers) => {
                chunks.extend(answers.iter_mut().map(|answer| Chunk {
                    tokens: slice::from_ref(&answer.last),
                    cache: &mut answer.cache,
                    want: Want::Last,
                }));
                0
            }
        }
    }

    /// Takes the results of its chunks, sends what was sampled, and keeps the caches of what ended.
    pub(super) fn advance(
        &mut self,
        results: Vec<Result<Logits, String>>,
        prefixes: &mut Prefixes,
    ) -> Outcome {
        if results.is_empty() {
            return Outcome::Running;
        }
        match self.take(results, prefixes) {
            Err(message) => {
                self.terms.send(Event::Failed { message });
                Outcome::Failed
            }
            Ok(()) if self.places() == 0 => {
                self.terms.send(Event::Done(self.terms.usage()));
                Outcome::Finished
            }
            Ok(()) => Outcome::Running,
        }
    }

    /// How many ids were sampled for it.
    pub(super) fn generated(&self) -> usize {
        self.terms.generated
    }

    /// Keeps the caches of a request that ends early.
    pub(super) fn keep(self, prefixes: &mut Prefixes) {
        match self.stage {
            Stage::Prompt(cache) => self.terms.keep(&[], cache, prefixes),
            Stage::Answers(answers) => {
                for answer in answers {
                    self.terms.keep(&answer.ids, answer.cache, prefixes);
                }
            }
        }
    }

    pub(super) fn abort(self) {
        self.terms.send(Event::Aborted(self.terms.usage()));
    }

    fn take(
        &mut self,
        results: Vec<Result<Logits, String>>,
        prefixes: &mut Prefixes,
    ) -> Result<(), String> {
        let mut results = results.into_iter();
        let terms = &mut self.terms;
        let mut next = || results.next().unwrap_or_else(|| Err(NO_RESULT.to_owned()));
        match &mut self.stage {
            Stage::Prompt(cache) => {
                let logits = next()?;
                if cache.len() < terms.request.prompt.len() {
                    return Ok(());
                }
                let mut answers = Vec::new();
                for index in 0..terms.request.sampling.n {
                    let mut sampler = terms.sampler(index);
                    let (last, ended) = terms.draw(index, 0, &mut sampler, &logits)?;
                    if ended {
                        terms.keep(&[], cache.fork(), prefixes);
                        continue;
                    }
                    answers.push(Answer {
                        index,
                        ids: Vec::new(),
                        last,
                        cache: cache.fork(),
                        sampler,
                    });
                }
                self.stage = Stage::Answers(answers);
            }
            Stage::Answers(answers) => {
                let mut going_on = Vec::with_capacity(answers.len());
                for mut answer in answers.drain(..) {
                    let logits = next()?;
                    answer.ids.push(answer.last);
                    let count = answer.ids.len();
                    let (last, ended) =
                        terms.draw(answer.index, count, &mut answer.sampler, &logits)?;
                    if ended {
                        terms.keep(&answer.ids, answer.cache, prefixes);
                    } else {
                        going_on.push(Answer { last, ..answer });
                    }
                }
                *answers = going_on;
            }
        }
        Ok(())
    }
}

impl Terms {
    fn sampler(&self, index: usize) -> Sampler {
        let params = &self.request.sampling;
        Sampler::new(params, &self.request.prompt, &self.stops, self.seed, index)
    }

    /// Draws an id after `count` others, sends it, and says whether it ends the answer.
    fn draw(
        &mut self,
        index: usize,
        count: usize,
        sampler: &mut Sampler,
        logits: &Logits,
    ) -> Result<(u32, bool), String> {
        if logits.rows() == 0 {
            return Err(NO_RESULT.to_owned());
        }
        let drawn = sampler
            .sample(logits.row(0))
            .map_err(|error| error.to_string())?;
        self.generated += 1;
        let stops = self.stops.binary_search(&drawn.id).is_ok();
        let finish = if stops && count >= self.request.sampling.min_tokens {
            Some(Finish {
                reason: FinishReason::Stop,
                stop_reason: Some(drawn.id),
            })
        } else if count + 1 >= self.max_tokens {
            Some(Finish {
                reason: FinishReason::Length,
                stop_reason: None,
            })
        } else {
            None
        };
        self.send(Event::Token {
            index,
            id: drawn.id,
            logprob: drawn.logprob,
            finish,
        });
        Ok((drawn.id, finish.is_some()))
    }

    fn keep(&self, ids: &[u32], cache: KvCache, prefixes: &mut Prefixes) {
        let all = [self.request.prompt.as_slice(), ids].concat();
        prefixes.keep(self.request.salt.as_deref(), all, cache);
    }

    fn send(&self, event: Event) {
        // An error means that nobody waits; the next step notices.
        let _ = self.events.send(event);
    }

    fn usage(&self) -> Usage {
        let prompt_tokens = self.request.prompt.len();
        Usage {
            prompt_tokens,
            total_tokens: prompt_tokens + self.generated,
            completion_tokens: self.generated,
            prompt_tokens_details: Some(PromptTokensDetails {
                cached_tokens: self.cached,
            }),
        }
    }
}

/// A seed that differs from request to request; the standard library takes it from the system.
fn fresh_seed() -> u64 {
    RandomState::new().hash_one(())
}

const NO_RESULT: &str = "the forward pass returned no logits for a token that needs them";
