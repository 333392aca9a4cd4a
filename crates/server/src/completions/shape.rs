use equicrypt_spec::wire::{FinishReason, TokenLogprob, Usage};
use serde::Serialize;
use serde_json::{Map, Value};

use crate::answers::{Token, Whole};
use crate::stream::Chunks;

/// What the chunks of an answer have in common.
pub(super) struct Shape {
    pub(super) id: String,
    pub(super) model: String,
    pub(super) created: u64,
    /// Choices for each prompt.
    pub(super) n: usize,
    /// The prompts, if they and the ids of the answers are to be returned.
    pub(super) prompts: Option<Vec<Vec<u32>>>,
}

/// The same for a stream, where each choice comes with its prompt once.
pub(super) struct Streamed {
    shape: Shape,
    /// For each choice, whether its prompt has been sent.
    sent: Vec<bool>,
}

#[derive(Debug, Serialize)]
pub(super) struct Completion {
    id: String,
    object: &'static str,
    created: u64,
    model: String,
    choices: Vec<CompletionChoice>,
    usage: Option<Usage>,
}

#[derive(Debug, Serialize)]
struct CompletionChoice {
    index: usize,
    text: &'static str,
    logprobs: Option<CompletionLogprobs>,
    finish_reason: Option<FinishReason>,
    stop_reason: Option<u32>,
    token_ids: Option<Vec<u32>>,
    prompt_token_ids: Option<Vec<u32>>,
}

/// OpenAI's shape, with ids in place of texts.
#[derive(Debug, Default, Serialize)]
struct CompletionLogprobs {
    tokens: Vec<String>,
    token_logprobs: Vec<f64>,
    top_logprobs: Vec<Map<String, Value>>,
    text_offset: Vec<usize>,
}

impl Shape {
    pub(super) fn whole(&self, choices: Vec<Whole>, usage: Usage) -> Completion {
        let choices = choices.into_iter().enumerate().map(|(index, whole)| {
            let finish = whole.finish;
            CompletionChoice {
                index,
                text: "",
                logprobs: logprobs(&whole.logprobs),
                finish_reason: finish.map(|finish| finish.reason),
                stop_reason: finish.and_then(|finish| finish.stop_reason),
                token_ids: self.prompts.is_some().then_some(whole.ids),
                prompt_token_ids: self.prompt(index).cloned(),
            }
        });
        self.completion(choices.collect(), Some(usage))
    }

    pub(super) fn streamed(self) -> Streamed {
        let choices = self.prompts.as_ref().map_or(0, Vec::len) * self.n;
        Streamed {
            shape: self,
            sent: vec![false; choices],
        }
    }

    fn prompt(&self, choice: usize) -> Option<&Vec<u32>> {
        self.prompts.as_ref()?.get(choice.checked_div(self.n)?)
    }

    fn completion(&self, choices: Vec<CompletionChoice>, usage: Option<Usage>) -> Completion {
        Completion {
            id: self.id.clone(),
            object: "text_completion",
            created: self.created,
            model: self.model.clone(),
            choices,
            usage,
        }
    }
}

impl Streamed {
    fn first_prompt(&mut self, choice: usize) -> Option<Vec<u32>> {
        let sent = self.sent.get_mut(choice)?;
        if std::mem::replace(sent, true) {
            return None;
        }
        self.shape.prompt(choice).cloned()
    }
}

impl Chunks for Streamed {
    type Chunk = Completion;

    fn token(&mut self, token: Token) -> Completion {
        let prompt_token_ids = self.first_prompt(token.choice);
        let choice = CompletionChoice {
            index: token.choice,
            text: "",
            logprobs: logprobs(token.logprob.as_slice()),
            finish_reason: token.finish.map(|finish| finish.reason),
            stop_reason: token.finish.and_then(|finish| finish.stop_reason),
            token_ids: self.shape.prompts.is_some().then(|| vec![token.id]),
            prompt_token_ids,
        };
        self.shape.completion(vec![choice], None)
    }

    fn aborted(&mut self, choice: usize) -> Completion {
        let choice = CompletionChoice {
            index: choice,
            text: "",
            logprobs: None,
            finish_reason: Some(FinishReason::Abort),
            stop_reason: None,
            token_ids: self.shape.prompts.is_some().then(Vec::new),
            prompt_token_ids: None,
        };
        self.shape.completion(vec![choice], None)
    }

    fn usage(&mut self, usage: Usage) -> Completion {
        self.shape.completion(Vec::new(), Some(usage))
    }
}

fn logprobs(tokens: &[TokenLogprob]) -> Option<CompletionLogprobs> {
    if tokens.is_empty() {
        return None;
    }
    let name = |token: &TokenLogprob| format!("token_id:{}", token.token_id);
    let mut all = CompletionLogprobs::default();
    for token in tokens {
        let own = std::slice::from_ref(token);
        let top = if token.top_logprobs.is_empty() {
            own
        } else {
            &token.top_logprobs
        };
        all.tokens.push(name(token));
        all.token_logprobs.push(token.logprob);
        all.top_logprobs.push(
            top.iter()
                .map(|token| (name(token), token.logprob.into()))
                .collect(),
        );
        all.text_offset.push(0);
    }
    Some(all)
}
