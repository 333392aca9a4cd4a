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

pub(super) const DEFAULT_ALIGNMENT: u64 = 32;
const MAX_ALIGNMENT: u64 = 1 << 20;
pub(super) const MAX_RANK: u32 = 4;
/// An empty name, no sizes, format and offset.
const TENSOR_BYTES: u64 = 24;
/// An empty key, a type and one byte.
const METADATA_BYTES: u64 = 13;

#[cfg(test)]
mod tests;
