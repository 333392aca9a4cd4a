use std::collections::BTreeMap;
use std::path::Path;

use equicrypt_checkpoint::{read_json, read_list};
use equicrypt_spec::{MODULES_FILE, TRANSFORMER_FILES};
use serde_json::{Value, json};

use crate::Error;
use crate::terminal::excerpt;

/// What sentence-transformers' files say besides the modules (sentence-transformers 6.2).
pub(super) struct SentenceFiles {
    /// Most tokens of a text, special ones included.
    pub(super) max_seq_length: Option<usize>,
    /// Whether texts are made lower case before the tokenizer's own normalizer.
    pub(super) lowercases: bool,
    /// How many numbers of an embedding are kept.
    pub(super) truncate_dim: Option<usize>,
    /// `activation_fn` of a CrossEncoder.
    pub(super) activation: Option<String>,
    prompts: BTreeMap<String, String>,
    default_prompt: Option<String>,
    /// Whether the tokens of a prompt are pooled with the others.
    pools_prompt: bool,
}

impl SentenceFiles {
    /// Reads the folder. All files may be absent.
    pub(super) fn read(dir: &Path) -> Result<Self, Error> {
        let optional = |name: &str| match dir.join(name).exists() {
            true => Ok(Some(File::read(dir, name)?)),
            false => Ok::<_, Error>(None),
        };
        let transformer = TRANSFORMER_FILES
            .iter()
            .find_map(|name| optional(name).transpose());
        let transformer = transformer.transpose()?.unwrap_or_else(|| File::empty(dir));
        for (field, expected) in DEMANDS {
            let found = transformer.text(field)?;
            if found.as_deref().is_some_and(|found| found != *expected) {
                return Err(transformer.wrong(field, expected));
            }
        }
        let own = optional("config_sentence_transformers.json")?;
        let own = own.unwrap_or_else(|| File::empty(dir));
        let kind = own.text("model_type")?;
        if !matches!(
            kind.as_deref(),
            None | Some("SentenceTransformer" | "CrossEncoder")
        ) {
            let expected = "SentenceTransformer or CrossEncoder";
            return Err(own.wrong("model_type", expected));
        }
        Ok(Self {
            max_seq_length: transformer.size("max_seq_length")?,
            lowercases: transformer.flag("do_lower_case")?.unwrap_or(false),
            truncate_dim: own.size("truncate_dim")?,
            activation: own.text("activation_fn")?,
            prompts: own.prompts()?,
            default_prompt: own.text("default_prompt_name")?,
            pools_prompt: pools_prompt(dir)?,
        })
    }

    /// The prompt of this name; without one, the default; without that, nothing.
    pub(super) fn prompt(&self, name: Option<&str>, dir: &Path) -> Result<&str, Error> {
        let Some(name) = name.or(self.default_prompt.as_deref()) else {
            return Ok("");
        };
        let prompt = self.prompts.get(name).ok_or_else(|| {
            let known: Vec<&str> = self.prompts.keys().map(String::as_str).collect();
            Error::Prompt {
                name: excerpt(name),
                problem: match known.is_empty() {
                    true => "the model has no prompts".into(),
                    false => format!("the model has {}", excerpt(&known.join(", "))),
                },
                dir: dir.to_owned(),
            }
        })?;
        if !prompt.is_empty() && !self.pools_prompt {
            return Err(Error::Prompt {
                name: excerpt(name),
                problem: "its pooling leaves prompts out (include_prompt is false), which hosts \
                          cannot do"
                    .into(),
                dir: dir.to_owned(),
            });
        }
        Ok(prompt)
    }
}

/// A JSON object, and where it stands.
struct File {
    path: std::path::PathBuf,
    object: Value,
}

impl File {
    fn read(dir: &Path, name: &str) -> Result<Self, Error> {
        let path = dir.join(name);
        let object = read_json(&path)?;
        Ok(Self { path, object })
    }

    fn empty(dir: &Path) -> Self {
        Self {
            path: dir.to_owned(),
            object: json!({}),
        }
    }

    /// null is absent.
    fn value(&self, field: &str) -> Option<&Value> {
        self.object.get(field).filter(|value| !value.is_null())
    }

    fn size(&self, field: &str) -> Result<Option<usize>, Error> {
        let size = |value: &Value| value.as_u64().filter(|size| *size > 0)?.try_into().ok();
        self.as_kind(field, size, "a number above 0")
    }

    fn flag(&self, field: &str) -> Result<Option<bool>, Error> {
        self.as_kind(field, Value::as_bool, "true or false")
    }

    fn text(&self, field: &str) -> Result<Option<String>, Error> {
        let text = |value: &Value| value.as_str().map(str::to_owned);
        self.as_kind(field, text, "a text")
    }

    fn prompts(&self) -> Result<BTreeMap<String, String>, Error> {
        let prompts = |value: &Value| {
            let prompts = value.as_object()?.iter();
            prompts
                .map(|(name, text)| Some((name.clone(), text.as_str()?.to_owned())))
                .collect()
        };
        let found = self.as_kind("prompts", prompts, "an object of texts")?;
        Ok(found.unwrap_or_default())
    }

    fn as_kind<T>(
        &self,
        field: &str,
        read: impl FnOnce(&Value) -> Option<T>,
        expected: &'static str,
    ) -> Result<Option<T>, Error> {
        match self.value(field) {
            None => Ok(None),
            Some(value) => match read(value) {
                Some(found) => Ok(Some(found)),
                None => Err(self.wrong(field, expected)),
            },
        }
    }

    fn wrong(&self, field: &str, expected: &'static str) -> Error {
        Error::Field {
            path: self.path.clone(),
            field: field.to_owned(),
            expected,
            found: excerpt(&self.object[field].to_string()),
        }
    }
}

/// `include_prompt` of the pooling module.
fn pools_prompt(dir: &Path) -> Result<bool, Error> {
    let modules = dir.join(MODULES_FILE);
    if !modules.exists() {
        return Ok(true);
    }
    let modules = read_list(&modules)?;
    let is_pooling = |module: &&Value| {
        let kind = module.get("type").and_then(Value::as_str);
        kind.is_some_and(|kind| kind.rsplit('.').next() == Some("Pooling"))
    };
    let pooling = modules.as_array().into_iter().flatten().find(is_pooling);
    let folder = pooling.and_then(|module| module.get("path")?.as_str());
    match folder {
        // `model_config` has read this file already, and checked that it is inside the folder.
        Some(folder) => {
            let file = File::read(dir, &format!("{folder}/config.json"))?;
            Ok(file.flag("include_prompt")?.unwrap_or(true))
        }
        None => Ok(true),
    }
}

const DEMANDS: &[(&str, &str)] = &[("module_output_name", "token_embeddings")];
