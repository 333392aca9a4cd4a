use std::ops::Range;
use std::path::{Path, PathBuf};

use equicrypt_checkpoint::{model_config, read_json};
use equicrypt_spec::{LabelActivation, MANIFEST_FILE, MODULES_FILE, ModelConfig, Task};
use serde_json::{Value, json};

use super::labels;
use super::sentence::SentenceFiles;
use super::tokenizer::Tokens;
use crate::Error;

/// What the original encoder's folder says, as far as its owner needs it: tokenizer, how many
/// tokens a text may have, prompts, the names of labels. The weights are not read.
pub struct EncoderOwner {
    dir: PathBuf,
    config: ModelConfig,
    tokens: Tokens,
    sentence: SentenceFiles,
    labels: Vec<String>,
    relevance: LabelActivation,
    sends_types: bool,
}

/// What becomes of a text with more tokens than the model reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Long {
    /// It is an error.
    Refuse,
    /// It is cut, as sentence-transformers and transformers cut it: at the end (or wherever the
    /// tokenizer's files say), special tokens stay, and of a pair the longer text loses first.
    Truncate,
}

/// A text as the model reads it, in plain ids, special tokens included. Not to be printed.
pub struct Prepared {
    pub(super) ids: Vec<u32>,
    /// Empty if all are 0, or the model is not told.
    pub(super) types: Vec<u32>,
    pub(super) special: Vec<bool>,
    pub(super) spans: Vec<Range<usize>>,
    pub(super) truncated: bool,
}

impl EncoderOwner {
    /// Opens the folder of the original model. Fails on one of a decoder, and where its files ask
    /// for something that would not be done here.
    pub fn open(dir: &Path) -> Result<Self, Error> {
        if dir.join(MANIFEST_FILE).exists() {
            return Err(Error::EncryptedFolder {
                dir: dir.to_owned(),
            });
        }
        let config = model_config(dir)?;
        if !config.task.is_of_encoder() {
            return Err(Error::NotAnEncoder {
                dir: dir.to_owned(),
                model_type: config.architecture.model_type,
            });
        }
        let config_path = dir.join("config.json");
        let json = read_json(&config_path)?;
        let settings_path = dir.join("tokenizer_config.json");
        let settings = match settings_path.exists() {
            true => read_json(&settings_path)?,
            false => json!({}),
        };
        let sentence = SentenceFiles::read(dir)?;
        let limit = match sentence.max_seq_length {
            Some(length) => length,
            None => longest(&settings),
        };
        let limit = limit.min(config.exact_context());
        let tokens = Tokens::open(dir, &settings, limit, sentence.lowercases)?;
        if tokens.vocab_size() > config.vocab_size {
            return Err(Error::Field {
                path: config_path,
                field: "vocab_size".into(),
                expected: "at least the number of ids of tokenizer.json",
                found: format!("{} for {} ids", config.vocab_size, tokens.vocab_size()),
            });
        }
        let modules = match dir.join(MODULES_FILE).exists() {
            true => sentence.activation.as_deref(),
            false => None,
        };
        Ok(Self {
            labels: labels::names(&json, &config, &config_path)?,
            relevance: labels::relevance(&json, modules, &config, &config_path)?,
            sends_types: config.token_types > 1 && wants_types(&settings),
            dir: dir.to_owned(),
            config,
            tokens,
            sentence,
        })
    }

    /// A text, with the special tokens that the model wants around it. Those written in it are
    /// recognised.
    pub fn encode(&self, text: &str, long: Long) -> Result<Prepared, Error> {
        self.prepare(text, None, long)
    }

    /// Plain ids as they are, the special ones included, as a client has them from this model's own
    /// tokenizer. Fails on ids that are not the model's, and on more than it reads.
    pub fn of_ids(&self, ids: Vec<u32>) -> Result<Prepared, Error> {
        let size = self.config.vocab_size;
        if ids.is_empty() {
            return Err(Error::EmptyText);
        }
        if ids.iter().any(|id| *id as usize >= size) {
            return Err(Error::ForeignIds {
                what: "input",
                vocab_size: size,
            });
        }
        if ids.len() > self.max_tokens() {
            return Err(Error::TextTooLong {
                tokens: ids.len(),
                limit: self.max_tokens(),
            });
        }
        Ok(Prepared {
            types: Vec::new(),
            special: vec![false; ids.len()],
            spans: vec![0..0; ids.len()],
            truncated: false,
            ids,
        })
    }

    /// Two texts as one, such as a query and a document.
    pub fn encode_pair(&self, first: &str, second: &str, long: Long) -> Result<Prepared, Error> {
        self.prepare(first, Some(second), long)
    }

    /// What is put in front of a text: the prompt of this name, or without a name the model's
    /// default; often nothing.
    pub fn prompt(&self, name: Option<&str>) -> Result<&str, Error> {
        self.sentence.prompt(name, &self.dir)
    }

    /// The token that stands for a hidden one, as it is written in texts, and its plain id.
    pub fn mask(&self) -> Result<(&str, u32), Error> {
        self.tokens.mask().ok_or_else(|| Error::Field {
            path: self.dir.join("tokenizer_config.json"),
            field: "mask_token".into(),
            expected: "a token of tokenizer.json",
            found: "none".into(),
        })
    }

    /// How a plain id is spelt in the vocabulary; `None` for rows that no token has.
    #[must_use]
    pub fn piece(&self, id: u32) -> Option<String> {
        self.tokens.piece(id)
    }

    /// The text of plain ids, without special tokens.
    pub fn decode(&self, ids: &[u32]) -> Result<String, Error> {
        self.tokens.decode(ids)
    }

    /// The names of the labels, by number; empty where the answer is not made of labels.
    #[must_use]
    pub fn labels(&self) -> &[String] {
        &self.labels
    }

    /// What makes scores of a reranker's logits, as sentence-transformers' CrossEncoder does.
    #[must_use]
    pub fn relevance(&self) -> LabelActivation {
        self.relevance
    }

    /// Most tokens of a text, special ones included.
    #[must_use]
    pub fn max_tokens(&self) -> usize {
        self.tokens.limit()
    }

    /// How many numbers of an embedding are used; all if `None`.
    #[must_use]
    pub fn truncate_dim(&self) -> Option<usize> {
        self.sentence.truncate_dim
    }

    /// `config.json` and `modules.json`.
    #[must_use]
    pub fn config(&self) -> &ModelConfig {
        &self.config
    }

    /// The folder.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Fails unless the model is made for this.
    pub(super) fn demand(&self, task: Task) -> Result<(), Error> {
        match self.config.task == task {
            true => Ok(()),
            false => Err(Error::OtherTask {
                expected: task.name(),
                found: self.config.task.name(),
                dir: self.dir.clone(),
            }),
        }
    }

    fn prepare(&self, first: &str, second: Option<&str>, long: Long) -> Result<Prepared, Error> {
        let (encoding, truncated) = self.tokens.encode(first, second, long)?;
        let ids = encoding.get_ids().to_vec();
        if ids.is_empty() {
            return Err(Error::EmptyText);
        }
        let mut types = encoding.get_type_ids().to_vec();
        let most = self.config.token_types as u32;
        if !self.sends_types || types.iter().all(|kind| *kind == 0) {
            types.clear();
        } else if types.iter().any(|kind| *kind >= most) {
            return Err(Error::Field {
                path: self.dir.join("tokenizer.json"),
                field: "post_processor".into(),
                expected: "type ids below the model's type_vocab_size",
                found: "others".into(),
            });
        }
        let special = encoding.get_special_tokens_mask();
        let spans = encoding.get_offsets();
        Ok(Prepared {
            ids,
            types,
            special: special.iter().map(|special| *special != 0).collect(),
            spans: spans.iter().map(|(start, end)| *start..*end).collect(),
            truncated,
        })
    }
}

impl Prepared {
    /// Plain ids.
    #[must_use]
    pub fn ids(&self) -> &[u32] {
        &self.ids
    }

    /// For each token, which text of a pair it belongs to; empty if all belong to the first, or
    /// the model is not told.
    #[must_use]
    pub fn token_types(&self) -> &[u32] {
        &self.types
    }

    /// Whether tokens were left out.
    #[must_use]
    pub fn truncated(&self) -> bool {
        self.truncated
    }
}

/// `model_max_length`; transformers writes 10^30 for none.
fn longest(settings: &Value) -> usize {
    let length = settings.get("model_max_length").and_then(Value::as_f64);
    let length = length.filter(|length| *length >= 1.0);
    length.map_or(usize::MAX, |length| length as usize)
}

/// Whether the model is told token types: unless `model_input_names` leaves them out.
fn wants_types(settings: &Value) -> bool {
    let names = settings.get("model_input_names").and_then(Value::as_array);
    names.is_none_or(|names| names.iter().any(|name| name == "token_type_ids"))
}
