use serde_json::{Map, Value};

use crate::Error;

/// The object of `config.json`, with errors that name the field.
pub(super) struct Fields<'a>(pub(super) &'a Map<String, Value>);

impl<'a> Fields<'a> {
    pub(super) fn value(&self, field: &str) -> Option<&'a Value> {
        self.0.get(field).filter(|value| !value.is_null())
    }

    pub(super) fn absent(&self, field: &str) -> Error {
        self.wrong(field, "a value".into())
    }

    pub(super) fn wrong(&self, field: &str, expected: String) -> Error {
        let found = match self.0.get(field) {
            None => "nothing".into(),
            Some(value) => {
                let text = value.to_string();
                if text.len() > 60 {
                    kind_of(value).to_owned()
                } else {
                    text
                }
            }
        };
        Error::Config {
            field: field.to_owned(),
            expected,
            found,
        }
    }

    pub(super) fn text(&self, field: &str) -> Result<Option<&'a str>, Error> {
        self.typed(field, "a string", Value::as_str)
    }

    pub(super) fn flag(&self, field: &str) -> Result<Option<bool>, Error> {
        self.typed(field, "true or false", Value::as_bool)
    }

    pub(super) fn object(&self, field: &str) -> Result<Option<&'a Map<String, Value>>, Error> {
        self.typed(field, "an object", Value::as_object)
    }

    pub(super) fn number(&self, field: &str) -> Result<Option<f64>, Error> {
        self.typed(field, "a positive number", |value| {
            value.as_f64().filter(|x| *x > 0.0)
        })
    }

    pub(super) fn numbers(&self, field: &str) -> Result<Option<Vec<f64>>, Error> {
        let positive = |value: &Value| value.as_f64().filter(|x| *x > 0.0);
        self.typed(field, "a list of positive numbers", |value| {
            value.as_array()?.iter().map(positive).collect()
        })
    }

    pub(super) fn words(&self, field: &str) -> Result<Option<Vec<&'a str>>, Error> {
        self.typed(field, "a list of strings", |value| {
            value.as_array()?.iter().map(Value::as_str).collect()
        })
    }

    pub(super) fn size(&self, field: &str) -> Result<usize, Error> {
        self.optional_size(field)?.ok_or_else(|| self.absent(field))
    }

    /// A positive integer.
    pub(super) fn optional_size(&self, field: &str) -> Result<Option<usize>, Error> {
        self.typed(field, "a positive integer of at most 2^28", |value| {
            small(value).filter(|n| *n > 0)
        })
    }

    /// An integer that may be 0.
    pub(super) fn count(&self, field: &str) -> Result<Option<usize>, Error> {
        self.typed(field, "an integer of at most 2^28", small)
    }

    /// A list of integers that may be 0.
    pub(super) fn counts(&self, field: &str) -> Result<Option<Vec<usize>>, Error> {
        self.typed(field, "a list of integers of at most 2^28", |value| {
            value.as_array()?.iter().map(small).collect()
        })
    }

    pub(super) fn ids(&self, field: &str) -> Result<Vec<u32>, Error> {
        let id = |value: &Value| value.as_u64().and_then(|id| u32::try_from(id).ok());
        let ids = |value: &Value| match value {
            Value::Array(list) => list.iter().map(id).collect(),
            single => id(single).map(|id| vec![id]),
        };
        Ok(self
            .typed(field, "a token id or a list of them", ids)?
            .unwrap_or_default())
    }

    fn typed<T>(
        &self,
        field: &str,
        expected: &str,
        read: impl FnOnce(&'a Value) -> Option<T>,
    ) -> Result<Option<T>, Error> {
        match self.value(field) {
            None => Ok(None),
            Some(value) => match read(value) {
                Some(read) => Ok(Some(read)),
                None => Err(self.wrong(field, expected.to_owned())),
            },
        }
    }
}

fn small(value: &Value) -> Option<usize> {
    let size = value.as_u64().filter(|n| *n <= MAX_SIZE)?;
    size.try_into().ok()
}

pub(super) fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a truth value",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

/// Keeps products of sizes far inside 64 bits.
const MAX_SIZE: u64 = 1 << 28;
