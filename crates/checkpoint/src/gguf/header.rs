use std::collections::HashSet;
use std::io::Read;
use std::path::Path;

use super::cursor::Cursor;
use super::ggml_type::{self, GgmlType};
use super::metadata::MetadataValue;
use crate::Error;

/// Everything before the data of a GGUF file, checked.
#[derive(Clone, Debug, PartialEq)]
pub struct GgufHeader {
    /// 2 or 3.
    pub version: u32,
    /// The metadata in file order; every key once.
    pub metadata: Vec<(String, MetadataValue)>,
    /// The tensors in file order; every name once.
    pub tensors: Vec<GgufTensor>,
    /// The data's first byte, counted from the start of the file.
    pub data_start: u64,
}

/// One tensor of a GGUF file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GgufTensor {
    /// Its name.
    pub name: String,
    /// Its format.
    pub kind: GgmlType,
    /// Its sizes, slowest axis first: the reverse of the order in the file.
    pub shape: Vec<usize>,
    /// Its first byte, counted from the start of the data.
    pub offset: u64,
    /// Its size in bytes.
    pub byte_len: u64,
}

impl GgufHeader {
    /// The metadata value of this key, if there is one.
    pub fn value(&self, key: &str) -> Option<&MetadataValue> {
        self.metadata
            .iter()
            .find(|(k, _)| k == key)
            .map(|(_, value)| value)
    }
}

/// Parses the start of a GGUF file that is `file_len` bytes long.
///
/// `reader` stands at the file's first byte and is read up to the end of the tensor
/// descriptions. Memory is bounded by a small multiple of what is really read, and by
/// [`MAX_HEADER_BYTES`]. `file` is used in messages only.
///
/// # Errors
/// [`Error::Gguf`] for whatever breaks the format: counts or lengths larger than the file, text
/// that is not UTF-8, keys or names that occur twice, arrays nested too deep, an alignment that
/// is not a power of two, tensors that overlap or reach past the end.
/// [`Error::UnsupportedGguf`] for version 1, big-endian files and formats that cannot be read.
pub fn parse(file: &Path, reader: impl Read, file_len: u64) -> Result<GgufHeader, Error> {
    let mut cursor = Cursor::new(file, reader, file_len.min(MAX_HEADER_BYTES));
    if &cursor.array("the magic")? != b"GGUF" {
        return Err(cursor.broken("it does not begin with \"GGUF\"".to_owned()));
    }
    let unsupported = |what: String, advice| Error::UnsupportedGguf {
        file: file.to_path_buf(),
        what,
        advice,
    };
    let version = cursor.u32("the version")?;
    match version {
        2 | 3 => {}
        1 => {
            return Err(unsupported(
                "version 1".to_owned(),
                "convert the model again",
            ));
        }
        _ if matches!(version.swap_bytes(), 1..=3) => {
            return Err(unsupported(
                "it is big-endian".to_owned(),
                "use the little-endian file",
            ));
        }
        _ => return Err(cursor.broken(format!("version {version}, expected 2 or 3"))),
    }
    let tensor_count = cursor.count(TENSOR_BYTES, "the number of tensors")?;
    let metadata_count = cursor.count(METADATA_BYTES, "the number of metadata keys")?;

    let mut metadata = Vec::new();
    let mut keys = HashSet::new();
    for _ in 0..metadata_count {
        let key = cursor.string("a metadata key")?;
        let value = MetadataValue::read(&mut cursor, &key)?;
        if !keys.insert(key.clone()) {
            return Err(cursor.broken(format!("metadata {key:?} occurs twice")));
        }
        metadata.push((key, value));
    }

    let mut tensors = Vec::new();
    let mut names = HashSet::new();
    for _ in 0..tensor_count {
        let tensor = tensor(&mut cursor, &unsupported)?;
        if !names.insert(tensor.name.clone()) {
            return Err(cursor.broken(format!("tensor {:?} occurs twice", tensor.name)));
        }
        tensors.push(tensor);
    }

    let mut header = GgufHeader {
        version,
        metadata,
        tensors,
        data_start: 0,
    };
    let alignment = match header.value("general.alignment") {
        None => DEFAULT_ALIGNMENT,
        Some(value) => value
            .as_u64()
            .filter(|alignment| alignment.is_power_of_two() && *alignment <= MAX_ALIGNMENT)
            .ok_or_else(|| {
                cursor.broken(format!(
                    "general.alignment is {value:?}, not a power of two"
                ))
            })?,
    };
    // The position is below MAX_HEADER_BYTES and the alignment below MAX_ALIGNMENT.
    header.data_start = cursor.position().next_multiple_of(alignment);
    let data_len = file_len.saturating_sub(header.data_start);
    check_places(&header.tensors, alignment, data_len).map_err(|problem| cursor.broken(problem))?;
    Ok(header)
}

fn tensor<R: Read>(
    cursor: &mut Cursor<R>,
    unsupported: &impl Fn(String, &'static str) -> Error,
) -> Result<GgufTensor, Error> {
    let name = cursor.string("a tensor's name")?;
    let what = format!("tensor {name:?}");
    let rank = cursor.u32(&what)?;
    if rank > MAX_RANK {
        return Err(cursor.broken(format!("{what} has {rank} axes, more than {MAX_RANK}")));
    }
    let mut shape = Vec::new();
    for _ in 0..rank {
        let dim = cursor.u64(&what)?;
        let dim = usize::try_from(dim).ok().filter(|dim| *dim > 0);
        shape.push(dim.ok_or_else(|| cursor.broken(format!("{what} has an impossible size")))?);
    }
    let id = cursor.u32(&what)?;
    let offset = cursor.u64(&what)?;
    let kind = GgmlType::from_id(id).ok_or_else(|| {
        let format = ggml_type::describe(id);
        unsupported(
            format!("{what} is stored as {format}, which cannot be read"),
            "use the model's bf16, f16, q8_0 or q4_k file, or its Hugging Face folder",
        )
    })?;
    let row = shape.first().copied().unwrap_or(1);
    if row % kind.block_values() != 0 {
        return Err(cursor.broken(format!(
            "{what} has rows of {row} values, not whole blocks of {} {}",
            kind.block_values(),
            kind.name()
        )));
    }
    let byte_len = shape
        .iter()
        .try_fold(1u64, |product, dim| product.checked_mul(*dim as u64))
        .and_then(|values| {
            (values / kind.block_values() as u64).checked_mul(kind.block_bytes() as u64)
        })
        .ok_or_else(|| cursor.broken(format!("{what} of sizes {shape:?} is too large")))?;
    shape.reverse();
    Ok(GgufTensor {
        name,
        kind,
        shape,
        offset,
        byte_len,
    })
}

/// Offsets are aligned, in range, and no two tensors share a byte.
fn check_places(tensors: &[GgufTensor], alignment: u64, data_len: u64) -> Result<(), String> {
    let mut sorted: Vec<&GgufTensor> = tensors.iter().collect();
    sorted.sort_unstable_by_key(|tensor| tensor.offset);
    let mut free_from = 0;
    for tensor in sorted {
        let GgufTensor {
            name,
            offset,
            byte_len,
            ..
        } = tensor;
        if offset % alignment != 0 {
            return Err(format!(
                "tensor {name:?} is at byte {offset}, not aligned to {alignment}"
            ));
        }
        if *offset < free_from {
            return Err(format!(
                "tensor {name:?} at byte {offset} overlaps the one before it"
            ));
        }
        free_from = match offset.checked_add(*byte_len) {
            Some(end) if end <= data_len => end,
            _ => {
                return Err(format!(
                    "tensor {name:?} takes {byte_len} bytes from {offset}, but there are \
                     {data_len} bytes of data"
                ));
            }
        };
    }
    Ok(())
}

/// What comes before the data may not be larger than this: 1 GiB.
pub const MAX_HEADER_BYTES: u64 = 1 << 30;

const DEFAULT_ALIGNMENT: u64 = 32;
const MAX_ALIGNMENT: u64 = 1 << 20;
const MAX_RANK: u32 = 4;
/// An empty name, no sizes, format and offset.
const TENSOR_BYTES: u64 = 24;
/// An empty key, a type and one byte.
const METADATA_BYTES: u64 = 13;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gguf::MetadataArray;
    use crate::gguf::testing::GgufBuilder;
    use proptest::prelude::*;

    fn parse_bytes(bytes: &[u8]) -> Result<GgufHeader, Error> {
        parse(Path::new("m.gguf"), bytes, bytes.len() as u64)
    }

    fn refusal(bytes: &[u8]) -> String {
        let message = parse_bytes(bytes).unwrap_err().to_string();
        assert!(message.contains("m.gguf"), "{message}");
        message
    }

    fn small() -> GgufBuilder {
        GgufBuilder::new()
            .string("general.name", "tiny")
            .u32("a.b", 7)
            .f32("f", 0.1)
            .bool("t", true)
            .strings("s", &["x", "yy", ""])
            .i32s("n", &[1, -2])
            .tensor("m", GgmlType::F32, &[2, 3], &[1; 24])
            .tensor("q", GgmlType::Q8_0, &[2, 32], &[2; 68])
    }

    #[test]
    fn a_good_file_is_read() {
        for version in [2, 3] {
            let header = parse_bytes(&small().version(version).bytes()).unwrap();
            assert_eq!(header.version, version);
            assert_eq!(header.value("general.name").unwrap().as_str(), Some("tiny"));
            assert_eq!(header.value("a.b").unwrap().as_u64(), Some(7));
            assert_eq!(header.value("f").unwrap().as_f64(), Some(0.1));
            assert_eq!(header.value("t").unwrap().as_bool(), Some(true));
            let strings = ["x", "yy", ""].map(str::to_owned).to_vec();
            let array = MetadataValue::Array(MetadataArray::String(strings));
            assert_eq!(header.value("s"), Some(&array));
            assert_eq!(header.value("z"), None);
            assert_eq!(header.tensors[0].shape, [2, 3]);
            assert_eq!(
                (header.tensors[1].offset, header.tensors[1].byte_len),
                (32, 68)
            );
            assert_eq!(header.data_start % 32, 0);
        }
    }

    #[test]
    fn every_truncation_is_refused() {
        let bytes = small().bytes();
        for cut in 0..bytes.len() {
            refusal(&bytes[..cut]);
        }
    }

    #[test]
    fn foreign_and_old_files_are_refused() {
        assert!(refusal(b"GGML\x03\0\0\0").contains("begin with"));
        assert!(refusal(&small().version(1).bytes()).contains("version 1"));
        assert!(refusal(&small().version(3 << 24).bytes()).contains("big-endian"));
        assert!(refusal(&small().version(4).bytes()).contains("expected 2 or 3"));
    }

    #[test]
    fn absurd_counts_are_refused_without_being_allocated() {
        let head = |tensors: u64, keys: u64| {
            [
                b"GGUF\x03\0\0\0",
                &tensors.to_le_bytes()[..],
                &keys.to_le_bytes(),
            ]
            .concat()
        };
        assert!(refusal(&head(u64::MAX, 0)).contains("number of tensors"));
        assert!(refusal(&head(0, u64::MAX / 13)).contains("number of metadata keys"));
        let key = |len: u64| [head(0, 1), len.to_le_bytes().to_vec(), vec![0; 16]].concat();
        assert!(refusal(&key(1 << 62)).contains("the length of a metadata key"));
        let array = |kind: u32, count: u64| {
            let value = [&kind.to_le_bytes()[..], &count.to_le_bytes()].concat();
            refusal(&GgufBuilder::new().raw("k", 9, &value).bytes())
        };
        for kind in [0, 3, 5, 7, 8, 9, 11, 12] {
            assert!(array(kind, u64::MAX / 2).contains("the length of metadata \"k\""));
        }
        assert!(array(13, 0).contains("unknown type 13"));
    }

    #[test]
    fn deep_nesting_is_refused() {
        let mut value = Vec::new();
        for _ in 0..1000 {
            value.extend_from_slice(&9u32.to_le_bytes());
            value.extend_from_slice(&1u64.to_le_bytes());
        }
        assert!(refusal(&GgufBuilder::new().raw("k", 9, &value).bytes()).contains("nests"));
    }

    #[test]
    fn bad_text_keys_names_and_flags_are_refused() {
        let bad_utf8 = [&2u64.to_le_bytes()[..], &[0xff, 0xfe]].concat();
        assert!(refusal(&GgufBuilder::new().raw("k", 8, &bad_utf8).bytes()).contains("UTF-8"));
        assert!(refusal(&small().u32("a.b", 8).bytes()).contains("\"a.b\" occurs twice"));
        let twice = small().tensor("m", GgmlType::F32, &[1], &[0; 4]);
        assert!(refusal(&twice.bytes()).contains("tensor \"m\" occurs twice"));
        assert!(refusal(&GgufBuilder::new().raw("k", 7, &[2]).bytes()).contains("BOOL"));
        assert!(refusal(&GgufBuilder::new().raw("k", 99, &[2]).bytes()).contains("type 99"));
        for alignment in [0, 3, 1 << 30] {
            let file = small().u32("general.alignment", alignment);
            assert!(refusal(&file.bytes()).contains("power of two"));
        }
    }

    #[test]
    fn tensors_must_fit_their_places() {
        let at = |offset: u64, second: u64| {
            let file = GgufBuilder::new()
                .tensor_at("a", 0, &[4], offset)
                .tensor_at("b", 0, &[4], second);
            parse_bytes(&file.data(&[0; 64]).bytes())
        };
        assert!(at(0, 32).is_ok() && at(32, 0).is_ok());
        let message = |offset, second| at(offset, second).unwrap_err().to_string();
        assert!(message(0, 0).contains("overlaps"));
        assert!(message(0, 16).contains("not aligned"));
        assert!(message(0, 64).contains("64 bytes of data"));
        assert!(message(0, u64::MAX - 31).contains("bytes of data"));
    }

    #[test]
    fn impossible_sizes_and_formats_are_refused() {
        let one = |kind: u32, dims: &[u64]| {
            refusal(
                &GgufBuilder::new()
                    .tensor_at("w", kind, dims, 0)
                    .data(&[0; 64])
                    .bytes(),
            )
        };
        assert!(one(0, &[1 << 40, 1 << 40]).contains("too large"));
        assert!(one(0, &[u64::MAX]).contains("too large"));
        assert!(one(0, &[0]).contains("impossible size"));
        assert!(one(0, &[1; 5]).contains("5 axes"));
        assert!(one(8, &[33]).contains("not whole blocks of 32 Q8_0"));
        assert!(one(10, &[256]).contains("stored as Q2_K"));
        assert!(one(77, &[256]).contains("format number 77"));
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes: Vec<u8>) {
            let _ = parse_bytes(&bytes);
            let _ = parse_bytes(&[b"GGUF\x03\0\0\0", &bytes[..]].concat());
        }

        #[test]
        fn no_mutation_makes_it_panic(
            changes in prop::collection::vec((0..400usize, any::<u8>()), 1..6),
        ) {
            let mut bytes = small().bytes();
            for (at, byte) in changes {
                let at = at % bytes.len();
                bytes[at] = byte;
            }
            if let Ok(header) = parse_bytes(&bytes) {
                let used: u64 = header.tensors.iter().map(|t| t.byte_len).sum();
                prop_assert!(used <= bytes.len() as u64);
            }
        }
    }
}
