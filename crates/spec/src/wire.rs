//! The wire between owner and host: token ids in, token ids out. The shapes are those of vLLM's `POST
//! /inference/v1/generate` (vLLM 0.33, `entrypoints/scale_out/token_in_token_out/protocol.py`), so that stock vLLM and
//! our own server are interchangeable. Unknown fields of a request are ignored, as vLLM ignores them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Body of `POST /inference/v1/generate`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct GenerateRequest {
    /// Echoed in the answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
    /// The prompt as cipher ids.
    pub token_ids: Vec<u32>,
    /// The served model's name; any if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// How to sample.
    pub sampling_params: SamplingParams,
    /// Server-sent events instead of one answer.
    #[serde(default)]
    pub stream: bool,
    /// What to add to a stream.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stream_options: Option<StreamOptions>,
    /// Whether to echo the prompt's ids.
    #[serde(default)]
    pub return_token_ids: bool,
    /// Requests share cached prefixes only with requests of the same salt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache_salt: Option<String>,
}

/// What to add to a stream.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
pub struct StreamOptions {
    /// A last chunk with the token counts.
    #[serde(default)]
    pub include_usage: bool,
}

/// vLLM's `SamplingParams`, as far as they are supported here.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default)]
pub struct SamplingParams {
    /// Most new tokens; the rest of the context if absent.
    pub max_tokens: Option<usize>,
    /// No stop before this many.
    pub min_tokens: usize,
    /// Answers to one prompt.
    pub n: usize,
    /// 0 is greedy.
    pub temperature: f64,
    /// Nucleus: the smallest set of ids of at least this probability.
    pub top_p: f64,
    /// The k likeliest ids; 0 or -1 for all.
    pub top_k: i64,
    /// Ids of at least this share of the likeliest one's probability.
    pub min_p: f64,
    /// Same seed, same draw.
    pub seed: Option<u64>,
    /// Subtracted from the logit of every id that was generated.
    pub presence_penalty: f64,
    /// Subtracted once for each time that an id was generated.
    pub frequency_penalty: f64,
    /// Divides (or multiplies, if negative) the logit of every id of prompt and answer.
    pub repetition_penalty: f64,
    /// Ids that end the answer; the id itself is still returned.
    #[serde(deserialize_with = "null_is_default")]
    pub stop_token_ids: Vec<u32>,
    /// Do not stop at the model's own end ids.
    pub ignore_eos: bool,
    /// Added to logits.
    #[serde(deserialize_with = "null_is_default")]
    pub logit_bias: BTreeMap<u32, f64>,
    /// All other ids are excluded.
    pub allowed_token_ids: Option<Vec<u32>>,
    /// Log-probabilities of the chosen id and of this many likeliest ones.
    pub logprobs: Option<usize>,
}

/// Body of the answer of `POST /inference/v1/generate`, and of each chunk of a stream.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct GenerateResponse {
    /// `generate-tokens-` and the request's id.
    pub request_id: String,
    /// The served model's name.
    #[serde(default)]
    pub model: Option<String>,
    /// Seconds since 1970.
    #[serde(default)]
    pub created: Option<u64>,
    /// Token counts; only in the last chunk of a stream.
    #[serde(default)]
    pub usage: Option<Usage>,
    /// The prompt's ids, if asked for.
    #[serde(default)]
    pub prompt_token_ids: Option<Vec<u32>>,
    /// `tokens`.
    #[serde(default)]
    pub output_mode: Option<String>,
    /// One for each answer; of a stream, only those that went on.
    pub choices: Vec<Choice>,
}

/// One answer, or what was added to it since the last chunk.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Choice {
    /// Which of the `n` answers.
    pub index: usize,
    /// Why it ended; none while it goes on.
    pub finish_reason: Option<FinishReason>,
    /// The stop id that was met.
    #[serde(default)]
    pub stop_reason: Option<u32>,
    /// Cipher ids.
    pub token_ids: Vec<u32>,
    /// For each id, if asked for.
    #[serde(default)]
    pub logprobs: Option<Logprobs>,
}

/// Why an answer ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FinishReason {
    /// A stop id.
    Stop,
    /// `max_tokens`, or the end of the context.
    Length,
    /// Cancelled.
    Abort,
    /// The host failed.
    Error,
    /// The host saw a loop.
    Repetition,
}

/// Log-probabilities of an answer.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Logprobs {
    /// One for each id.
    pub content: Vec<TokenLogprob>,
}

/// The log-probability of one id at one place.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct TokenLogprob {
    /// The id.
    pub token_id: u32,
    /// Natural logarithm, before temperature and filters.
    pub logprob: f64,
    /// 1 for the likeliest.
    #[serde(default)]
    pub rank: Option<usize>,
    /// The likeliest ids at this place; empty inside itself.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub top_logprobs: Vec<TokenLogprob>,
}

/// Token counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// Of the prompt.
    pub prompt_tokens: usize,
    /// Both.
    pub total_tokens: usize,
    /// Of all answers.
    pub completion_tokens: usize,
    /// Where the prompt's tokens came from.
    #[serde(default)]
    pub prompt_tokens_details: Option<PromptTokensDetails>,
}

/// Where a prompt's tokens came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct PromptTokensDetails {
    /// Tokens whose keys and values were cached.
    pub cached_tokens: usize,
}

/// Body of an error, on every route.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ErrorBody {
    /// The error.
    pub error: ErrorDetail,
}

/// An error as OpenAI and vLLM spell it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ErrorDetail {
    /// For people.
    pub message: String,
    /// For programs.
    #[serde(rename = "type")]
    pub kind: String,
    /// The field at fault.
    #[serde(default)]
    pub param: Option<String>,
    /// The HTTP status.
    pub code: u16,
}

impl Default for SamplingParams {
    fn default() -> Self {
        Self {
            max_tokens: None,
            min_tokens: 0,
            n: 1,
            temperature: 1.0,
            top_p: 1.0,
            top_k: 0,
            min_p: 0.0,
            seed: None,
            presence_penalty: 0.0,
            frequency_penalty: 0.0,
            repetition_penalty: 1.0,
            stop_token_ids: Vec::new(),
            ignore_eos: false,
            logit_bias: BTreeMap::new(),
            allowed_token_ids: None,
            logprobs: None,
        }
    }
}

fn null_is_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: serde::Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

/// Token ids of one text, or of several.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum TextIds {
    /// One text.
    One(Vec<u32>),
    /// Several.
    Many(Vec<Vec<u32>>),
}

/// Body of `POST /v1/embeddings`, `/classify`, `/pooling` and `/rerank` with token ids, in vLLM's shapes (vLLM 0.33,
/// `entrypoints/pooling/*/protocol.py`). `token_type_ids`, `positions`, a `/rerank` of ids, and the task `token_logits` are
/// our server's own.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct EncodeRequest {
    /// The served model's name; any if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// Cipher ids, special tokens included. For `/rerank` each text is a query with one document.
    pub input: TextIds,
    /// For each token the text of a pair that it belongs to; the first one if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_type_ids: Option<TextIds>,
    /// How embeddings are written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub encoding_format: Option<EncodingFormat>,
    /// Whether labels come as probabilities; they do if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub use_activation: Option<bool>,
    /// What `/pooling` gives: `embed`, `classify`, `token_embed`, `token_classify` or `token_logits`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task: Option<String>,
    /// For each text the tokens that are answered for; all if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub positions: Option<TextIds>,
    /// The best documents only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub top_n: Option<usize>,
}

/// How embeddings are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EncodingFormat {
    /// A list of numbers.
    Float,
    /// The base64 of little-endian f32.
    Base64,
}

/// Body of an answer for each text.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct EncodeResponse<T> {
    /// Says nothing.
    #[serde(default)]
    pub id: String,
    /// `list`.
    #[serde(default)]
    pub object: String,
    /// Seconds since 1970.
    #[serde(default)]
    pub created: u64,
    /// The served model's name.
    #[serde(default)]
    pub model: String,
    /// One for each text, in order.
    pub data: Vec<T>,
    /// Token counts.
    #[serde(default)]
    pub usage: Option<Usage>,
}

/// A text's embedding.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Embedding {
    /// Which text.
    pub index: usize,
    /// `embedding`.
    #[serde(default)]
    pub object: String,
    /// The vector.
    pub embedding: EmbeddingValues,
}

/// An embedding as it was asked for.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(untagged)]
pub enum EmbeddingValues {
    /// A list of numbers.
    Float(Vec<f32>),
    /// The base64 of little-endian f32.
    Base64(String),
}

/// A text's labels.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Classification {
    /// Which text.
    pub index: usize,
    /// The likeliest label.
    #[serde(default)]
    pub label: Option<String>,
    /// A number for each label.
    pub probs: Vec<f32>,
    /// How many there are.
    pub num_classes: usize,
}

/// What `/pooling` gives for a text.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Pooled {
    /// Which text.
    pub index: usize,
    /// `pooling`.
    #[serde(default)]
    pub object: String,
    /// One vector, or one for each token.
    pub data: PooledValues,
}

/// One vector, or several.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(untagged)]
pub enum PooledValues {
    /// Of the text.
    One(Vec<f32>),
    /// Of its tokens.
    Many(Vec<Vec<f32>>),
}

/// Body of the answer of `POST /rerank`: the best first.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RerankResponse {
    /// Says nothing.
    #[serde(default)]
    pub id: String,
    /// The served model's name.
    #[serde(default)]
    pub model: String,
    /// The best first.
    pub results: Vec<Relevance>,
    /// Token counts.
    #[serde(default)]
    pub usage: Option<Usage>,
}

/// How well a document answers a query.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Relevance {
    /// Which text of the request.
    pub index: usize,
    /// The score.
    pub relevance_score: f32,
}

impl TextIds {
    /// The texts.
    #[must_use]
    pub fn into_texts(self) -> Vec<Vec<u32>> {
        match self {
            Self::One(ids) => vec![ids],
            Self::Many(texts) => texts,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vllm_request_bodies_are_read() {
        let body = r#"{"token_ids":[17,5],"sampling_params":{"max_tokens":4,"temperature":0.0,
            "logit_bias":{"12":-5.0},"stop_token_ids":null,"detokenize":false,"seed":null},
            "stream":true,"stream_options":{"include_usage":true},"priority":0,"features":null}"#;
        let request: GenerateRequest = serde_json::from_str(body).unwrap();
        assert_eq!(request.sampling_params.logit_bias[&12], -5.0);
        assert!(request.sampling_params.stop_token_ids.is_empty());
        assert_eq!(request.sampling_params.top_p, 1.0);
    }

    #[test]
    fn vllm_answers_are_read() {
        let body = r#"{"request_id":"generate-tokens-a","usage":null,"output_mode":"tokens","choices":[
            {"index":0,"finish_reason":"stop","stop_reason":4711,"token_ids":[4711],"routed_experts":null,
             "logprobs":{"content":[{"token_id":4711,"logprob":-0.1,"rank":1,"top_logprobs":[]}]}}]}"#;
        let answer: GenerateResponse = serde_json::from_str(body).unwrap();
        assert_eq!(answer.choices[0].finish_reason, Some(FinishReason::Stop));
        assert_eq!(answer.choices[0].stop_reason, Some(4711));
    }
}
