use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use super::Const;
use crate::Error;

/// The object of a `config.json`, or one inside it, with messages that name file and field.
pub(crate) struct Config<'a> {
    file: PathBuf,
    /// What stands before the field's name in messages.
    within: &'static str,
    fields: &'a Map<String, Value>,
}

impl<'a> Config<'a> {
    /// # Errors
    /// If `config` is not an object.
    pub(crate) fn new(file: &Path, config: &'a Value) -> Result<Config<'a>, Error> {
        let fields = config.as_object().ok_or_else(|| Error::Json {
            file: file.to_path_buf(),
            problem: "a JSON object was expected".to_owned(),
        })?;
        Ok(Config {
            file: file.to_path_buf(),
            within: "",
            fields,
        })
    }

    /// The object in this field, if there is one.
    pub(super) fn object(&self, name: &'static str) -> Result<Option<Config<'a>>, Error> {
        let fields = self.typed(name, "an object", Value::as_object)?;
        Ok(fields.map(|fields| Config {
            file: self.file.clone(),
            within: name,
            fields,
        }))
    }

    /// The field's value; `None` if it is absent or null.
    pub(super) fn value(&self, name: &str) -> Option<&'a Value> {
        self.fields.get(name).filter(|value| !value.is_null())
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &'a str> {
        self.fields.keys().map(String::as_str)
    }

    pub(crate) fn text(&self, name: &str) -> Result<Option<&'a str>, Error> {
        self.typed(name, "a string", Value::as_str)
    }

    pub(super) fn flag(&self, name: &str) -> Result<Option<bool>, Error> {
        self.typed(name, "true or false", Value::as_bool)
    }

    pub(super) fn number(&self, name: &str) -> Result<Option<f64>, Error> {
        let positive = |value: &Value| value.as_f64().filter(|value| *value > 0.0);
        self.typed(name, "a positive number", positive)
    }

    pub(crate) fn size(&self, name: &str) -> Result<Option<usize>, Error> {
        let size = |value: &Value| {
            let size = value.as_u64().filter(|size| (1..=MAX_SIZE).contains(size));
            size.and_then(|size| usize::try_from(size).ok())
        };
        self.typed(name, "a positive integer of at most 2^28", size)
    }

    pub(super) fn list(&self, name: &str) -> Result<Option<&'a [Value]>, Error> {
        self.typed(name, "a list", |value| value.as_array().map(Vec::as_slice))
    }

    pub(super) fn numbers(&self, name: &str) -> Result<Option<Vec<f64>>, Error> {
        let numbers = |value: &Value| {
            let positive = |value: &Value| value.as_f64().filter(|value| *value > 0.0);
            value.as_array()?.iter().map(positive).collect()
        };
        self.typed(name, "a list of positive numbers", numbers)
    }

    pub(super) fn wrong(&self, name: &str, expected: &str) -> Error {
        let found = match self.value(name) {
            None => "nothing".to_owned(),
            Some(value) => {
                let text = value.to_string();
                match text.char_indices().nth(60) {
                    None => text,
                    Some((cut, _)) => format!("{}...", &text[..cut]),
                }
            }
        };
        self.problem(format!(
            "{} should be {expected}, not {found}",
            self.path(name)
        ))
    }

    pub(super) fn problem(&self, problem: String) -> Error {
        Error::Json {
            file: self.file.clone(),
            problem,
        }
    }

    /// A sound model that GGUF or llama.cpp has no way to say.
    pub(crate) fn unsupported(&self, what: String) -> Error {
        Error::UnsupportedExport {
            place: self.file.clone(),
            what,
            advice: SERVE_FOLDER,
        }
    }

    pub(super) fn path(&self, name: &str) -> String {
        match self.within {
            "" => name.to_owned(),
            within => format!("{within}.{name}"),
        }
    }

    fn typed<T>(
        &self,
        name: &str,
        expected: &str,
        read: impl FnOnce(&'a Value) -> Option<T>,
    ) -> Result<Option<T>, Error> {
        match self.value(name) {
            None => Ok(None),
            Some(value) => match read(value) {
                Some(read) => Ok(Some(read)),
                None => Err(self.wrong(name, expected)),
            },
        }
    }
}

impl Const {
    pub(super) fn json(self) -> Value {
        match self {
            Const::Null => Value::Null,
            Const::Flag(flag) => json!(flag),
            Const::Size(size) => json!(size),
            Const::Number(number) => json!(number),
            Const::Text(text) => json!(text),
            Const::EmptyList => json!([]),
        }
    }
}

/// Advice for whatever llama.cpp has no way to compute.
pub(crate) const SERVE_FOLDER: &str = "serve the folder with an engine that reads it as it is";

/// Keeps products of sizes far inside 64 bits.
pub(super) const MAX_SIZE: u64 = 1 << 28;
