//! Answers that follow a JSON schema, checked on the owner's machine id by id.
//!
//! A host that enforces a grammar itself must know which ids are a quote, a digit, a brace: a
//! foothold in the secret vocabulary. Here the host only ever continues ids. Its answer is checked
//! as it comes; at the first id that the grammar forbids, another is put in its place and the host
//! is asked to go on behind that one.
//!
//! The grammar is one of bytes (`llguidance`), the vocabulary says which bytes an id has. Nothing
//! that a host sends can make it fail: an id is allowed or it is not.

mod finish;
mod guard;
mod schema;
mod vocabulary;

#[cfg(test)]
mod adversary;
#[cfg(test)]
mod harness;
#[cfg(test)]
mod tests;

use llguidance::Matcher;
use serde_json::{Value, json};

use crate::Error;
use guard::Guard;
pub use vocabulary::GrammarVocabulary;

/// How far an answer in JSON has come, and what may come next.
///
/// An answer is one line: a comma and a colon may have one space behind them, and the answer one in
/// front; there is no other white space. Properties come in the schema's order. Values nest at most
/// 64 levels; a number has at most 128 bytes.
pub struct Grammar {
    vocabulary: GrammarVocabulary,
    matcher: Matcher,
    guard: Guard,
    /// Nothing was taken yet.
    fresh: bool,
    /// A stop id was taken.
    ended: bool,
    /// The id last found allowed here.
    allowed: Option<u32>,
    /// Bytes that complete the answer from here, once they were needed.
    completion: Vec<u8>,
}

impl Grammar {
    /// A value that follows the schema: what stands in `response_format.json_schema.schema`.
    /// A schema that cannot be followed exactly is refused; the error names what is not supported.
    pub fn json_schema(vocabulary: &GrammarVocabulary, schema: &Value) -> Result<Self, Error> {
        Ok(Self {
            vocabulary: vocabulary.clone(),
            matcher: schema::compile(vocabulary.parsers(), schema)?,
            guard: Guard::default(),
            fresh: true,
            ended: false,
            allowed: None,
            completion: Vec::new(),
        })
    }

    /// Any JSON object.
    pub fn json_object(vocabulary: &GrammarVocabulary) -> Result<Self, Error> {
        Self::json_schema(vocabulary, &json!({"type": "object"}))
    }

    /// Whether this plain id may come next; for a stop id, whether the answer may end here.
    pub fn allows(&mut self, id: u32) -> Result<bool, Error> {
        if self.ended {
            return Ok(false);
        }
        if self.vocabulary.stop_ids().contains(&id) {
            return Ok(self.may_end());
        }
        let Some(token) = self.vocabulary.bytes(id) else {
            return Ok(false);
        };
        let bytes = self.without_lead(token);
        let allowed = self.guard.clone().feed(bytes) && {
            let ids = as_ids(bytes);
            self.matcher.validate_tokens(&ids).map_err(broken)? == ids.len()
        };
        self.allowed = allowed.then_some(id);
        Ok(allowed)
    }

    /// Goes on behind an allowed id.
    pub fn take(&mut self, id: u32) -> Result<(), Error> {
        if self.allowed != Some(id) && !self.allows(id)? {
            return Err(Error::Grammar {
                problem: "was told to go on behind an id that it forbids",
            });
        }
        self.allowed = None;
        let Some(token) = self.vocabulary.bytes(id) else {
            self.ended = true;
            return Ok(());
        };
        let bytes = self.without_lead(token);
        let ids = as_ids(bytes);
        if self.completion.starts_with(bytes) {
            self.completion.drain(..bytes.len());
        } else {
            self.completion.clear();
        }
        self.guard.feed(bytes);
        self.fresh = false;
        self.matcher.consume_tokens(&ids).map_err(broken)
    }

    /// Ids that must come next whatever the host says, as the tokenizer cuts them; none where the
    /// answer may go on in more than one way. The last may be left out: where a longer token
    /// could take its place, the host decides.
    pub fn forced(&mut self) -> Vec<u32> {
        if self.ended || self.matcher.is_stopped() {
            return Vec::new();
        }
        let mut ahead = self.matcher.clone();
        let bytes = ahead.compute_ff_bytes();
        if bytes.is_empty() || !self.guard.clone().feed(&bytes) {
            return Vec::new();
        }
        let mut ids = self.vocabulary.tokenize(&bytes);
        if ahead.consume_tokens(&as_ids(&bytes)).is_err() {
            return Vec::new();
        }
        let open = self.open_suffix(&mut ahead, &bytes);
        let tokens = |ids: &[u32]| -> usize {
            let lengths = ids.iter().filter_map(|id| self.vocabulary.bytes(*id));
            lengths.map(<[u8]>::len).sum()
        };
        while tokens(&ids) > bytes.len() - open {
            ids.pop();
        }
        ids
    }

    /// Whether the answer may end here.
    pub fn may_end(&mut self) -> bool {
        self.ended || self.matcher.is_accepting().unwrap_or(false)
    }

    /// Whether nothing but the end can follow.
    pub fn must_end(&mut self) -> bool {
        self.ended || (self.matcher.is_stopped() && self.may_end())
    }

    /// An id that may come next and brings the answer towards its end: taken again and again, it
    /// ends. None if the answer has ended, or if no end is in reach: within 16 KiB, or with the
    /// tokens that there are.
    pub fn fallback(&mut self) -> Result<Option<u32>, Error> {
        if self.ended {
            return Ok(None);
        }
        if self.may_end() {
            return Ok(self.vocabulary.stop_ids().first().copied());
        }
        if self.completion.is_empty() {
            let completion = finish::completion(&self.matcher, self.guard)?;
            self.completion = completion.unwrap_or_default();
        }
        let next = self.vocabulary.longest_prefix(&self.completion);
        Ok(next.map(|(id, _)| id))
    }

    /// Without the space that some tokenizers begin a text with.
    fn without_lead<'a>(&self, token: &'a [u8]) -> &'a [u8] {
        let rest = token.strip_prefix(b" ").filter(|_| self.fresh);
        rest.unwrap_or(token)
    }

    /// How many of the last bytes could belong to a longer token that the grammar allows; `ahead`
    /// is behind these bytes.
    fn open_suffix(&self, ahead: &mut Matcher, bytes: &[u8]) -> usize {
        let Ok(mask) = ahead.compute_mask_or_eos() else {
            return 0;
        };
        let next: Vec<u8> = (0..=u8::MAX)
            .filter(|byte| mask.is_allowed((*byte).into()))
            .collect();
        let mut tried = 0;
        let mut continues = |suffix: &[u8]| {
            next.iter().any(|byte| {
                let longer = [suffix, &[*byte]].concat();
                let mut tokens = self.vocabulary.beginning_with(&longer);
                tokens.any(|token| {
                    tried += 1;
                    let ids = as_ids(token.strip_prefix(suffix).unwrap_or_default());
                    tried > MOST_TRIED || ahead.validate_tokens(&ids).ok() == Some(ids.len())
                })
            })
        };
        let longest = bytes.len().min(LONGEST_SUFFIX);
        (1..=longest)
            .rev()
            .find(|length| continues(bytes.get(bytes.len() - length..).unwrap_or_default()))
            .unwrap_or(0)
    }
}

/// The parser's ids are the bytes.
fn as_ids(bytes: &[u8]) -> Vec<u32> {
    bytes.iter().copied().map(u32::from).collect()
}

/// The parser's own words may hold the answer.
fn broken<E>(_: E) -> Error {
    Error::Grammar {
        problem: "became too large to be followed",
    }
}

/// Tokens beyond these are taken to be allowed, so fewer ids are forced.
const MOST_TRIED: usize = 512;
/// Longer tokens are seldom.
const LONGEST_SUFFIX: usize = 32;
