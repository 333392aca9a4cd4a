use std::path::{Path, PathBuf};

use equicrypt_checkpoint::read_json;
use serde_json::{Map, Value, json};

use super::classes::class_of;
use super::folder::File;
use super::ids::Ids;
use super::source::Source;
use crate::Error;

/// The files beside `tokenizer.json`.
pub(super) struct Settings {
    dir: PathBuf,
    json: Value,
    map: Option<Value>,
    config: Value,
}

impl Settings {
    pub(super) fn read(dir: &Path) -> Result<Self, Error> {
        let optional = |name: &str| {
            let path = dir.join(name);
            path.exists().then(|| read_json(&path)).transpose()
        };
        Ok(Self {
            dir: dir.to_owned(),
            json: optional(CONFIG)?.unwrap_or_else(|| json!({})),
            map: optional(MAP)?,
            config: read_json(&dir.join("config.json"))?,
        })
    }

    /// `tokenizer_config.json`; an empty object if there is none.
    pub(super) fn json(&self) -> &Value {
        &self.json
    }

    /// `tokenizer_config.json` for the class of transformers that reads `tokenizer.json` and nothing
    /// else, with what the original's class would add.
    pub(super) fn rewritten(&self, source: &Source, ids: &Ids) -> Result<Value, Error> {
        let mut out = self.json.as_object().cloned().unwrap_or_default();
        self.demand_known(&out, CONFIG, source)?;
        for name in OF_OTHER_FILES {
            out.remove(*name);
        }
        for (name, value) in &mut out {
            let holds_ids = name.ends_with("_token_id") || name.ends_with("_token_ids");
            if holds_ids && !value.is_null() && !ids.replace(value) {
                return Err(self.unknown(CONFIG, name, "an id of the model's vocabulary"));
            }
        }
        if let Some(tokens) = out.get_mut(BY_ID) {
            *tokens = self.by_id(tokens, source, ids)?;
        }
        out.insert("tokenizer_class".into(), json!("PreTrainedTokenizerFast"));
        if let Some(class) = class_of(&self.json, &self.config) {
            out.entry("model_input_names")
                .or_insert_with(|| json!(class.inputs));
            for (name, token) in class.tokens {
                let named = out.contains_key(*name) || self.map_names(name);
                if !named && source.tokenizer.token_to_id(token).is_some() {
                    out.insert((*name).to_owned(), json!(token));
                }
            }
        }
        Ok(out.into())
    }

    /// The files that hold no ids, as they are.
    pub(super) fn unchanged(&self, source: &Source) -> Result<Vec<File>, Error> {
        let mut files = Vec::new();
        if let Some(map) = &self.map {
            let tokens = map.as_object().cloned().unwrap_or_default();
            self.demand_known(&tokens, MAP, source)?;
            files.push(File::json(MAP, map));
        }
        let legacy = self.dir.join(LEGACY);
        if legacy.exists() {
            let listed = read_json(&legacy)?;
            for token in listed.as_object().into_iter().flat_map(Map::keys) {
                self.demand_token(token, LEGACY, token, source)?;
            }
        }
        let template = self.dir.join(TEMPLATE);
        if template.exists() {
            files.push(File::new(TEMPLATE, read(&template)?));
        }
        let more = self.dir.join(MORE_TEMPLATES);
        if more.is_dir() {
            let unreadable = |source| Error::File {
                path: more.clone(),
                source,
            };
            for entry in std::fs::read_dir(&more).map_err(unreadable)? {
                let path = entry.map_err(unreadable)?.path();
                let name = path.file_name().and_then(|name| name.to_str());
                if let Some(name) = name.filter(|name| name.ends_with(".jinja")) {
                    files.push(File::new(&format!("{MORE_TEMPLATES}/{name}"), read(&path)?));
                }
            }
        }
        Ok(files)
    }

    /// `added_tokens_decoder`: its keys are ids, which the library finds by the texts.
    fn by_id(&self, tokens: &Value, source: &Source, ids: &Ids) -> Result<Value, Error> {
        let mut entries = Vec::new();
        for token in tokens.as_object().into_iter().flat_map(Map::values) {
            let text = content(token).ok_or_else(|| self.unknown(CONFIG, BY_ID, TOKENS))?;
            let plain = source.tokenizer.token_to_id(text);
            let cipher = plain.and_then(|plain| ids.of(plain));
            let cipher = cipher.ok_or_else(|| self.unknown(CONFIG, BY_ID, TOKENS))?;
            entries.push((cipher, token.clone()));
        }
        entries.sort_by_key(|(cipher, _)| *cipher);
        let entries = entries.into_iter();
        let entries: Map<String, Value> =
            entries.map(|(id, token)| (id.to_string(), token)).collect();
        Ok(entries.into())
    }

    /// Fails if a special token is not a token: transformers would add it, under the next number,
    /// which is another token's cipher id.
    fn demand_known(
        &self,
        fields: &Map<String, Value>,
        file: &str,
        source: &Source,
    ) -> Result<(), Error> {
        for (name, value) in fields {
            let is_token = name.ends_with("_token") && content(value).is_some();
            let is_list = LISTS.contains(&name.as_str());
            let tokens: Vec<&Value> = match value {
                _ if is_token => vec![value],
                Value::Array(list) if is_list => list.iter().collect(),
                Value::Object(named) if is_list => named.values().collect(),
                _ => continue,
            };
            for token in tokens {
                let text = content(token).ok_or_else(|| self.unknown(file, name, TOKENS))?;
                self.demand_token(text, file, name, source)?;
            }
        }
        Ok(())
    }

    fn demand_token(
        &self,
        text: &str,
        file: &str,
        field: &str,
        source: &Source,
    ) -> Result<(), Error> {
        match source.tokenizer.token_to_id(text) {
            Some(_) => Ok(()),
            None => Err(self.unknown(file, field, TOKENS)),
        }
    }

    /// Whether `special_tokens_map.json` is read and names this special token.
    fn map_names(&self, name: &str) -> bool {
        let is_read = self.json.get(BY_ID).is_none();
        let map = self.map.as_ref().filter(|_| is_read);
        map.is_some_and(|map| map.get(name).is_some())
    }

    fn unknown(&self, file: &str, field: &str, expected: &'static str) -> Error {
        Error::Field {
            path: self.dir.join(file),
            field: crate::terminal::excerpt(field),
            expected,
            found: "another one".into(),
        }
    }
}

/// The text of a token: itself, or in an object with its properties.
fn content(token: &Value) -> Option<&str> {
    token.as_str().or_else(|| token.get("content")?.as_str())
}

fn read(path: &Path) -> Result<Vec<u8>, Error> {
    std::fs::read(path).map_err(|source| Error::File {
        path: path.to_owned(),
        source,
    })
}

const CONFIG: &str = "tokenizer_config.json";
const MAP: &str = "special_tokens_map.json";
const LEGACY: &str = "added_tokens.json";
const TEMPLATE: &str = "chat_template.jinja";
const MORE_TEMPLATES: &str = "additional_chat_templates";

const BY_ID: &str = "added_tokens_decoder";
const TOKENS: &str = "tokens that tokenizer.json has";
const LISTS: &[&str] = &[
    "additional_special_tokens",
    "extra_special_tokens",
    "model_specific_special_tokens",
];

/// Fields that name files or code of the original, which has the plain ids.
const OF_OTHER_FILES: &[&str] = &[
    "_commit_hash",
    "added_tokens_file",
    "auto_map",
    "backend",
    "fast_tokenizer_files",
    "from_slow",
    "is_local",
    "local_files_only",
    "merges_file",
    "name_or_path",
    "slow_tokenizer_class",
    "special_tokens_map_file",
    "tokenizer_file",
    "vocab_file",
];
