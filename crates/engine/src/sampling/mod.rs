//! From logits to an id, in the order of vLLM's sampler: log-probabilities of the raw logits; then
//! allowed ids, stops held back, biases, penalties; then temperature, `min_p`, `top_k`, `top_p`,
//! and the draw.
//!
//! The draw walks the ids from the likeliest down, not in the order of their numbers. With equal
//! seeds a model and its encrypted copy therefore draw the same plain id, as long as no two logits
//! are equal.

mod adjust;
mod draw;
mod logprobs;
mod rng;

use std::cmp::Ordering;
use std::collections::HashMap;

use equicrypt_spec::wire::{SamplingParams, TokenLogprob};

use crate::Error;
use rng::Rng;

/// What samples one answer: its parameters, its random stream, and what it has drawn so far.
#[derive(Debug, Clone)]
pub struct Sampler {
    settings: Settings,
    rng: Rng,
    /// How often each id of prompt and answer was drawn, if there are penalties.
    seen: HashMap<u32, u32>,
    drawn: usize,
}

/// One drawn id.
#[derive(Debug, Clone)]
pub struct Sampled {
    /// The id.
    pub id: u32,
    /// Its log-probability and the likeliest ids', if asked for.
    pub logprob: Option<TokenLogprob>,
}

/// The parameters as the sampler reads them.
#[derive(Debug, Clone)]
struct Settings {
    params: SamplingParams,
    /// Ascending, without repetition.
    allowed: Option<Vec<u32>>,
    /// The ids that are held back until `min_tokens`.
    stops: Vec<u32>,
}

/// An id that may still be drawn.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Candidate {
    logit: f64,
    id: u32,
}

impl Sampler {
    /// A sampler for answer `index` to `prompt`. `stops` are the ids that would end the answer.
    /// Answers with different indices draw from independent streams of the same seed.
    #[must_use]
    pub fn new(
        params: &SamplingParams,
        prompt: &[u32],
        stops: &[u32],
        seed: u64,
        index: usize,
    ) -> Self {
        let allowed = params.allowed_token_ids.clone().map(|mut ids| {
            ids.sort_unstable();
            ids.dedup();
            ids
        });
        let seen = if params.repetition_penalty == 1.0 {
            HashMap::new()
        } else {
            prompt.iter().map(|id| (*id, 0)).collect()
        };
        Self {
            settings: Settings {
                params: params.clone(),
                allowed,
                stops: stops.to_vec(),
            },
            rng: Rng::new(seed, index as u64),
            seen,
            drawn: 0,
        }
    }

    /// Draws the next id from `logits[id]`, over the whole vocabulary. Fails on logits that are not
    /// numbers, and if no id is left to draw.
    pub fn sample(&mut self, logits: &[f32]) -> Result<Sampled, Error> {
        check(logits)?;
        let id = if self.is_plain_greedy() {
            likeliest(candidates(logits))
        } else {
            let left = self.settings.adjust(logits, &self.seen, self.drawn);
            if self.settings.is_greedy() {
                likeliest(left.into_iter())
            } else {
                draw::draw(left, &self.settings.params, &mut self.rng)
            }
        }
        .ok_or(Error::NothingToSample)?;
        self.drawn += 1;
        if self.settings.has_penalties() {
            *self.seen.entry(id).or_default() += 1;
        }
        let count = self.settings.params.logprobs;
        Ok(Sampled {
            id,
            logprob: count.and_then(|count| logprobs::of(logits, id, count)),
        })
    }

    /// Whether the answer is just the largest logit.
    fn is_plain_greedy(&self) -> bool {
        self.settings.is_greedy() && !self.settings.adjusts(self.drawn)
    }
}

impl Settings {
    fn is_greedy(&self) -> bool {
        self.params.temperature < GREEDY_BELOW
    }

    fn has_penalties(&self) -> bool {
        self.params.repetition_penalty != 1.0
            || self.params.presence_penalty != 0.0
            || self.params.frequency_penalty != 0.0
    }
}

/// The likelier first; among equals the lower id.
impl Candidate {
    fn order(&self, other: &Self) -> Ordering {
        other
            .logit
            .total_cmp(&self.logit)
            .then(self.id.cmp(&other.id))
    }
}

fn candidates(logits: &[f32]) -> impl Iterator<Item = Candidate> {
    logits.iter().zip(0u32..).map(|(logit, id)| Candidate {
        // Adding zero makes -0 and +0 one value, as `order` demands.
        logit: f64::from(*logit) + 0.0,
        id,
    })
}

fn likeliest(candidates: impl Iterator<Item = Candidate>) -> Option<u32> {
    candidates
        .filter(|candidate| candidate.logit > f64::NEG_INFINITY)
        .min_by(Candidate::order)
        .map(|candidate| candidate.id)
}

fn check(logits: &[f32]) -> Result<(), Error> {
    match logits
        .iter()
        .position(|logit| logit.is_nan() || *logit == f32::INFINITY)
    {
        None => Ok(()),
        Some(id) => Err(Error::Logit {
            id,
            found: logits[id],
        }),
    }
}

/// vLLM's threshold (`_SAMPLING_EPS` in `sampling_params.py`).
pub(crate) const GREEDY_BELOW: f64 = 1e-5;

#[cfg(test)]
mod tests;
