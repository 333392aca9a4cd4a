use std::collections::HashMap;
use std::sync::Arc;

use llguidance::ParserFactory;
use serde_json::Value;
use tokenizers::Tokenizer;

use super::schema::byte_parsers;
use crate::{Error, Text};

/// The vocabulary as bytes, for grammars. Made once a model, cheap to clone.
#[derive(Clone)]
pub struct GrammarVocabulary(Arc<Tables>);

struct Tables {
    tokenizer: Arc<Tokenizer>,
    /// By id; empty for ids that are no text: special tokens, stop ids, padding rows.
    tokens: Vec<Box<[u8]>>,
    /// The ids that are text, by their bytes; one of those that are alike.
    sorted: Vec<u32>,
    stop_ids: Vec<u32>,
    parsers: ParserFactory,
}

impl GrammarVocabulary {
    /// `vocab_size` is the model's; stop ids end an answer, and are no text.
    pub fn new(text: &Text, stop_ids: &[u32], vocab_size: usize) -> Result<Self, Error> {
        let tokenizer = Arc::clone(text.tokenizer());
        let spelling = Spelling::of(&tokenizer)?;
        let added = tokenizer.get_added_tokens_decoder();
        let special = |id: &u32| added.get(id).is_some_and(|token| token.special);

        let mut tokens = vec![Box::default(); vocab_size];
        let mut fallbacks = vec![false; vocab_size];
        for (token, id) in tokenizer.get_vocab(true) {
            let Some((slot, fallback)) = tokens
                .get_mut(id as usize)
                .zip(fallbacks.get_mut(id as usize))
            else {
                continue;
            };
            if special(&id) || stop_ids.contains(&id) {
                continue;
            }
            let bytes;
            (bytes, *fallback) = spelling.bytes(&token);
            *slot = bytes.into_boxed_slice();
        }

        let bytes = |id: &u32| tokens.get(*id as usize).map_or(&[][..], |token| token);
        let is_fallback = |id: &u32| fallbacks.get(*id as usize).copied();
        let mut sorted: Vec<u32> = (0..).take(vocab_size).collect();
        sorted.retain(|id| !bytes(id).is_empty());
        sorted.sort_by_key(|id| (bytes(id), is_fallback(id), *id));
        sorted.dedup_by(|a, b| bytes(a) == bytes(b));
        Ok(Self(Arc::new(Tables {
            tokenizer,
            sorted,
            tokens,
            stop_ids: stop_ids.to_vec(),
            parsers: byte_parsers()?,
        })))
    }

    /// None for an id that is no text.
    pub(super) fn bytes(&self, id: u32) -> Option<&[u8]> {
        let token = self.0.tokens.get(id as usize)?;
        Some(&**token).filter(|token| !token.is_empty())
    }

    pub(super) fn stop_ids(&self) -> &[u32] {
        &self.0.stop_ids
    }

    pub(super) fn parsers(&self) -> &ParserFactory {
        &self.0.parsers
    }

    /// As the tokenizer cuts these bytes; where it would change them, the longest tokens first.
    /// Stops before a byte that no token begins with.
    pub(super) fn tokenize(&self, bytes: &[u8]) -> Vec<u32> {
        if let Ok(text) = std::str::from_utf8(bytes) {
            // SentencePiece puts a space in front of a text, which a line end keeps apart.
            for lead in ["", "\n"] {
                let encoding = self.0.tokenizer.encode_fast(format!("{lead}{text}"), false);
                let found = encoding.ok();
                if let Some(ids) = found.and_then(|found| self.tail(found.get_ids(), bytes)) {
                    return ids;
                }
            }
        }
        let mut ids = Vec::new();
        let mut rest = bytes;
        while let Some((id, token)) = self.longest_prefix(rest) {
            ids.push(id);
            rest = rest.get(token.len()..).unwrap_or_default();
        }
        ids
    }

    /// The longest token that these bytes begin with.
    pub(super) fn longest_prefix(&self, bytes: &[u8]) -> Option<(u32, &[u8])> {
        (1..=bytes.len().min(LONGEST)).rev().find_map(|length| {
            let prefix = bytes.get(..length)?;
            let at = self.0.sorted.partition_point(|id| self.text(*id) < prefix);
            let id = *self.0.sorted.get(at)?;
            (self.text(id) == prefix).then(|| (id, self.text(id)))
        })
    }

    /// The tokens that begin with these bytes.
    pub(super) fn beginning_with(&self, prefix: &[u8]) -> impl Iterator<Item = &[u8]> {
        let from = self.0.sorted.partition_point(|id| self.text(*id) < prefix);
        let ids = self.0.sorted.get(from..).unwrap_or_default();
        ids.iter()
            .map(|id| self.text(*id))
            .take_while(move |token| token.starts_with(prefix))
    }

    fn text(&self, id: u32) -> &[u8] {
        self.bytes(id).unwrap_or_default()
    }

    /// The last ids, if they are these bytes exactly.
    fn tail(&self, ids: &[u32], bytes: &[u8]) -> Option<Vec<u32>> {
        let mut left = bytes;
        for (at, id) in ids.iter().enumerate().rev() {
            left = left.strip_suffix(self.bytes(*id)?)?;
            if left.is_empty() {
                return Some(ids.get(at..)?.to_vec());
            }
        }
        None
    }
}

/// How a tokenizer writes bytes as letters.
enum Spelling {
    /// GPT-2's alphabet: one letter a byte.
    Letters(HashMap<char, u8>),
    /// SentencePiece: a mark for the space; `<0xNN>` for a byte, if it falls back on bytes.
    Marks { spaces: Vec<String>, fallback: bool },
}

impl Spelling {
    fn of(tokenizer: &Tokenizer) -> Result<Self, Error> {
        let decoder = serde_json::to_value(tokenizer.get_decoder()).unwrap_or_default();
        let mut parts = vec![&decoder];
        if let Some(nested) = decoder.get("decoders").and_then(Value::as_array) {
            parts.extend(nested);
        }
        let has = |name: &str| parts.iter().any(|part| part["type"] == name);
        if has("ByteLevel") {
            return Ok(Self::Letters(alphabet()));
        }
        let spaces: Vec<String> = parts
            .iter()
            .filter_map(|part| match part["type"].as_str()? {
                "Metaspace" => part["replacement"].as_str(),
                "Replace" if part["content"] == " " => part["pattern"]["String"].as_str(),
                _ => None,
            })
            .map(str::to_owned)
            .collect();
        if spaces.is_empty() {
            let types = parts.iter().filter_map(|part| part["type"].as_str());
            let types: Vec<&str> = types.collect();
            let decoder = if types.is_empty() {
                "none".into()
            } else {
                types.join(", ")
            };
            return Err(Error::TokenBytes { decoder });
        }
        Ok(Self::Marks {
            spaces,
            fallback: has("ByteFallback"),
        })
    }

    /// The bytes, and whether they are those of a byte fallback.
    fn bytes(&self, token: &str) -> (Vec<u8>, bool) {
        match self {
            // As its decoder does: a token with any other letter is itself.
            Self::Letters(alphabet) => {
                let bytes = token.chars().map(|letter| alphabet.get(&letter).copied());
                let bytes: Option<Vec<u8>> = bytes.collect();
                (bytes.unwrap_or_else(|| token.as_bytes().to_vec()), false)
            }
            Self::Marks { spaces, fallback } => {
                let digits = token.strip_prefix("<0x").and_then(|t| t.strip_suffix('>'));
                let digits = digits.filter(|digits| *fallback && digits.len() == 2);
                if let Some(byte) = digits.and_then(|d| u8::from_str_radix(d, 16).ok()) {
                    return (vec![byte], true);
                }
                let token = token.to_owned();
                let token = spaces.iter().fold(token, |t, mark| t.replace(mark, " "));
                (token.into_bytes(), false)
            }
        }
    }
}

/// GPT-2's letters: a printable byte is itself, the others are counted from U+0100.
fn alphabet() -> HashMap<char, u8> {
    let mut others = ('\u{100}'..).fuse();
    (0..=255u8)
        .filter_map(|byte| match byte {
            b'!'..=b'~' | 0xa1..=0xac | 0xae..=0xff => Some((char::from(byte), byte)),
            _ => others.next().map(|letter| (letter, byte)),
        })
        .collect()
}

/// Longer tokens (runs of spaces) are of no use in JSON.
const LONGEST: usize = 64;
