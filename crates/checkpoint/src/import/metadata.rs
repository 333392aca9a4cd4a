use crate::Error;
use crate::gguf::{GgmlType, GgufFile, GgufHeader, GgufTensor, MetadataArray, MetadataValue};

/// A GGUF file's metadata, with messages that name the file and the key.
pub(crate) struct Metadata<'a> {
    file: &'a GgufFile,
}

impl<'a> Metadata<'a> {
    pub(crate) fn new(file: &'a GgufFile) -> Metadata<'a> {
        Metadata { file }
    }

    pub(crate) fn header(&self) -> &'a GgufHeader {
        self.file.header()
    }

    pub(crate) fn tensor(&self, name: &str) -> Option<&'a GgufTensor> {
        self.file.tensor(name)
    }

    /// The values of a short tensor, if there is one of this name.
    pub(crate) fn vector(&self, name: &str) -> Result<Option<Vec<f32>>, Error> {
        let Some(tensor) = self.tensor(name) else {
            return Ok(None);
        };
        let kind = GgmlType::F32;
        if tensor.kind != kind || tensor.byte_len > MAX_VECTOR_BYTES {
            return Err(self.broken(format!("tensor {name:?} should be a short list in F32")));
        }
        let mut bytes = vec![0; tensor.byte_len as usize];
        self.file.read(name, 0, &mut bytes)?;
        let mut values = vec![0.0; bytes.len() / kind.block_bytes()];
        kind.dequantize(&bytes, &mut values);
        Ok(Some(values))
    }

    pub(crate) fn keys(&self) -> impl Iterator<Item = &'a str> {
        self.header().metadata.iter().map(|(key, _)| key.as_str())
    }

    pub(crate) fn has(&self, key: &str) -> bool {
        self.header().value(key).is_some()
    }

    pub(crate) fn size(&self, key: &str) -> Result<usize, Error> {
        self.optional_size(key)?.ok_or_else(|| self.missing(key))
    }

    pub(crate) fn optional_size(&self, key: &str) -> Result<Option<usize>, Error> {
        self.optional(key, "an unsigned integer", |value| {
            value.as_u64().and_then(|value| usize::try_from(value).ok())
        })
    }

    pub(crate) fn number(&self, key: &str) -> Result<f64, Error> {
        self.optional_number(key)?.ok_or_else(|| self.missing(key))
    }

    pub(crate) fn optional_number(&self, key: &str) -> Result<Option<f64>, Error> {
        let positive = |value: &MetadataValue| value.as_f64().filter(|v| v.is_finite() && *v > 0.0);
        self.optional(key, "a positive number", positive)
    }

    pub(crate) fn optional_bool(&self, key: &str) -> Result<Option<bool>, Error> {
        self.optional(key, "a BOOL", MetadataValue::as_bool)
    }

    pub(crate) fn text(&self, key: &str) -> Result<&'a str, Error> {
        self.optional_text(key)?.ok_or_else(|| self.missing(key))
    }

    pub(crate) fn optional_text(&self, key: &str) -> Result<Option<&'a str>, Error> {
        self.optional(key, "a STRING", MetadataValue::as_str)
    }

    pub(crate) fn texts(&self, key: &str) -> Result<&'a [String], Error> {
        let strings = self.optional(key, "an array of STRINGs", |value| match value {
            MetadataValue::Array(MetadataArray::String(strings)) => Some(strings.as_slice()),
            _ => None,
        })?;
        strings.ok_or_else(|| self.missing(key))
    }

    pub(crate) fn integers(&self, key: &str) -> Result<&'a [i32], Error> {
        let integers = self.optional(key, "an array of INT32", |value| match value {
            MetadataValue::Array(MetadataArray::I32(integers)) => Some(integers.as_slice()),
            _ => None,
        })?;
        integers.ok_or_else(|| self.missing(key))
    }

    pub(crate) fn floats(&self, key: &str) -> Result<&'a [f32], Error> {
        let floats = self.optional(key, "an array of FLOAT32", |value| match value {
            MetadataValue::Array(MetadataArray::F32(floats)) => Some(floats.as_slice()),
            _ => None,
        })?;
        floats.ok_or_else(|| self.missing(key))
    }

    pub(crate) fn broken(&self, problem: String) -> Error {
        Error::Gguf {
            file: self.file.path().to_path_buf(),
            problem,
        }
    }

    pub(crate) fn unsupported(&self, what: String, advice: &'static str) -> Error {
        Error::UnsupportedGguf {
            file: self.file.path().to_path_buf(),
            what,
            advice,
        }
    }

    fn missing(&self, key: &str) -> Error {
        self.broken(format!("metadata {key:?} is missing"))
    }

    fn optional<T>(
        &self,
        key: &str,
        expected: &str,
        convert: impl Fn(&'a MetadataValue) -> Option<T>,
    ) -> Result<Option<T>, Error> {
        let Some(value) = self.header().value(key) else {
            return Ok(None);
        };
        let converted = convert(value);
        match converted {
            Some(_) => Ok(converted),
            None => Err(self.broken(format!("metadata {key:?} should be {expected}"))),
        }
    }
}

/// Advice for whatever the import refuses.
pub(crate) const USE_FOLDER: &str = "use the model's Hugging Face folder instead";

/// Far more than the coordinates of a head.
const MAX_VECTOR_BYTES: u64 = 1 << 16;
