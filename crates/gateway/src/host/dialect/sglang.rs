//! `POST /generate` of SGLang (0.5.23, `managers/io_struct.py` and `managers/tokenizer_manager.py`). A chunk has all ids
//! so far, or with `--incremental-streaming-output` the new ones only; `completion_tokens` tells which of them are new.

use equicrypt_spec::wire::{FinishReason, PromptTokensDetails, TokenLogprob, Usage};
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::{Map, Value, json};

use super::{Added, Ask, Chunk, Progress};

pub(super) fn body(ask: &Ask<'_>) -> serde_json::Result<Vec<u8>> {
    let sampling = ask.options.sampling;
    let mut params = json!({
        "max_new_tokens": ask.options.max_tokens,
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "top_k": match sampling.top_k { 0 => json!(-1), top_k => json!(top_k) },
        "min_p": sampling.min_p,
        "presence_penalty": sampling.presence_penalty,
        "frequency_penalty": sampling.frequency_penalty,
        "repetition_penalty": sampling.repetition_penalty,
        "stop_token_ids": ask.options.stop_ids.as_slice(),
        "ignore_eos": true,
    });
    if let Some(seed) = sampling.seed {
        params["sampling_seed"] = json!(seed);
    }
    if !sampling.bias.is_empty() {
        let bias = sampling.bias.pairs();
        let bias: Map<String, Value> = bias
            .map(|(id, bias)| (id.to_string(), json!(bias)))
            .collect();
        params["logit_bias"] = Value::Object(bias);
    }
    let mut body = json!({
        "input_ids": ask.prompt,
        "sampling_params": params,
        "stream": true,
        "cache_salt": ask.cache_salt,
    });
    if let Some(count) = sampling.logprobs {
        body["return_logprob"] = json!(true);
        body["logprob_start_len"] = json!(-1);
        body["top_logprobs_num"] = json!(count);
        body["return_text_in_logprobs"] = json!(false);
    }
    serde_json::to_vec(&body)
}

pub(super) fn read(event: &str, progress: Progress) -> Option<Chunk> {
    let response: Response = serde_json::from_str(event).ok()?;
    let meta = response.meta_info;
    let new = meta.completion_tokens.checked_sub(progress.tokens)?;
    let ids = tail(response.output_ids, new)?;
    let logprobs = match meta.output_token_logprobs {
        Some(all) => {
            let top = meta.output_top_logprobs.unwrap_or_default();
            let mut top = tail_at_most(top, new).into_iter();
            let entries = tail(all, new)?.into_iter().map(|entry| TokenLogprob {
                top_logprobs: {
                    let top = top.next().flatten().unwrap_or_default();
                    top.into_iter().map(named).collect()
                },
                ..named(entry)
            });
            entries.collect()
        }
        None => Vec::new(),
    };
    let finish = match meta.finish_reason {
        None => None,
        Some(reason) => Some(match reason.kind.as_str() {
            "stop" => FinishReason::Stop,
            "length" => FinishReason::Length,
            "abort" => FinishReason::Abort,
            _ => return None,
        }),
    };
    let usage = finish.is_some().then(|| Usage {
        prompt_tokens: meta.prompt_tokens,
        completion_tokens: meta.completion_tokens,
        total_tokens: meta.prompt_tokens.saturating_add(meta.completion_tokens),
        prompt_tokens_details: Some(PromptTokensDetails {
            cached_tokens: meta.cached_tokens,
        }),
    });
    Some(Chunk {
        answers: vec![Added {
            index: response.index.unwrap_or(0),
            ids,
            logprobs,
            finish,
        }],
        usage,
        last: false,
    })
}

/// The last `count`, of at least as many.
fn tail<T>(mut list: Vec<T>, count: usize) -> Option<Vec<T>> {
    let before = list.len().checked_sub(count)?;
    Some(list.split_off(before))
}

fn tail_at_most<T>(mut list: Vec<T>, count: usize) -> Vec<T> {
    let before = list.len().saturating_sub(count);
    list.split_off(before)
}

#[derive(Deserialize)]
struct Response {
    output_ids: Vec<u32>,
    meta_info: Meta,
    index: Option<usize>,
}

#[derive(Deserialize)]
struct Meta {
    finish_reason: Option<Reason>,
    #[serde(default)]
    prompt_tokens: usize,
    completion_tokens: usize,
    #[serde(default)]
    cached_tokens: usize,
    output_token_logprobs: Option<Vec<Entry>>,
    output_top_logprobs: Option<Vec<Option<Vec<Entry>>>>,
}

#[derive(Deserialize)]
struct Reason {
    #[serde(rename = "type")]
    kind: String,
}

/// A log-probability, an id, and its text if there is a tokenizer.
type Entry = (f64, u32, IgnoredAny);

fn named((logprob, token_id, _): Entry) -> TokenLogprob {
    TokenLogprob {
        token_id,
        logprob,
        rank: None,
        top_logprobs: Vec::new(),
    }
}
