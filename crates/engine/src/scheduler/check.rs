use equicrypt_spec::wire::SamplingParams;

use super::inbox::Shared;
use super::{Request, SubmitError};
use crate::sampling::GREEDY_BELOW;

/// Refuses what the engine cannot do, by the field at fault. The ranges are vLLM's where it has
/// any.
pub(super) fn check(request: &Request, engine: &Shared) -> Result<(), SubmitError> {
    let vocab_size = engine.config.vocab_size;
    prompt(&request.prompt, engine)?;
    let params = &request.sampling;
    counts(params, engine.options.max_batch)?;
    numbers(params)?;
    ids("stop_token_ids", &params.stop_token_ids, vocab_size)?;
    ids("logit_bias", params.logit_bias.keys(), vocab_size)?;
    if let Some(bias) = params.logit_bias.values().find(|bias| !moderate(**bias)) {
        return refuse(
            "logit_bias",
            "every value between -1e30 and 1e30",
            bias.to_string(),
        );
    }
    allowed(params, engine)
}

fn prompt(prompt: &[u32], engine: &Shared) -> Result<(), SubmitError> {
    if prompt.is_empty() {
        return refuse("token_ids", "at least one token id", "none");
    }
    if prompt.len() >= engine.context {
        return refuse(
            "token_ids",
            &format!(
                "fewer ids than the context of {} holds, so that there is room for an answer",
                engine.context
            ),
            prompt.len(),
        );
    }
    ids("token_ids", prompt, engine.config.vocab_size)
}

fn counts(params: &SamplingParams, max_batch: usize) -> Result<(), SubmitError> {
    if params.n == 0 || params.n > max_batch {
        return refuse(
            "n",
            &format!("1 to {max_batch} answers, as this host is set up"),
            params.n,
        );
    }
    if params.n > 1 && params.temperature < GREEDY_BELOW {
        return refuse(
            "n",
            "1 with a temperature of 0, where all answers are equal",
            params.n,
        );
    }
    if params.max_tokens == Some(0) {
        return refuse("max_tokens", "1 or more", 0);
    }
    if let Some(max) = params.max_tokens
        && params.min_tokens > max
    {
        let expected = format!("no more than max_tokens = {max}");
        return refuse("min_tokens", &expected, params.min_tokens);
    }
    match params.logprobs {
        Some(count) if count > MAX_LOGPROBS => {
            refuse("logprobs", &format!("0 to {MAX_LOGPROBS}"), count)
        }
        _ => Ok(()),
    }
}

fn numbers(params: &SamplingParams) -> Result<(), SubmitError> {
    let penalty = |x: f64| (-2.0..=2.0).contains(&x);
    let rules = [
        (
            "temperature",
            params.temperature,
            params.temperature >= 0.0 && moderate(params.temperature),
            "0 or more",
        ),
        (
            "top_p",
            params.top_p,
            params.top_p > 0.0 && params.top_p <= 1.0,
            "more than 0 and at most 1",
        ),
        (
            "min_p",
            params.min_p,
            (0.0..=1.0).contains(&params.min_p),
            "0 to 1",
        ),
        (
            "presence_penalty",
            params.presence_penalty,
            penalty(params.presence_penalty),
            "-2 to 2",
        ),
        (
            "frequency_penalty",
            params.frequency_penalty,
            penalty(params.frequency_penalty),
            "-2 to 2",
        ),
        (
            "repetition_penalty",
            params.repetition_penalty,
            params.repetition_penalty > 0.0 && moderate(params.repetition_penalty),
            "more than 0",
        ),
    ];
    for (param, found, holds, expected) in rules {
        if !holds {
            return refuse(param, expected, found);
        }
    }
    if params.top_k < -1 {
        return refuse("top_k", "1 or more, or 0 or -1 for all ids", params.top_k);
    }
    Ok(())
}

fn allowed(params: &SamplingParams, engine: &Shared) -> Result<(), SubmitError> {
    let Some(allowed) = &params.allowed_token_ids else {
        return Ok(());
    };
    if allowed.is_empty() {
        return refuse("allowed_token_ids", "at least one id, or null", "none");
    }
    ids("allowed_token_ids", allowed, engine.config.vocab_size)?;
    let stops = engine.stops(params);
    if params.min_tokens > 0 && allowed.iter().all(|id| stops.binary_search(id).is_ok()) {
        return refuse(
            "allowed_token_ids",
            "an id that does not stop the answer, because min_tokens is set",
            "stop ids only",
        );
    }
    Ok(())
}

fn ids<'a>(
    param: &'static str,
    ids: impl IntoIterator<Item = &'a u32>,
    vocab_size: usize,
) -> Result<(), SubmitError> {
    let outside = |id: &u32| usize::try_from(*id).map_or(true, |id| id >= vocab_size);
    match ids.into_iter().position(outside) {
        None => Ok(()),
        Some(place) => refuse(
            param,
            &format!("token ids below the model's vocabulary size {vocab_size}"),
            format!("a larger one at place {place}"),
        ),
    }
}

/// Keeps every adjusted logit finite in f64.
fn moderate(x: f64) -> bool {
    x.abs() <= 1e30
}

fn refuse<T>(
    param: &'static str,
    expected: &str,
    found: impl std::fmt::Display,
) -> Result<T, SubmitError> {
    Err(SubmitError::Invalid {
        param,
        message: format!("expected {expected}, found {found}"),
    })
}

/// Most likeliest ids in an answer's log-probabilities.
const MAX_LOGPROBS: usize = 64;
