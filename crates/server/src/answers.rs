use std::hash::{BuildHasher, RandomState};

use axum::http::{HeaderMap, StatusCode};
use equicrypt_engine::{Engine, Event, Finish, Generation, Request, SubmitError};
use equicrypt_spec::wire::{PromptTokensDetails, TokenLogprob, Usage};
use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream, SelectAll};

use crate::refusal::Refusal;

/// The events of one or more prompts as they come; the choices are numbered through all prompts.
/// Dropping it cancels whatever still runs.
pub(crate) struct Answers {
    events: SelectAll<BoxStream<'static, (usize, Event)>>,
    /// Answers to each prompt.
    n: usize,
    /// For each choice, whether it has ended.
    ended: Vec<bool>,
    usage: Usage,
}

/// What happens next.
pub(crate) enum Step {
    /// A choice has one more id.
    Token(Token),
    /// These choices will not go on, because the host stops.
    Aborted(Vec<usize>),
    /// The host failed; nothing follows.
    Failed(String),
}

/// One id of a choice.
pub(crate) struct Token {
    pub(crate) choice: usize,
    pub(crate) id: u32,
    pub(crate) logprob: Option<TokenLogprob>,
    pub(crate) finish: Option<Finish>,
}

/// A choice that is complete.
#[derive(Debug, Clone, Default)]
pub(crate) struct Whole {
    pub(crate) ids: Vec<u32>,
    pub(crate) logprobs: Vec<TokenLogprob>,
    pub(crate) finish: Option<Finish>,
}

impl Answers {
    /// Submits all requests, or none.
    pub(crate) fn submit(engine: &Engine, requests: Vec<Request>) -> Result<Self, SubmitError> {
        let n = requests.first().map_or(1, |request| request.sampling.n);
        let choices = n.saturating_mul(requests.len());
        let generations = requests
            .into_iter()
            .map(|request| engine.submit(request))
            .collect::<Result<Vec<_>, _>>()?;
        Ok(Self {
            events: generations.into_iter().enumerate().map(events).collect(),
            n,
            ended: vec![false; choices],
            usage: Usage {
                prompt_tokens: 0,
                total_tokens: 0,
                completion_tokens: 0,
                prompt_tokens_details: Some(PromptTokensDetails { cached_tokens: 0 }),
            },
        })
    }

    /// The next step; none after the last.
    pub(crate) async fn next(&mut self) -> Option<Step> {
        while let Some((prompt, event)) = self.events.next().await {
            match event {
                Event::Token {
                    index,
                    id,
                    logprob,
                    finish,
                } => {
                    let choice = prompt * self.n + index;
                    if let Some(ended) = self.ended.get_mut(choice) {
                        *ended = finish.is_some();
                    }
                    return Some(Step::Token(Token {
                        choice,
                        id,
                        logprob,
                        finish,
                    }));
                }
                Event::Done(usage) => self.count(usage),
                Event::Aborted(usage) => {
                    self.count(usage);
                    let own = prompt * self.n..(prompt + 1) * self.n;
                    let open = |choice: &usize| self.ended.get(*choice) == Some(&false);
                    return Some(Step::Aborted(own.filter(open).collect()));
                }
                Event::Failed { message } => {
                    self.events.clear();
                    return Some(Step::Failed(message));
                }
            }
        }
        None
    }

    /// The counts of all prompts that have ended.
    pub(crate) fn usage(&self) -> Usage {
        self.usage
    }

    /// Waits for all choices.
    pub(crate) async fn all(mut self) -> Result<(Vec<Whole>, Usage), Refusal> {
        let mut choices = vec![Whole::default(); self.ended.len()];
        while let Some(step) = self.next().await {
            match step {
                Step::Token(token) => {
                    if let Some(choice) = choices.get_mut(token.choice) {
                        choice.ids.push(token.id);
                        choice.logprobs.extend(token.logprob);
                        choice.finish = token.finish;
                    }
                }
                Step::Aborted(_) => return Err(SubmitError::ShuttingDown.into()),
                Step::Failed(message) => {
                    return Err(Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, message));
                }
            }
        }
        Ok((choices, self.usage))
    }

    fn count(&mut self, more: Usage) {
        let cached = |usage: &Usage| {
            usage
                .prompt_tokens_details
                .map_or(0, |details| details.cached_tokens)
        };
        let total = &self.usage;
        self.usage = Usage {
            prompt_tokens: total.prompt_tokens + more.prompt_tokens,
            total_tokens: total.total_tokens + more.total_tokens,
            completion_tokens: total.completion_tokens + more.completion_tokens,
            prompt_tokens_details: Some(PromptTokensDetails {
                cached_tokens: cached(total) + cached(&more),
            }),
        };
    }
}

/// The request's name: the client's own, from the body or from `X-Request-Id`, or a fresh one.
pub(crate) fn request_id(given: Option<String>, headers: &HeaderMap) -> String {
    let header = || {
        headers
            .get("x-request-id")?
            .to_str()
            .ok()
            .map(str::to_owned)
    };
    given.or_else(header).unwrap_or_else(fresh_id)
}

fn fresh_id() -> String {
    let half = || RandomState::new().hash_one(());
    format!("{:016x}{:016x}", half(), half())
}

fn events((prompt, generation): (usize, Generation)) -> BoxStream<'static, (usize, Event)> {
    stream::unfold(generation, move |mut generation| async move {
        let event = generation.next().await?;
        Some(((prompt, event), generation))
    })
    .boxed()
}
