use std::collections::HashSet;
use std::fmt;
use std::path::Path;

use serde::Deserialize;
use serde::de::{Deserializer, Error as _, IgnoredAny, MapAccess, Visitor};

use crate::tensor::byte_len;
use crate::{Dtype, Error, IgnoredTensor, TensorInfo};

/// What a safetensors header says, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// The tensors that can be read, in the order of their data.
    pub tensors: Vec<TensorInfo>,
    /// Index buffers that are skipped.
    pub ignored: Vec<IgnoredTensor>,
    /// The `__metadata__` strings, in file order.
    pub metadata: Vec<(String, String)>,
}

/// Parses the JSON of a safetensors header that is followed by `data_len` bytes of data.
///
/// The tensors must fill the data from its first byte to its last without hole or overlap, each
/// `size(dtype) * product of shape` bytes long. Memory is bounded by a small multiple of
/// `json.len()`. `file` is used in messages only.
///
/// # Errors
/// [`Error::Safetensors`] for whatever breaks the format, a name that occurs twice included;
/// [`Error::UnsupportedDtype`] for a tensor of integers or of 8 bits and less, unless it is an
/// index buffer ([`IgnoredTensor`]).
pub fn parse_header(file: &Path, json: &[u8], data_len: u64) -> Result<Header, Error> {
    let broken = |problem: String| Error::Safetensors {
        file: file.to_path_buf(),
        problem,
    };
    if json.first() != Some(&b'{') {
        return Err(broken("the header does not begin with '{'".to_owned()));
    }
    let raw: RawHeader = serde_json::from_slice(json)
        .map_err(|error| broken(format!("the header is not as specified: {error}")))?;
    let mut entries = raw.entries;
    entries.sort_by_key(|(_, entry)| entry.data_offsets);

    let mut header = Header {
        tensors: Vec::new(),
        ignored: Vec::new(),
        metadata: raw.metadata,
    };
    let mut expected_begin = 0;
    for (name, entry) in entries {
        let (begin, end) = entry.data_offsets;
        if begin != expected_begin || end < begin {
            return Err(broken(format!(
                "tensor {name:?} is at bytes {begin}..{end} of the data, but the tensor before it \
                 ends at {expected_begin}"
            )));
        }
        let Some(shape) = to_usizes(&entry.shape) else {
            return Err(broken(format!(
                "tensor {name:?} has impossible shape {:?}",
                entry.shape
            )));
        };
        let size = match (
            Dtype::from_name(&entry.dtype),
            buffer_size(&name, &entry.dtype),
        ) {
            (Some(dtype), _) => dtype.size(),
            (None, Some(size)) => size,
            (None, None) => {
                return Err(Error::UnsupportedDtype {
                    file: file.to_path_buf(),
                    tensor: name,
                    advice: advice(&entry.dtype),
                    dtype: entry.dtype,
                });
            }
        };
        if byte_len(size, shape.iter().copied()) != Some(end - begin) {
            return Err(broken(format!(
                "tensor {name:?} of dtype {} and shape {shape:?} cannot take the {} bytes {begin}..{end}",
                entry.dtype,
                end - begin
            )));
        }
        expected_begin = end;
        match Dtype::from_name(&entry.dtype) {
            Some(dtype) => header.tensors.push(TensorInfo {
                name,
                dtype,
                shape,
                shard: 0,
                byte_len: end - begin,
                offset: begin,
            }),
            None => header.ignored.push(IgnoredTensor {
                name,
                dtype: entry.dtype,
                shape,
            }),
        }
    }
    if expected_begin != data_len {
        return Err(broken(format!(
            "the tensors take {expected_begin} bytes, but {data_len} bytes of data follow the header"
        )));
    }
    Ok(header)
}

/// A header may not be larger than this: 100 MB, as in the reference implementation.
pub const MAX_HEADER_BYTES: u64 = 100_000_000;

/// The bytes in one value of an index buffer that may be skipped; `None` for any other tensor.
///
/// The names are those of the `transformers` library's registered buffers: positions and segment
/// ids of the BERT family, causal masks of GPT-2 and GPT-NeoX. No weight is an integer.
fn buffer_size(name: &str, dtype: &str) -> Option<usize> {
    let last = name.rsplit('.').next().unwrap_or(name);
    match dtype {
        "I64" if matches!(last, "position_ids" | "token_type_ids") => Some(8),
        "I32" if matches!(last, "position_ids" | "token_type_ids") => Some(4),
        "BOOL" | "U8" if name.ends_with(".attn.bias") || name.ends_with(".attention.bias") => {
            Some(1)
        }
        _ => None,
    }
}

fn advice(dtype: &str) -> &'static str {
    match dtype {
        "BOOL" | "C64" => "this is not a tensor of weights; remove it or use another checkpoint",
        _ => "encrypt the bf16 model, quantise afterwards",
    }
}

fn to_usizes(shape: &[u64]) -> Option<Vec<usize>> {
    shape.iter().map(|dim| usize::try_from(*dim).ok()).collect()
}

/// The header's JSON before any number in it is believed.
struct RawHeader {
    entries: Vec<(String, RawEntry)>,
    metadata: Vec<(String, String)>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawEntry {
    dtype: String,
    shape: Vec<u64>,
    data_offsets: (u64, u64),
}

impl<'de> Deserialize<'de> for RawHeader {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<RawHeader, D::Error> {
        deserializer.deserialize_map(RawHeaderVisitor)
    }
}

/// A map type would keep the last of two equal names without a word.
struct RawHeaderVisitor;

impl<'de> Visitor<'de> for RawHeaderVisitor {
    type Value = RawHeader;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an object of tensors")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<RawHeader, A::Error> {
        let mut header = RawHeader {
            entries: Vec::new(),
            metadata: Vec::new(),
        };
        let mut seen = HashSet::new();
        while let Some(name) = map.next_key::<String>()? {
            if !seen.insert(name.clone()) {
                return Err(A::Error::custom(format!("{name:?} occurs twice")));
            }
            if name == "__metadata__" {
                header.metadata = map.next_value::<Strings>()?.0;
            } else {
                let entry = map
                    .next_value::<RawEntry>()
                    .map_err(|error| A::Error::custom(format!("tensor {name:?}: {error}")))?;
                header.entries.push((name, entry));
            }
        }
        Ok(header)
    }
}

struct Strings(Vec<(String, String)>);

impl<'de> Deserialize<'de> for Strings {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Strings, D::Error> {
        deserializer.deserialize_map(StringsVisitor)
    }
}

struct StringsVisitor;

impl<'de> Visitor<'de> for StringsVisitor {
    type Value = Strings;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an object of strings")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Strings, A::Error> {
        let mut strings = Vec::new();
        let mut seen = HashSet::new();
        while let Some(key) = map.next_key::<String>()? {
            if !seen.insert(key.clone()) {
                map.next_value::<IgnoredAny>()?;
                return Err(A::Error::custom(format!("metadata {key:?} occurs twice")));
            }
            strings.push((key, map.next_value()?));
        }
        Ok(Strings(strings))
    }
}

#[cfg(test)]
mod tests;
