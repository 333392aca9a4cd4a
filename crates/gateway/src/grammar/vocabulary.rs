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
        let fallback = |id: &u32| fallbacks.get(*id as usize).copied().unwrap_or(false);
        let mut sorted: Vec<u32> = (0..).take(vocab_size).collect();
        sorted.retain(|id| !bytes(id).is_empty());
        sorted.sort_by_key(|id| (bytes(id), fallback(id), *id));
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::fixture::{END, START, VOCAB, folder, write};

    #[test]
    fn bytes_of_a_byte_level_tokenizer() {
        let text = Text::open(folder().path()).unwrap();
        let vocabulary = GrammarVocabulary::new(&text, &[END, b'z'.into()], VOCAB).unwrap();
        for byte in (0..=u8::MAX).filter(|byte| *byte != b'z') {
            assert_eq!(vocabulary.bytes(byte.into()), Some(&[byte][..]));
        }
        for id in [b'z'.into(), START, END, 258, 259, 263, 264, u32::MAX] {
            assert_eq!(vocabulary.bytes(id), None, "{id}");
        }
        let special = "a<|im_start|>".as_bytes();
        assert_eq!(vocabulary.tokenize(special).len(), special.len());
        assert_eq!(vocabulary.tokenize(&[0xe2, 0x82]), [0xe2, 0x82]);
        assert_eq!(vocabulary.tokenize(b"azb"), [u32::from(b'a')]);
    }

    /// As Llama 2's: a space in front, `▁` for a space, bytes where there is no letter.
    fn sentencepiece(decoder: Value) -> Text {
        let mut vocab = serde_json::Map::new();
        for token in ["<unk>", "<s>", "</s>"] {
            vocab.insert(token.into(), json!(vocab.len()));
        }
        for byte in 0..=u8::MAX {
            vocab.insert(format!("<0x{byte:02X}>"), json!(vocab.len()));
        }
        for token in ["▁", "{", "\"", "a", "▁{", "{\"", "a\"", ":", "▁a"] {
            vocab.insert(token.into(), json!(vocab.len()));
        }
        let special = ["<unk>", "<s>", "</s>"]
            .iter()
            .enumerate()
            .map(|(id, token)| {
                json!({"id": id, "content": token, "special": true, "single_word": false,
                "lstrip": false, "rstrip": false, "normalized": false})
            });
        let dir = tempfile::tempdir().unwrap();
        let tokenizer = json!({
            "version": "1.0", "truncation": null, "padding": null, "post_processor": null,
            "added_tokens": special.collect::<Vec<_>>(),
            "normalizer": {"type": "Sequence", "normalizers": [
                {"type": "Prepend", "prepend": "▁"},
                {"type": "Replace", "pattern": {"String": " "}, "content": "▁"},
            ]},
            "pre_tokenizer": null, "decoder": decoder,
            "model": {"type": "BPE", "vocab": vocab, "unk_token": "<unk>", "fuse_unk": true,
                "byte_fallback": true,
                "merges": [["▁", "{"], ["{", "\""], ["a", "\""], ["▁", "a"]]},
        });
        write(dir.path(), "tokenizer.json", &tokenizer);
        Text::open(dir.path()).unwrap()
    }

    fn llama_decoder() -> Value {
        json!({"type": "Sequence", "decoders": [
            {"type": "Replace", "pattern": {"String": "▁"}, "content": " "},
            {"type": "ByteFallback"}, {"type": "Fuse"},
            {"type": "Strip", "content": " ", "start": 1, "stop": 0},
        ]})
    }

    #[test]
    fn bytes_of_a_sentencepiece_tokenizer() {
        let text = sentencepiece(llama_decoder());
        let vocabulary = GrammarVocabulary::new(&text, &[2], 300).unwrap();
        assert_eq!(vocabulary.bytes(1), None);
        assert_eq!(vocabulary.bytes(3 + 0xe2), Some(&[0xe2][..]));
        assert_eq!(vocabulary.bytes(259), Some(&b" "[..]));
        assert_eq!(vocabulary.bytes(263), Some(&b" {"[..]));
        assert_eq!(vocabulary.bytes(290), None);
        // A letter is its own token, not its byte's; the space in front is not forced.
        assert_eq!(vocabulary.tokenize(b"{"), [260]);
        assert_eq!(vocabulary.tokenize(b"{\"a\":"), [264, 265, 266]);
        assert_eq!(
            vocabulary.tokenize(" é".as_bytes()),
            [259, 3 + 0xc3, 3 + 0xa9]
        );
        assert_eq!(vocabulary.tokenize(b"\n{"), [3 + 10, 260]);
    }

    #[test]
    fn one_space_may_lead_and_bytes_may_spell_letters() {
        let text = sentencepiece(llama_decoder());
        let vocabulary = GrammarVocabulary::new(&text, &[2], 300).unwrap();
        let byte = |byte: u8| 3 + u32::from(byte);
        for (answer, ends) in [
            (&[263, byte(b'}')][..], true),
            (&[259, 260, byte(b'}')], true),
            (&[byte(b'{'), byte(b'}')], true),
            (&[259, 263], false),
            (&[260, 259], false),
        ] {
            let mut grammar = crate::Grammar::json_object(&vocabulary).unwrap();
            let follows = answer
                .iter()
                .all(|id| grammar.allows(*id).unwrap() && grammar.take(*id).is_ok());
            assert_eq!(follows && grammar.must_end(), ends, "{answer:?}");
        }
    }

    #[test]
    fn other_tokenizers_are_refused_by_their_decoder() {
        for (decoder, named) in [
            (
                json!({"type": "WordPiece", "prefix": "##", "cleanup": true}),
                "WordPiece",
            ),
            (Value::Null, "none"),
        ] {
            let text = sentencepiece(decoder);
            let error = GrammarVocabulary::new(&text, &[2], 300).err().unwrap();
            assert!(error.to_string().contains(named), "{error}");
        }
    }
}
