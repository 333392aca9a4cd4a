use equicrypt_spec::wire::TokenLogprob;

use super::{Candidate, candidates};

/// ln softmax(l)_id, with its rank, and the same for the `count` likeliest ids. As in vLLM the
/// drawn id stands first among them, so that there are `count` or `count + 1`. None if `id` is not
/// in the vocabulary.
pub(super) fn of(logits: &[f32], id: u32, count: usize) -> Option<TokenLogprob> {
    let drawn = candidates(logits).find(|candidate| candidate.id == id)?;
    let top = candidates(logits)
        .map(|candidate| candidate.logit)
        .fold(f64::NEG_INFINITY, f64::max);
    let sum: f64 = candidates(logits)
        .map(|candidate| (candidate.logit - top).exp())
        .sum();
    let entry = |candidate: &Candidate, rank: usize| TokenLogprob {
        token_id: candidate.id,
        logprob: (candidate.logit - top - sum.ln()).max(LOWEST),
        rank: Some(rank),
        top_logprobs: Vec::new(),
    };
    let likelier = candidates(logits)
        .filter(|candidate| candidate.order(&drawn).is_lt())
        .count();
    let mut chosen = entry(&drawn, likelier + 1);
    if count > 0 {
        let others = likeliest(logits, count)
            .into_iter()
            .zip(1..)
            .filter(|(candidate, _)| candidate.id != id)
            .map(|(candidate, rank)| entry(&candidate, rank));
        chosen.top_logprobs = std::iter::once(chosen.clone()).chain(others).collect();
    }
    Some(chosen)
}

fn likeliest(logits: &[f32], count: usize) -> Vec<Candidate> {
    let mut best: Vec<Candidate> = Vec::with_capacity(count + 1);
    for candidate in candidates(logits) {
        let full = best.len() == count;
        if full
            && best
                .last()
                .is_some_and(|last| last.order(&candidate).is_lt())
        {
            continue;
        }
        let place = best.partition_point(|better| better.order(&candidate).is_lt());
        best.insert(place, candidate);
        best.truncate(count);
    }
    best
}

/// What vLLM writes for minus infinity, which JSON cannot hold.
const LOWEST: f64 = -9999.0;
