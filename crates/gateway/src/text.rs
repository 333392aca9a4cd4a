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
    /// Reads `tokenizer.json` of the folder. Padding and truncation that the file asks for are switched off: a prompt is
    /// never changed silently.
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

    /// Text to plain ids. Adds no special token; those written in the text are recognised, because the chat template puts
    /// them there.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>, Error> {
        let encoding = self.tokenizer.encode_fast(text, false);
        let encoding = encoding.map_err(|_| Error::Text {
            action: format!("encode a text of {} bytes", text.len()),
        })?;
        Ok(encoding.get_ids().to_vec())
    }

    /// Plain ids to text; bytes that are no UTF-8 become U+FFFD, and ids that no token has (padding rows of the
    /// embedding) become nothing.
    pub fn decode(&self, ids: &[u32], skip_special: bool) -> Result<String, Error> {
        decode(&self.tokenizer, ids, skip_special)
    }

    /// Decodes an answer id by id, without special tokens.
    #[must_use]
    pub fn stream(&self) -> TextStream {
        TextStream::new(Arc::clone(&self.tokenizer))
    }

    /// The largest id of a token, plus one.
    #[must_use]
    pub fn vocab_size(&self) -> usize {
        self.vocab_size
    }

    /// What cipher ids read as under the public tokenizer, which is what a host could print: special tokens are visible,
    /// ids without a token are `<?>`, and everything is escaped so that one line of a terminal is safe.
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
