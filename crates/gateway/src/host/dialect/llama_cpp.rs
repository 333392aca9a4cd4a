//! `POST /completion` of llama.cpp's server (0c1e57098, `tools/server`). It cannot be told which ids end an answer: whoever
//! reads it closes the connection. Its stream has no `[DONE]`; the last chunk says `"stop": true`. Samplers that are on
//! unless told otherwise (`top_k`, `min_p`, a repetition window of 64) are told. Its penalties count the prompt's ids too, where
//! those of other engines count the answer's only, but for the repetition penalty.

use equicrypt_spec::wire::{FinishReason, PromptTokensDetails, TokenLogprob, Usage};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Added, Ask, Chunk, Progress};

pub(super) fn body(ask: &Ask<'_>) -> serde_json::Result<Vec<u8>> {
    let sampling = ask.options.sampling;
    let bias: Vec<Value> = sampling
        .bias
        .pairs()
        .map(|(id, bias)| json!([id, bias]))
        .collect();
    let mut body = json!({
        "prompt": ask.prompt,
        "n_predict": ask.options.max_tokens,
        "stream": true,
        "return_tokens": true,
        "cache_prompt": true,
        "temperature": sampling.temperature,
        "top_k": sampling.top_k,
        "top_p": sampling.top_p,
        "min_p": sampling.min_p,
        "presence_penalty": sampling.presence_penalty,
        "frequency_penalty": sampling.frequency_penalty,
        "repeat_penalty": sampling.repetition_penalty,
        "repeat_last_n": ask.prompt.len() + ask.options.max_tokens,
        "logit_bias": bias,
    });
    if let Some(seed) = sampling.seed {
        // Seeds of llama.cpp have 32 bits, and the largest one means a random one.
        body["seed"] = json!(seed % u64::from(u32::MAX));
    }
    if let Some(count) = sampling.logprobs {
        // With 0 it gives none, not even that of the chosen id.
        body["n_probs"] = json!(count.max(1));
        body["post_sampling_probs"] = json!(false);
    }
    serde_json::to_vec(&body)
}

pub(super) fn read(event: &str, _: Progress) -> Option<Chunk> {
    let response: Response = serde_json::from_str(event).ok()?;
    let probabilities = response.completion_probabilities.unwrap_or_default();
    let finish = match (response.stop, response.stop_type.as_deref()) {
        (false, _) => None,
        (true, Some("limit")) => Some(FinishReason::Length),
        (true, _) => Some(FinishReason::Stop),
    };
    let usage = response.stop.then(|| Usage {
        prompt_tokens: response.tokens_evaluated,
        completion_tokens: response.tokens_predicted,
        total_tokens: response
            .tokens_evaluated
            .saturating_add(response.tokens_predicted),
        prompt_tokens_details: response.timings.map(|timings| PromptTokensDetails {
            cached_tokens: timings.cache_n.unwrap_or(0),
        }),
    });
    // A stream's last chunk repeats nothing: its `tokens` are empty, and so must be what belongs to them.
    let logprobs = match response.tokens.is_empty() {
        true => Vec::new(),
        false => probabilities.into_iter().map(Entry::named).collect(),
    };
    Some(Chunk {
        answers: vec![Added {
            index: response.index.unwrap_or(0),
            ids: response.tokens,
            logprobs,
            finish,
        }],
        usage,
        last: response.stop,
    })
}

#[derive(Deserialize)]
struct Response {
    index: Option<usize>,
    tokens: Vec<u32>,
    stop: bool,
    stop_type: Option<String>,
    #[serde(default)]
    tokens_evaluated: usize,
    #[serde(default)]
    tokens_predicted: usize,
    timings: Option<Timings>,
    completion_probabilities: Option<Vec<Entry>>,
}

#[derive(Deserialize)]
struct Timings {
    cache_n: Option<usize>,
}

#[derive(Deserialize)]
struct Entry {
    id: u32,
    logprob: f64,
    #[serde(default)]
    top_logprobs: Vec<Entry>,
}

impl Entry {
    fn named(self) -> TokenLogprob {
        TokenLogprob {
            token_id: self.id,
            logprob: self.logprob,
            rank: None,
            top_logprobs: self.top_logprobs.into_iter().map(Self::named).collect(),
        }
    }
}
