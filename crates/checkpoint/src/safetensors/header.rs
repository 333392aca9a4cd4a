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
/// ids of the BERT family, causal masks of GPT-2. No weight is an integer.
fn buffer_size(name: &str, dtype: &str) -> Option<usize> {
    let last = name.rsplit('.').next().unwrap_or(name);
    match dtype {
        "I64" if matches!(last, "position_ids" | "token_type_ids") => Some(8),
        "I32" if matches!(last, "position_ids" | "token_type_ids") => Some(4),
        "BOOL" | "U8" if name.ends_with(".attn.bias") => Some(1),
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
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parse(json: &str, data_len: u64) -> Result<Header, Error> {
        parse_header(Path::new("model.safetensors"), json.as_bytes(), data_len)
    }

    fn refusal(json: &str, data_len: u64) -> String {
        let message = parse(json, data_len).unwrap_err().to_string();
        assert!(message.contains("model.safetensors"), "{message}");
        message
    }

    const GOOD: &str = r#"{"__metadata__":{"format":"pt"},"b":{"dtype":"BF16","shape":[2,3],"data_offsets":[4,16]},"a":{"dtype":"F32","shape":[],"data_offsets":[0,4]},"e":{"dtype":"F16","shape":[0,7],"data_offsets":[16,16]}} "#;

    #[test]
    fn a_good_header_is_read_in_file_order() {
        let header = parse(GOOD, 16).unwrap();
        let names: Vec<&str> = header.tensors.iter().map(|t| t.name.as_str()).collect();
        assert_eq!(names, ["a", "b", "e"]);
        assert_eq!(header.tensors[1].shape, [2, 3]);
        assert_eq!(header.tensors[1].byte_len, 12);
        assert_eq!(header.tensors[2].elements(), 0);
        assert_eq!(header.metadata, [("format".to_owned(), "pt".to_owned())]);
    }

    #[test]
    fn holes_overlaps_and_wrong_ends_are_refused() {
        let two = |a: &str, b: &str, len| {
            refusal(
                &format!(
                    r#"{{"a":{{"dtype":"F32","shape":[2],"data_offsets":{a}}},"b":{{"dtype":"F32","shape":[1],"data_offsets":{b}}}}}"#
                ),
                len,
            )
        };
        assert!(two("[0,8]", "[12,16]", 16).contains("ends at 8"));
        assert!(two("[0,8]", "[4,8]", 8).contains("ends at 8"));
        assert!(two("[0,8]", "[0,4]", 8).contains("ends at"));
        assert!(two("[4,12]", "[12,16]", 16).contains("ends at 0"));
        assert!(two("[0,8]", "[8,12]", 13).contains("13 bytes of data"));
        assert!(two("[0,8]", "[8,12]", 11).contains("11 bytes of data"));
        assert!(two("[0,8]", "[8,4]", 12).contains("ends at 8"));
    }

    #[test]
    fn shape_dtype_and_offsets_must_agree() {
        let one = |dtype: &str, shape: &str, end: u64| {
            refusal(
                &format!(
                    r#"{{"a":{{"dtype":"{dtype}","shape":{shape},"data_offsets":[0,{end}]}}}}"#
                ),
                end,
            )
        };
        assert!(one("F64", "[2]", 8).contains("cannot take"));
        assert!(one("F16", "[2,2]", 16).contains("cannot take"));
        assert!(one("F32", "[4611686018427387904,4]", 0).contains("cannot take"));
        assert!(one("F32", "[18446744073709551616]", 4).contains("not as specified"));
        assert!(one("F32", "[-1]", 4).contains("not as specified"));
        assert!(one("F32", "[1.5]", 4).contains("not as specified"));
    }

    #[test]
    fn repeated_and_unknown_keys_are_refused() {
        let entry = r#"{"dtype":"F32","shape":[],"data_offsets":[0,4]}"#;
        assert!(refusal(&format!(r#"{{"a":{entry},"a":{entry}}}"#), 4).contains("twice"));
        assert!(
            refusal(r#"{"__metadata__":{"x":"1","x":"2"}}"#, 0).contains("metadata \"x\" occurs")
        );
        assert!(refusal(r#"{"__metadata__":{"x":1}}"#, 0).contains("string"));
        assert!(
            refusal(
                r#"{"a":{"dtype":"F32","dtype":"F32","shape":[],"data_offsets":[0,4]}}"#,
                4
            )
            .contains("duplicate field")
        );
        assert!(
            refusal(
                r#"{"a":{"dtype":"F32","shape":[],"data_offsets":[0,4],"z":0}}"#,
                4
            )
            .contains("unknown field")
        );
        assert!(refusal(r#"{"a":{"dtype":"F32","shape":[]}}"#, 0).contains("data_offsets"));
        assert!(refusal(r#" {}"#, 0).contains("begin with"));
        assert!(refusal(r#"{}{}"#, 0).contains("trailing"));
        assert!(refusal(&format!("{{\"a\":{}", "[".repeat(100_000)), 0).contains("tensor \"a\""));
    }

    #[test]
    fn other_dtypes_are_refused_by_name_with_advice() {
        for dtype in ["F8_E4M3", "F8_E5M2", "I32", "I8", "U8", "I64", "F4"] {
            let json =
                format!(r#"{{"w.weight":{{"dtype":"{dtype}","shape":[8],"data_offsets":[0,8]}}}}"#);
            let message = refusal(&json, 8);
            assert!(
                message.contains("w.weight") && message.contains(dtype),
                "{message}"
            );
            assert!(
                message.contains("encrypt the bf16 model, quantise afterwards"),
                "{message}"
            );
        }
    }

    #[test]
    fn index_buffers_are_set_aside_but_still_measured() {
        let json = |end: u64| {
            format!(
                r#"{{"embeddings.position_ids":{{"dtype":"I64","shape":[1,2],"data_offsets":[0,{end}]}}}}"#
            )
        };
        let header = parse(&json(16), 16).unwrap();
        assert!(header.tensors.is_empty());
        assert_eq!(header.ignored[0].name, "embeddings.position_ids");
        assert!(refusal(&json(8), 8).contains("cannot take"));
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes: Vec<u8>, data_len: u64) {
            let _ = parse_header(Path::new("x"), &bytes, data_len);
        }

        #[test]
        fn no_mutation_makes_it_panic(
            changes in prop::collection::vec((0..GOOD.len(), any::<u8>()), 1..6),
            cut in 0..=GOOD.len(),
        ) {
            let mut bytes = GOOD.as_bytes().to_vec();
            for (at, byte) in changes {
                bytes[at] = byte;
            }
            bytes.truncate(cut);
            if let Ok(header) = parse_header(Path::new("x"), &bytes, 16) {
                let floats: u64 = header.tensors.iter().map(|t| t.byte_len).sum();
                prop_assert!(floats <= 16);
            }
        }
    }
}
