use std::fs::File;
use std::io::Read;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::header::{Header, MAX_HEADER_BYTES, parse_header};
use crate::tensor::check_range;
use crate::{Error, IgnoredTensor, TensorInfo};

/// An open safetensors file: its header is in memory, its data stays on disk.
#[derive(Debug)]
pub struct SafetensorsFile {
    path: PathBuf,
    file: File,
    header: Header,
    data_start: u64,
}

impl SafetensorsFile {
    /// Opens `path`, reads and checks its header; the data is not read.
    ///
    /// # Errors
    /// See [`parse_header`]; also if the header's length is larger than the file or than
    /// [`MAX_HEADER_BYTES`].
    pub fn open(path: &Path) -> Result<SafetensorsFile, Error> {
        let broken = |problem: String| Error::Safetensors {
            file: path.to_path_buf(),
            problem,
        };
        let mut file = File::open(path).map_err(Error::io("open", path))?;
        let metadata = file.metadata().map_err(Error::io("read", path))?;
        if !metadata.is_file() {
            return Err(broken("it is not a regular file".to_owned()));
        }
        let file_len = metadata.len();
        let Some(after_length) = file_len.checked_sub(8) else {
            return Err(broken(format!(
                "it has {file_len} bytes, too few for a header length"
            )));
        };
        let mut length = [0; 8];
        file.read_exact(&mut length)
            .map_err(Error::io("read", path))?;
        let header_len = u64::from_le_bytes(length);
        if header_len > MAX_HEADER_BYTES {
            return Err(broken(format!(
                "its header claims {header_len} bytes, more than the {MAX_HEADER_BYTES} allowed"
            )));
        }
        let Some(data_len) = after_length.checked_sub(header_len) else {
            return Err(broken(format!(
                "its header claims {header_len} bytes, but only {after_length} are left in the file"
            )));
        };
        let mut json = Vec::new();
        (&mut file)
            .take(header_len)
            .read_to_end(&mut json)
            .map_err(Error::io("read", path))?;
        let header = parse_header(path, &json, data_len)?;
        Ok(SafetensorsFile {
            path: path.to_path_buf(),
            file,
            header,
            data_start: 8 + header_len,
        })
    }

    /// Where the file is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The tensors in the order of their data.
    pub fn tensors(&self) -> &[TensorInfo] {
        &self.header.tensors
    }

    /// Index buffers that are skipped.
    pub fn ignored(&self) -> &[IgnoredTensor] {
        &self.header.ignored
    }

    /// The `__metadata__` strings.
    pub fn metadata(&self) -> &[(String, String)] {
        &self.header.metadata
    }

    /// Where the bytes of tensor number `tensor` begin in the file, if there is one.
    pub(crate) fn start_of(&self, tensor: usize) -> Option<u64> {
        let info = self.header.tensors.get(tensor)?;
        Some(self.data_start + info.offset)
    }

    /// Fills `out` with the bytes of tensor number `tensor` from `byte_offset` on.
    ///
    /// Any number of threads may read at once.
    ///
    /// # Errors
    /// If there is no such tensor, the bytes reach past its end, or the file cannot be read.
    pub fn read_at(&self, tensor: usize, byte_offset: u64, out: &mut [u8]) -> Result<(), Error> {
        let info = self
            .header
            .tensors
            .get(tensor)
            .ok_or_else(|| Error::NoSuchTensor {
                place: self.path.clone(),
                name: format!("number {tensor}"),
            })?;
        check_range(&info.name, info.byte_len, byte_offset, out.len())?;
        self.file
            .read_exact_at(out, self.data_start + info.offset + byte_offset)
            .map_err(Error::io("read", &self.path))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn open(bytes: &[u8]) -> Result<SafetensorsFile, Error> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("model.safetensors");
        fs::write(&path, bytes).unwrap();
        SafetensorsFile::open(&path)
    }

    fn file(header: &[u8], data: &[u8]) -> Vec<u8> {
        [&(header.len() as u64).to_le_bytes(), header, data].concat()
    }

    fn refusal(bytes: &[u8]) -> String {
        let message = open(bytes).unwrap_err().to_string();
        assert!(message.contains("model.safetensors"), "{message}");
        message
    }

    const HEADER: &[u8] = br#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}"#;

    #[test]
    fn missing_truncated_and_absurd_files_are_refused() {
        let missing = SafetensorsFile::open(Path::new("no/such.safetensors")).unwrap_err();
        assert!(
            missing
                .to_string()
                .contains("cannot open no/such.safetensors")
        );
        assert!(refusal(b"").contains("0 bytes"));
        assert!(refusal(&[1, 2, 3]).contains("3 bytes"));
        assert!(refusal(&u64::MAX.to_le_bytes()).contains("allowed"));
        assert!(refusal(&100u64.to_le_bytes()).contains("only 0 are left"));
        let good = file(HEADER, &[0; 8]);
        assert!(open(&good).is_ok());
        for cut in 0..good.len() {
            refusal(&good[..cut]);
        }
        assert!(refusal(&file(HEADER, &[0; 9])).contains("9 bytes of data"));
        assert!(refusal(&file(b"{\"a\xff\":{}}", &[])).contains("not as specified"));
        let dir = tempfile::tempdir().unwrap();
        assert!(SafetensorsFile::open(dir.path()).is_err());
    }

    #[test]
    fn reads_stay_inside_their_tensor() {
        let file = open(&file(HEADER, &[1, 2, 3, 4, 5, 6, 7, 8])).unwrap();
        let mut out = [0; 3];
        file.read_at(0, 5, &mut out).unwrap();
        assert_eq!(out, [6, 7, 8]);
        assert!(matches!(
            file.read_at(0, 6, &mut out),
            Err(Error::OutOfRange { .. })
        ));
        assert!(matches!(
            file.read_at(0, u64::MAX, &mut out),
            Err(Error::OutOfRange { .. })
        ));
        assert!(matches!(
            file.read_at(1, 0, &mut out),
            Err(Error::NoSuchTensor { .. })
        ));
    }
}
