use std::path::Path;
use std::sync::Arc;

use tokenizers::Tokenizer;

use crate::terminal::one_line;
use crate::{Error, TextStream};

/// The original model's tokenizer: text to plain ids and back.
pub struct Text {
    tokenizer: Arc<Tokenizer>,
    vocab_size: usize,
}

impl Text {
    /// Reads `tokenizer.json` of the folder. Padding and truncation that the file asks for are
    /// switched off: a prompt is never changed silently.
    pub fn open(dir: &Path) -> Result<Self, Error> {
        let path = dir.join("tokenizer.json");
        let bytes = std::fs::read(&path).map_err(|source| Error::File {
            path: path.clone(),
            source,
        })?;
        let unusable = |reason: String| Error::Tokenizer {
            path: path.clone(),
            reason,
        };
        let mut tokenizer =
            Tokenizer::from_bytes(bytes).map_err(|error| unusable(error.to_string()))?;
        tokenizer
            .with_padding(None)
            .with_truncation(None)
            .map_err(|error| unusable(error.to_string()))?;
        let largest = tokenizer.get_vocab(true).into_values().max();
        let largest = largest.ok_or_else(|| unusable("it has no tokens".into()))?;
        Ok(Self {
            tokenizer: Arc::new(tokenizer),
            vocab_size: largest as usize + 1,
        })
    }

    /// Text to plain ids. Adds no special token; those written in the text are recognised, because
    /// the chat template puts them there.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>, Error> {
        let encoding = self.tokenizer.encode_fast(text, false);
        let encoding = encoding.map_err(|_| Error::Text {
            action: format!("encode a text of {} bytes", text.len()),
        })?;
        Ok(encoding.get_ids().to_vec())
    }

    /// Plain ids to text; bytes that are no UTF-8 become U+FFFD, and ids that no token has (padding
    /// rows of the embedding) become nothing.
    pub fn decode(&self, ids: &[u32], skip_special: bool) -> Result<String, Error> {
        decode(&self.tokenizer, ids, skip_special)
    }

    /// Decodes an answer id by id, without special tokens.
    #[must_use]
    pub fn stream(&self) -> TextStream {
        TextStream::new(Arc::clone(&self.tokenizer))
    }

    pub(crate) fn tokenizer(&self) -> &Arc<Tokenizer> {
        &self.tokenizer
    }

    /// The id of a token.
    #[must_use]
    pub fn id_of(&self, token: &str) -> Option<u32> {
        self.tokenizer.token_to_id(token)
    }

    /// The largest id of a token, plus one.
    #[must_use]
    pub fn vocab_size(&self) -> usize {
        self.vocab_size
    }

    /// What cipher ids read as under the public tokenizer, which is what a host could print:
    /// special tokens are visible, ids without a token are `<?>`, and everything is escaped so that
    /// one line of a terminal is safe.
    #[must_use]
    pub fn garble(&self, ids: &[u32]) -> String {
        let known = |id: &u32| self.tokenizer.id_to_token(*id).is_some();
        ids.chunk_by(|a, b| known(a) == known(b))
            .map(|run| match run.first() {
                Some(id) if known(id) => one_line(&self.decode(run, false).unwrap_or_default()),
                _ => "<?>".repeat(run.len()),
            })
            .collect()
    }
}

pub(crate) fn decode(
    tokenizer: &Tokenizer,
    ids: &[u32],
    skip_special: bool,
) -> Result<String, Error> {
    tokenizer
        .decode(ids, skip_special)
        .map_err(|_| Error::Text {
            action: format!("decode {} tokens", ids.len()),
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::{END, START, folder, golden};

    #[test]
    fn special_tokens_in_the_text_are_recognised_and_none_is_added() {
        let dir = folder();
        let text = Text::open(dir.path()).unwrap();
        let ids = text.encode("<|im_start|>aé<|im_end|>").unwrap();
        assert_eq!(ids, [START, 97, 0xc3, 0xa9, END]);
        assert_eq!(text.decode(&ids, true).unwrap(), "aé");
        assert_eq!(
            text.decode(&ids, false).unwrap(),
            "<|im_start|>aé<|im_end|>"
        );
        assert_eq!(text.vocab_size(), 259);
        assert_eq!(
            text.encode(&"a".repeat(100)).unwrap().len(),
            100,
            "truncated"
        );
    }

    #[test]
    fn garble_is_one_safe_line() {
        let dir = folder();
        let text = Text::open(dir.path()).unwrap();
        let ids = [END, 27, 10, 97, 9999, 9999, 0xff];
        assert_eq!(text.garble(&ids), "<|im_end|>\\u{1b}\\na<?><?>\u{fffd}");
    }

    #[test]
    fn broken_files_are_named() {
        let dir = tempfile::tempdir().unwrap();
        for content in [None, Some("{"), Some("{}"), Some("null")] {
            if let Some(content) = content {
                std::fs::write(dir.path().join("tokenizer.json"), content).unwrap();
            }
            let message = Text::open(dir.path()).err().unwrap().to_string();
            assert!(message.contains("tokenizer.json"), "{message}");
        }
    }

    /// Needs SmolLM2's folder, which is not in the repository: its path in EQUICRYPT_SMOLLM2.
    #[test]
    fn smollm2_ids_are_those_of_llama_cpp() {
        let Some(dir) = std::env::var_os("EQUICRYPT_SMOLLM2") else {
            eprintln!("skipped: EQUICRYPT_SMOLLM2 does not name SmolLM2's folder");
            return;
        };
        let text = Text::open(Path::new(&dir)).unwrap();
        let chat = golden("../../tests/golden/smollm2_chat.json");
        let texts = golden("../../tests/golden/smollm2_tokens.json");
        let cases = [&texts, &chat].map(|golden| golden["cases"].as_array().unwrap());
        for case in cases.into_iter().flatten() {
            let expected: Vec<u32> = serde_json::from_value(case["ids"].clone()).unwrap();
            let plain = case["text"].as_str().unwrap();
            assert_eq!(text.encode(plain).unwrap(), expected, "{plain:?}");
            assert_eq!(text.decode(&expected, false).unwrap(), plain);
            let mut stream = text.stream();
            let mut streamed = String::new();
            for id in &expected {
                streamed.extend(stream.push(*id).unwrap());
            }
            streamed.extend(stream.finish().unwrap());
            assert_eq!(streamed, text.decode(&expected, true).unwrap());
        }
    }
}
