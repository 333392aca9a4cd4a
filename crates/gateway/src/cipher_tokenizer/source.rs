use std::path::{Path, PathBuf};

use equicrypt_checkpoint::read_json;
use serde_json::Value;
use tokenizers::{AddedToken, Model, Tokenizer};

use super::settings::Settings;
use crate::Error;
use crate::encoder::follow_bert_settings;

/// The original `tokenizer.json`: as it is written, and as it works.
pub(super) struct Source {
    path: PathBuf,
    pub(super) json: Value,
    pub(super) tokenizer: Tokenizer,
}

/// A token that is found in texts before the model sees them.
pub(super) struct Added {
    pub(super) token: AddedToken,
    /// What the library gives it, which need not be what the file says.
    pub(super) plain: u32,
    /// Whether the model's own vocabulary has it.
    pub(super) of_model: bool,
    /// The entry of the file.
    pub(super) json: Value,
}

impl Source {
    /// Reads `tokenizer.json`. Its normalizer becomes the one that transformers makes of
    /// `tokenizer_config.json`, where that is what it does.
    pub(super) fn read(dir: &Path, settings: &Settings) -> Result<Self, Error> {
        let path = dir.join("tokenizer.json");
        let mut json = read_json(&path)?;
        let mut tokenizer = load(&json, &path)?;
        follow_bert_settings(&mut tokenizer, settings.json(), &path)?;
        if let Some(normalizer) = tokenizer.get_normalizer() {
            json["normalizer"] = serde_json::to_value(normalizer)
                .map_err(|error| refused(&path, format!("its normalizer: {error}")))?;
        }
        Ok(Self {
            path,
            json,
            tokenizer,
        })
    }

    /// Its added tokens, as the file lists them; the library skips those without a text.
    pub(super) fn added(&self) -> Result<Vec<Added>, Error> {
        let listed = self.json.get("added_tokens").and_then(Value::as_array);
        let mut added = Vec::new();
        for json in listed.into_iter().flatten() {
            let token: AddedToken = serde_json::from_value(json.clone())
                .map_err(|error| self.refused(format!("added_tokens: {error}")))?;
            if token.content.is_empty() {
                continue;
            }
            let id = self.tokenizer.token_to_id(&token.content);
            added.push(Added {
                plain: id.ok_or_else(|| self.refused("added_tokens: one has no id"))?,
                of_model: (self.tokenizer.get_model())
                    .token_to_id(&token.content)
                    .is_some(),
                token,
                json: json.clone(),
            });
        }
        Ok(added)
    }

    /// The largest id of a token, plus one.
    pub(super) fn vocab_size(&self) -> usize {
        let ids = self.tokenizer.get_vocab(true).into_values();
        ids.max().map_or(0, |largest| largest as usize + 1)
    }

    /// How many tokens there are.
    pub(super) fn tokens(&self) -> usize {
        self.tokenizer.get_vocab_size(true)
    }

    /// A tokenizer of changed JSON.
    pub(super) fn load(&self, json: &Value) -> Result<Tokenizer, Error> {
        load(json, &self.path)
    }

    /// Why no tokenizer with cipher ids can be made of it.
    pub(super) fn refused(&self, problem: impl Into<String>) -> Error {
        refused(&self.path, problem.into())
    }
}

fn load(json: &Value, path: &Path) -> Result<Tokenizer, Error> {
    Tokenizer::from_bytes(json.to_string()).map_err(|error| Error::Tokenizer {
        path: path.to_owned(),
        reason: error.to_string(),
    })
}

fn refused(path: &Path, problem: String) -> Error {
    Error::NotRewritable {
        path: path.to_owned(),
        problem,
    }
}
