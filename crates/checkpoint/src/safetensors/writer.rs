use std::collections::HashSet;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::{Map, Value, json};

use super::flusher::Flusher;
use super::header::MAX_HEADER_BYTES;
use crate::tensor::check_range;
use crate::{Error, TensorHeader};

/// A safetensors file being written: the header first, then blocks of data in any order, from
/// any thread. What is written goes to the disk meanwhile.
///
/// Tensors lie in the given order. The header is padded with spaces to a multiple of eight bytes.
#[derive(Debug)]
pub struct SafetensorsWriter {
    path: PathBuf,
    file: Arc<File>,
    flusher: Flusher,
    slots: Vec<Slot>,
}

#[derive(Debug)]
struct Slot {
    name: String,
    start: u64,
    len: u64,
    written: AtomicU64,
}

impl SafetensorsWriter {
    /// Creates `path`, writes its header and gives the file its final length.
    ///
    /// # Errors
    /// If the file exists or cannot be created, or a name is empty, reserved or occurs twice.
    pub fn create(
        path: &Path,
        tensors: &[TensorHeader],
        metadata: &[(&str, &str)],
    ) -> Result<SafetensorsWriter, Error> {
        let layout = |problem: String| Error::Layout {
            path: path.to_path_buf(),
            problem,
        };
        let mut header = Map::new();
        if !metadata.is_empty() {
            let strings = metadata
                .iter()
                .map(|(k, v)| ((*k).to_owned(), json!(v)))
                .collect();
            header.insert("__metadata__".to_owned(), Value::Object(strings));
        }
        let mut names = HashSet::new();
        let mut slots = Vec::with_capacity(tensors.len());
        let mut end: u64 = 0;
        for tensor in tensors {
            let TensorHeader { name, dtype, shape } = tensor;
            if name.is_empty() || name == "__metadata__" || !names.insert(name) {
                return Err(layout(format!(
                    "the name {name:?} is reserved or occurs twice"
                )));
            }
            let start = end;
            let len = tensor.byte_len();
            end = len.and_then(|len| start.checked_add(len)).ok_or_else(|| {
                layout(format!("tensor {name:?} of shape {shape:?} is too large"))
            })?;
            header.insert(
                name.clone(),
                json!({"dtype": dtype.name(), "shape": shape, "data_offsets": [start, end]}),
            );
            let written = AtomicU64::new(0);
            slots.push(Slot {
                name: name.clone(),
                start,
                len: end - start,
                written,
            });
        }

        let mut json = Value::Object(header).to_string().into_bytes();
        json.resize(json.len().next_multiple_of(8), b' ');
        let header_len = json.len() as u64;
        if header_len > MAX_HEADER_BYTES {
            return Err(layout(format!("the header would take {header_len} bytes")));
        }
        let data_start = 8 + header_len;
        let total = data_start
            .checked_add(end)
            .ok_or_else(|| layout(format!("{end} bytes are too many for one file")))?;
        for slot in &mut slots {
            slot.start += data_start;
        }

        let file = Arc::new(File::create_new(path).map_err(Error::io("create", path))?);
        file.set_len(total).map_err(Error::io("size", path))?;
        file.write_all_at(&header_len.to_le_bytes(), 0)
            .map_err(Error::io("write", path))?;
        file.write_all_at(&json, 8)
            .map_err(Error::io("write", path))?;
        Ok(SafetensorsWriter {
            path: path.to_path_buf(),
            flusher: Flusher::new(file.clone()),
            file,
            slots,
        })
    }

    /// Writes `bytes` into tensor number `tensor`, from its byte `byte_offset` on.
    ///
    /// Every byte is to be written once: [`SafetensorsWriter::finish`] counts them.
    ///
    /// # Errors
    /// If there is no such tensor, the bytes reach past its end, or the file cannot be written.
    pub fn write_at(&self, tensor: usize, byte_offset: u64, bytes: &[u8]) -> Result<(), Error> {
        let slot = self.slots.get(tensor).ok_or_else(|| Error::NoSuchTensor {
            place: self.path.clone(),
            name: format!("number {tensor}"),
        })?;
        check_range(&slot.name, slot.len, byte_offset, bytes.len())?;
        self.file
            .write_all_at(bytes, slot.start + byte_offset)
            .map_err(Error::io("write", &self.path))?;
        slot.written
            .fetch_add(bytes.len() as u64, Ordering::Relaxed);
        self.flusher.wrote(bytes.len() as u64);
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
        self.flusher
            .finish()
            .map_err(Error::io("flush", &self.path))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Dtype;
    use crate::safetensors::SafetensorsFile;
    use proptest::prelude::*;
    use std::fs;

    #[test]
    fn the_bytes_are_as_the_format_says() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("model.safetensors");
        let headers = [TensorHeader::new("w", Dtype::F16, &[1, 2])];
        let writer = SafetensorsWriter::create(&path, &headers, &[("format", "pt")]).unwrap();
        writer.write_at(0, 2, &[3, 4]).unwrap();
        writer.write_at(0, 0, &[1, 2]).unwrap();
        writer.finish().unwrap();
        let json = br#"{"__metadata__":{"format":"pt"},"w":{"dtype":"F16","shape":[1,2],"data_offsets":[0,4]}}"#;
        let bytes = fs::read(&path).unwrap();
        let header_len = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
        assert_eq!(header_len % 8, 0);
        assert!(bytes[8..8 + header_len].starts_with(json));
        assert!(
            bytes[8 + json.len()..8 + header_len]
                .iter()
                .all(|b| *b == b' ')
        );
        assert_eq!(bytes[8 + header_len..], [1, 2, 3, 4]);
    }

    #[test]
    fn unfinished_double_and_misplaced_writes_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let headers = [TensorHeader::new("w", Dtype::F32, &[2])];
        let create =
            |name: &str| SafetensorsWriter::create(&dir.path().join(name), &headers, &[]).unwrap();
        let writer = create("a");
        assert!(matches!(
            writer.write_at(0, 5, &[0; 4]),
            Err(Error::OutOfRange { .. })
        ));
        assert!(matches!(
            writer.write_at(1, 0, &[0; 4]),
            Err(Error::NoSuchTensor { .. })
        ));
        writer.write_at(0, 0, &[0; 4]).unwrap();
        let message = writer.finish().unwrap_err().to_string();
        assert!(
            message.contains("4 of 8 bytes of tensor \"w\""),
            "{message}"
        );
        let writer = create("b");
        writer.write_at(0, 0, &[0; 8]).unwrap();
        writer.write_at(0, 0, &[0; 4]).unwrap();
        assert!(matches!(
            writer.finish(),
            Err(Error::Incomplete { written: 12, .. })
        ));
        let again = SafetensorsWriter::create(&dir.path().join("a"), &headers, &[]);
        assert!(matches!(again, Err(Error::Io { .. })));
    }

    #[test]
    fn impossible_headers_are_refused_before_a_file_exists() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        let bad = |tensors: &[TensorHeader]| {
            let error = SafetensorsWriter::create(&path, tensors, &[]).unwrap_err();
            assert!(matches!(error, Error::Layout { .. }), "{error}");
            assert!(!path.exists());
        };
        let twice = TensorHeader::new("w", Dtype::F32, &[2]);
        bad(&[twice.clone(), twice]);
        bad(&[TensorHeader::new("__metadata__", Dtype::F32, &[])]);
        bad(&[TensorHeader::new("", Dtype::F32, &[])]);
        bad(&[TensorHeader::new("w", Dtype::F32, &[usize::MAX])]);
        bad(&[
            TensorHeader::new("v", Dtype::F64, &[usize::MAX / 8]),
            TensorHeader::new("w", Dtype::F64, &[usize::MAX / 8]),
        ]);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn what_is_written_is_read(
            tensors in prop::collection::btree_map(
                "[ -~äλ\"\\\\]{1,12}",
                (0..4usize, prop::collection::vec(0..4usize, 0..4), any::<u8>()),
                0..6,
            ),
        ) {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("model.safetensors");
            let headers: Vec<TensorHeader> = tensors
                .iter()
                .map(|(name, (dtype, shape, _))| {
                    TensorHeader::new(name, Dtype::ALL[*dtype], shape)
                })
                .collect();
            let datas: Vec<Vec<u8>> = headers
                .iter()
                .zip(tensors.values())
                .map(|(h, (_, _, seed))| {
                    (0..h.byte_len().unwrap()).map(|i| seed.wrapping_add((i as u8).wrapping_mul(7))).collect()
                })
                .collect();
            let writer = SafetensorsWriter::create(&path, &headers, &[("k", "ü")]).unwrap();
            for (index, data) in datas.iter().enumerate().rev() {
                let (left, right) = data.split_at(data.len() / 3);
                writer.write_at(index, left.len() as u64, right).unwrap();
                writer.write_at(index, 0, left).unwrap();
            }
            writer.finish().unwrap();
            let file = SafetensorsFile::open(&path).unwrap();
            prop_assert_eq!(file.metadata(), [("k".to_owned(), "ü".to_owned())]);
            prop_assert_eq!(file.tensors().len(), headers.len());
            for (index, info) in file.tensors().iter().enumerate() {
                let at = headers.iter().position(|h| h.name == info.name).unwrap();
                prop_assert_eq!(&info.header(), &headers[at]);
                let mut out = vec![0; info.byte_len as usize];
                file.read_at(index, 0, &mut out).unwrap();
                prop_assert_eq!(&out, &datas[at]);
            }
        }
    }
}
