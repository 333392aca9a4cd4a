use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use super::ggml_type::GgmlType;
use super::header::{DEFAULT_ALIGNMENT, MAX_HEADER_BYTES, MAX_RANK};
use super::metadata::MetadataValue;
use crate::Error;
use crate::tensor::check_range;

/// What a tensor of a GGUF file is before it has a place in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GgufTensorHeader {
    /// Its name: 1 to 63 bytes, the most that ggml keeps.
    pub name: String,
    /// How its values are stored.
    pub kind: GgmlType,
    /// Its sizes, slowest axis first; the last is a multiple of the format's block.
    pub shape: Vec<usize>,
}

impl GgufTensorHeader {
    /// A header from its parts.
    pub fn new(name: impl Into<String>, kind: GgmlType, shape: &[usize]) -> GgufTensorHeader {
        GgufTensorHeader {
            name: name.into(),
            kind,
            shape: shape.to_vec(),
        }
    }

    /// `product of shape / values in a block * bytes in a block`, or `None` if rows are not whole
    /// blocks or that does not fit 64 bits.
    pub fn byte_len(&self) -> Option<u64> {
        let row = self.shape.last().copied().unwrap_or(1);
        if !row.is_multiple_of(self.kind.block_values()) {
            return None;
        }
        let dims = self.shape.iter().map(|dim| *dim as u64);
        let values = dims.into_iter().try_fold(1u64, u64::checked_mul)?;
        (values / self.kind.block_values() as u64).checked_mul(self.kind.block_bytes() as u64)
    }
}

/// A GGUF file being written, version 3, little-endian: everything before the data first, then
/// blocks of data in any order, from any thread.
///
/// Tensors lie in the given order, each at a multiple of 32 bytes. Put the file where nobody looks
/// until [`GgufWriter::finish`] has returned: a writer that fails leaves its incomplete file behind.
#[derive(Debug)]
pub struct GgufWriter {
    path: PathBuf,
    file: File,
    slots: Vec<Slot>,
    by_name: HashMap<String, usize>,
}

#[derive(Debug)]
struct Slot {
    name: String,
    start: u64,
    len: u64,
    written: AtomicU64,
}

impl GgufWriter {
    /// Creates `path`, writes metadata and tensor descriptions and gives the file its final length.
    ///
    /// # Errors
    /// If the file exists or cannot be created; if a key or name is empty, too long or occurs
    /// twice; if a shape has no size, more than four, or rows that are not whole blocks.
    pub fn create(
        path: &Path,
        metadata: &[(String, MetadataValue)],
        tensors: &[GgufTensorHeader],
    ) -> Result<GgufWriter, Error> {
        let layout = |problem: String| Error::Layout {
            path: path.to_path_buf(),
            problem,
        };
        let mut head = b"GGUF".to_vec();
        head.extend_from_slice(&VERSION.to_le_bytes());
        head.extend_from_slice(&(tensors.len() as u64).to_le_bytes());
        head.extend_from_slice(&(metadata.len() as u64).to_le_bytes());
        let mut keys = HashSet::new();
        for (key, value) in metadata {
            if key.is_empty() || key.len() > MAX_KEY_BYTES || !keys.insert(key) {
                return Err(layout(format!(
                    "the metadata key {key:?} is empty, too long or occurs twice"
                )));
            }
            if key == "general.alignment" {
                return Err(layout("general.alignment is 32 and not stated".to_owned()));
            }
            put_text(&mut head, key);
            value.write(&mut head);
        }

        let mut slots = Vec::with_capacity(tensors.len());
        let mut by_name = HashMap::with_capacity(tensors.len());
        let mut end = 0u64;
        for tensor in tensors {
            let GgufTensorHeader { name, kind, shape } = tensor;
            if name.is_empty()
                || name.len() > MAX_NAME_BYTES
                || by_name.insert(name.clone(), slots.len()).is_some()
            {
                return Err(layout(format!(
                    "the name {name:?} is empty, longer than {MAX_NAME_BYTES} bytes or occurs twice"
                )));
            }
            let rank = shape.len() as u64;
            if rank == 0 || rank > u64::from(MAX_RANK) || shape.contains(&0) {
                return Err(layout(format!(
                    "tensor {name:?} has shape {shape:?}, not one to {MAX_RANK} sizes above zero"
                )));
            }
            // Both sums are far below 2^64 if `byte_len` and the last end are file sizes.
            let start = end.checked_next_multiple_of(DEFAULT_ALIGNMENT);
            let placed = tensor.byte_len().zip(start).and_then(|(len, start)| {
                end = start.checked_add(len)?;
                Some((start, len))
            });
            let (start, len) = placed.ok_or_else(|| {
                layout(format!(
                    "tensor {name:?} of shape {shape:?} is too large, or its rows are not whole \
                     blocks of {} {}",
                    kind.block_values(),
                    kind.name()
                ))
            })?;
            put_text(&mut head, name);
            head.extend_from_slice(&(rank as u32).to_le_bytes());
            let dims = shape.iter().rev();
            head.extend(dims.flat_map(|dim| (*dim as u64).to_le_bytes()));
            head.extend_from_slice(&kind.id().to_le_bytes());
            head.extend_from_slice(&start.to_le_bytes());
            slots.push(Slot {
                name: name.clone(),
                start,
                len,
                written: AtomicU64::new(0),
            });
        }
        let head_len = head.len() as u64;
        if head_len > MAX_HEADER_BYTES {
            return Err(layout(format!("the header would take {head_len} bytes")));
        }
        let data_start = head_len.next_multiple_of(DEFAULT_ALIGNMENT);
        let total = end
            .checked_next_multiple_of(DEFAULT_ALIGNMENT)
            .and_then(|data| data_start.checked_add(data))
            .ok_or_else(|| layout(format!("{end} bytes are too many for one file")))?;
        for slot in &mut slots {
            slot.start += data_start;
        }

        let file = File::create_new(path).map_err(Error::io("create", path))?;
        file.set_len(total).map_err(Error::io("size", path))?;
        file.write_all_at(&head, 0)
            .map_err(Error::io("write", path))?;
        Ok(GgufWriter {
            path: path.to_path_buf(),
            file,
            slots,
            by_name,
        })
    }

    /// Bytes of data in all, without the padding between tensors.
    pub fn data_len(&self) -> u64 {
        self.slots.iter().map(|slot| slot.len).sum()
    }

    /// Writes `bytes` into tensor `name`, from its byte `byte_offset` on; every byte once.
    ///
    /// # Errors
    /// If there is no such tensor, the bytes reach past its end, or the file cannot be written.
    pub fn write(&self, name: &str, byte_offset: u64, bytes: &[u8]) -> Result<(), Error> {
        let slot = self.by_name.get(name).and_then(|at| self.slots.get(*at));
        let slot = slot.ok_or_else(|| Error::NoSuchTensor {
            place: self.path.clone(),
            name: name.to_owned(),
        })?;
        check_range(name, slot.len, byte_offset, bytes.len())?;
        self.file
            .write_all_at(bytes, slot.start + byte_offset)
            .map_err(Error::io("write", &self.path))?;
        slot.written
            .fetch_add(bytes.len() as u64, Ordering::Relaxed);
        Ok(())
    }

    /// Flushes the file to the disk.
    ///
    /// # Errors
    /// If the bytes written to a tensor are not as many as it has, or the disk refuses.
    pub fn finish(self) -> Result<(), Error> {
        for slot in &self.slots {
            let written = slot.written.load(Ordering::Relaxed);
            if written != slot.len {
                return Err(Error::Incomplete {
                    file: self.path.clone(),
                    tensor: slot.name.clone(),
                    written,
                    size: slot.len,
                });
            }
        }
        self.file.sync_all().map_err(Error::io("flush", &self.path))
    }
}

/// Text as GGUF stores it: a 64-bit length, then UTF-8.
pub(super) fn put_text(out: &mut Vec<u8>, text: &str) {
    out.extend_from_slice(&(text.len() as u64).to_le_bytes());
    out.extend_from_slice(text.as_bytes());
}

const VERSION: u32 = 3;
/// GGML_MAX_NAME of `ggml.h` is 64, with the closing zero.
const MAX_NAME_BYTES: usize = 63;
/// The format's own limit on keys.
const MAX_KEY_BYTES: usize = 65_535;

#[cfg(test)]
mod tests;
