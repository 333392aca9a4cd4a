use std::collections::HashMap;

use super::{Candidate, Settings, candidates};

impl Settings {
    /// Whether [`adjust`](Self::adjust) changes anything for an answer of `drawn` ids.
    pub(super) fn adjusts(&self, drawn: usize) -> bool {
        self.allowed.is_some()
            || !self.params.logit_bias.is_empty()
            || self.has_penalties()
            || (drawn < self.params.min_tokens && !self.stops.is_empty())
    }

    /// The candidates, ascending by id: l + bias, where the stops are at minus infinity until
    /// `min_tokens`; then, for every id of prompt and answer, l / r if l > 0 and l * r otherwise (r
    /// the repetition penalty, of Keskar et al., arXiv 1909.05858); then, for every id drawn c
    /// times, l - c frequency - presence.
    pub(super) fn adjust(
        &self,
        logits: &[f32],
        seen: &HashMap<u32, u32>,
        drawn: usize,
    ) -> Vec<Candidate> {
        let mut left = self.allowed(logits);
        if drawn < self.params.min_tokens {
            for stop in &self.stops {
                change(&mut left, *stop, |_| f64::NEG_INFINITY);
            }
        }
        for (id, bias) in &self.params.logit_bias {
            change(&mut left, *id, |logit| logit + bias);
        }
        if self.has_penalties() {
            for (id, times) in seen {
                change(&mut left, *id, |logit| self.penalise(logit, *times));
            }
        }
        left
    }

    fn allowed(&self, logits: &[f32]) -> Vec<Candidate> {
        match &self.allowed {
            None => candidates(logits).collect(),
            Some(ids) => ids
                .iter()
                .filter_map(|id| {
                    let logit = *logits.get(usize::try_from(*id).ok()?)?;
                    Some(Candidate {
                        logit: f64::from(logit) + 0.0,
                        id: *id,
                    })
                })
                .collect(),
        }
    }

    fn penalise(&self, logit: f64, times: u32) -> f64 {
        let repetition = self.params.repetition_penalty;
        let logit = if logit > 0.0 {
            logit / repetition
        } else {
            logit * repetition
        };
        if times == 0 {
            return logit;
        }
        logit - f64::from(times) * self.params.frequency_penalty - self.params.presence_penalty
    }
}

fn change(left: &mut [Candidate], id: u32, change: impl FnOnce(f64) -> f64) {
    if let Ok(place) = left.binary_search_by_key(&id, |candidate| candidate.id) {
        left[place].logit = change(left[place].logit);
    }
}
