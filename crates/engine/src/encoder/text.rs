use equicrypt_spec::ModelConfig;

use crate::Error;
use crate::names::Names;

/// What an encoder reads.
#[derive(Debug, Clone, Copy)]
pub struct Text<'a> {
    /// Token ids, special ones included; at least one.
    pub tokens: &'a [u32],
    /// For each token the text it belongs to, of a pair; empty where all belong to the first.
    pub token_types: &'a [u32],
}

/// What is wanted of a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Part {
    /// The last hidden state: a vector for each token.
    TokenVectors,
    /// What the pooler makes of the first token: one vector.
    Pooled,
    /// What the model is for: one sentence embedding; or one vector of logits of labels, or one for each token; or logits of
    /// all ids, for each token.
    Answer,
}

/// One or more vectors, as they were computed.
#[derive(Debug, Clone, PartialEq)]
pub struct Vectors {
    width: usize,
    values: crate::Values,
}

/// The same in one precision.
pub(super) struct Rows<T> {
    pub(super) width: usize,
    pub(super) values: Vec<T>,
}

impl Vectors {
    /// Numbers in a vector.
    #[must_use]
    pub fn width(&self) -> usize {
        self.width
    }

    /// How many vectors there are.
    #[must_use]
    pub fn rows(&self) -> usize {
        let values = match &self.values {
            crate::Values::F32(values) => values.len(),
            crate::Values::F64(values) => values.len(),
        };
        values.checked_div(self.width).unwrap_or(0)
    }

    /// All numbers, vector by vector; rounded if the encoder computes in f64.
    #[must_use]
    pub fn to_f32(&self) -> Vec<f32> {
        match &self.values {
            crate::Values::F32(values) => values.clone(),
            crate::Values::F64(values) => values.iter().map(|value| *value as f32).collect(),
        }
    }

    /// All numbers, vector by vector.
    #[must_use]
    pub fn to_f64(&self) -> Vec<f64> {
        match &self.values {
            crate::Values::F32(values) => values.iter().map(|value| f64::from(*value)).collect(),
            crate::Values::F64(values) => values.clone(),
        }
    }

    /// Logits of ids by their names.
    pub(super) fn by_name(&self, names: &Names) -> Self {
        Self {
            width: self.width,
            values: match &self.values {
                crate::Values::F32(values) => crate::Values::F32(names.rows(values)),
                crate::Values::F64(values) => crate::Values::F64(names.rows(values)),
            },
        }
    }

    pub(super) fn from_f32(rows: Rows<f32>) -> Self {
        Self {
            width: rows.width,
            values: crate::Values::F32(rows.values),
        }
    }

    pub(super) fn from_f64(rows: Rows<f64>) -> Self {
        Self {
            width: rows.width,
            values: crate::Values::F64(rows.values),
        }
    }
}

/// Refuses what the model cannot read.
pub(super) fn check(config: &ModelConfig, texts: &[Text<'_>]) -> Result<(), Error> {
    for text in texts {
        if text.tokens.is_empty() {
            return Err(Error::EmptyText);
        }
        let (tokens, max_tokens) = (text.tokens.len(), config.exact_context());
        if tokens > max_tokens {
            return Err(Error::TextLength { tokens, max_tokens });
        }
        let vocab_size = config.vocab_size;
        if let Some(id) = text.tokens.iter().find(|id| **id as usize >= vocab_size) {
            return Err(Error::TokenId {
                id: *id,
                vocab_size,
            });
        }
        if text.token_types.is_empty() {
            continue;
        }
        if text.token_types.len() != tokens {
            return Err(Error::TokenTypes {
                expected: format!("{tokens}, one for each token"),
                found: text.token_types.len().to_string(),
            });
        }
        // A model that is not told about texts takes a list of zeros for what it is.
        let types = config.token_types.max(1);
        if let Some(found) = text.token_types.iter().find(|t| **t as usize >= types) {
            return Err(Error::TokenTypes {
                expected: format!("numbers below {types}"),
                found: found.to_string(),
            });
        }
    }
    Ok(())
}
