//! `POST /v1/completions` of vLLM with ids in and ids out (`entrypoints/openai/completion/protocol.py`, from the version
//! of August 2025 on that has `return_token_ids`).

use equicrypt_spec::wire::{FinishReason, TokenLogprob, Usage};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::generate::id_of;
use super::{Added, Ask, Chunk, Progress};

pub(super) fn body(ask: &Ask<'_>) -> serde_json::Result<Vec<u8>> {
    let sampling = ask.options.sampling;
    let bias = sampling.bias.pairs();
    let bias: Map<String, Value> = bias
        .map(|(id, bias)| (id.to_string(), json!(bias)))
        .collect();
    let mut body = json!({
        "prompt": ask.prompt,
        "max_tokens": ask.options.max_tokens,
        "stream": true,
        "stream_options": {"include_usage": true},
        "return_token_ids": true,
        "return_tokens_as_token_ids": true,
        "add_special_tokens": false,
        "stop_token_ids": ask.options.stop_ids.as_slice(),
        "ignore_eos": true,
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "top_k": sampling.top_k,
        "min_p": sampling.min_p,
        "presence_penalty": sampling.presence_penalty,
        "frequency_penalty": sampling.frequency_penalty,
        "repetition_penalty": sampling.repetition_penalty,
        "cache_salt": ask.cache_salt,
    });
    let optional = [
        ("model", ask.model.map(|model| json!(model))),
        ("seed", sampling.seed.map(|seed| json!(seed))),
        ("logprobs", sampling.logprobs.map(|count| json!(count))),
        (
            "logit_bias",
            (!bias.is_empty()).then_some(Value::Object(bias)),
        ),
    ];
    for (name, value) in optional {
        if let Some(value) = value {
            body[name] = value;
        }
    }
    serde_json::to_vec(&body)
}

pub(super) fn read(event: &str, _: Progress) -> Option<Chunk> {
    let response: Response = serde_json::from_str(event).ok()?;
    let answers = response.choices.into_iter().map(|choice| {
        Some(Added {
            index: choice.index,
            logprobs: match choice.logprobs {
                Some(logprobs) => logprobs.each()?,
                None => Vec::new(),
            },
            ids: choice.token_ids?,
            finish: choice.finish_reason,
        })
    });
    Some(Chunk {
        answers: answers.collect::<Option<_>>()?,
        usage: response.usage,
        last: false,
    })
}

#[derive(Deserialize)]
struct Response {
    choices: Vec<Choice>,
    usage: Option<Usage>,
}

#[derive(Deserialize)]
struct Choice {
    index: usize,
    finish_reason: Option<FinishReason>,
    /// A host that gives text only cannot be used.
    token_ids: Option<Vec<u32>>,
    logprobs: Option<Logprobs>,
}

#[derive(Deserialize)]
struct Logprobs {
    tokens: Vec<String>,
    token_logprobs: Vec<Option<f64>>,
    #[serde(default)]
    top_logprobs: Option<Vec<Option<Map<String, Value>>>>,
}

impl Logprobs {
    fn each(self) -> Option<Vec<TokenLogprob>> {
        let mut top = self.top_logprobs.unwrap_or_default().into_iter();
        let pairs = self.tokens.iter().zip(&self.token_logprobs);
        pairs
            .map(|(token, logprob)| {
                let top = top.next().flatten().unwrap_or_default();
                let top = top
                    .iter()
                    .map(|(token, logprob)| Some(entry(id_of(token)?, logprob.as_f64()?)));
                Some(TokenLogprob {
                    top_logprobs: top.collect::<Option<_>>()?,
                    ..entry(id_of(token)?, (*logprob)?)
                })
            })
            .collect()
    }
}

fn entry(token_id: u32, logprob: f64) -> TokenLogprob {
    TokenLogprob {
        token_id,
        logprob,
        rank: None,
        top_logprobs: Vec::new(),
    }
}
