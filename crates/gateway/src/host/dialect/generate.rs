//! `POST /inference/v1/generate` of our own server and of vLLM (0.24 to 0.33,
//! `entrypoints/scale_out/token_in_token_out/protocol.py`; log-probabilities name ids as numbers from 0.32 on, before
//! as texts `token_id:N`).

use equicrypt_spec::wire::{
    FinishReason, GenerateRequest, SamplingParams, StreamOptions, TokenLogprob, Usage,
};
use serde::Deserialize;

use super::{Added, Ask, Chunk, Progress};

pub(super) fn body(ask: &Ask<'_>) -> serde_json::Result<Vec<u8>> {
    let sampling = ask.options.sampling;
    serde_json::to_vec(&GenerateRequest {
        request_id: None,
        token_ids: ask.prompt.to_vec(),
        model: None,
        sampling_params: SamplingParams {
            max_tokens: Some(ask.options.max_tokens),
            temperature: sampling.temperature,
            top_p: sampling.top_p,
            top_k: i64::try_from(sampling.top_k).unwrap_or(0),
            min_p: sampling.min_p,
            seed: sampling.seed,
            presence_penalty: sampling.presence_penalty,
            frequency_penalty: sampling.frequency_penalty,
            repetition_penalty: sampling.repetition_penalty,
            stop_token_ids: ask.options.stop_ids.as_slice().to_vec(),
            ignore_eos: true,
            logit_bias: sampling.bias.pairs().collect(),
            logprobs: sampling.logprobs,
            ..SamplingParams::default()
        },
        stream: true,
        stream_options: Some(StreamOptions {
            include_usage: true,
        }),
        return_token_ids: false,
        cache_salt: Some(ask.cache_salt.to_owned()),
    })
}

pub(super) fn read(event: &str, _: Progress) -> Option<Chunk> {
    let response: Response = serde_json::from_str(event).ok()?;
    let answers = response.choices.into_iter().map(|choice| {
        let content = choice.logprobs.map(|logprobs| logprobs.content);
        let logprobs = content.unwrap_or_default().into_iter().map(Entry::named);
        Some(Added {
            index: choice.index,
            ids: choice.token_ids,
            logprobs: logprobs.collect::<Option<_>>()?,
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
    token_ids: Vec<u32>,
    logprobs: Option<Logprobs>,
}

#[derive(Deserialize)]
struct Logprobs {
    content: Vec<Entry>,
}

#[derive(Deserialize)]
struct Entry {
    token_id: Option<u32>,
    token: Option<String>,
    logprob: f64,
    #[serde(default)]
    top_logprobs: Vec<Entry>,
}

impl Entry {
    fn named(self) -> Option<TokenLogprob> {
        let token_id = match (self.token_id, self.token) {
            (Some(id), _) => id,
            (None, token) => id_of(&token?)?,
        };
        let top = self.top_logprobs.into_iter().map(Self::named);
        Some(TokenLogprob {
            token_id,
            logprob: self.logprob,
            rank: None,
            top_logprobs: top.collect::<Option<_>>()?,
        })
    }
}

/// `token_id:N`.
pub(super) fn id_of(token: &str) -> Option<u32> {
    token.strip_prefix("token_id:")?.parse().ok()
}
