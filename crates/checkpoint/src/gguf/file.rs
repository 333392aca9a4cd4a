use std::fs::File;
use std::io::BufReader;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::header::{GgufHeader, GgufTensor, parse};
use super::metadata::MetadataValue;
use crate::Error;
use crate::tensor::check_range;

/// An open GGUF file: metadata and tensor descriptions in memory, the data on disk.
#[derive(Debug)]
pub struct GgufFile {
    path: PathBuf,
    file: File,
    header: GgufHeader,
}

impl GgufFile {
    /// Opens `path` and reads everything before the data.
    ///
    /// # Errors
    /// See [`parse`].
    pub fn open(path: &Path) -> Result<GgufFile, Error> {
        let file = File::open(path).map_err(Error::io("open", path))?;
        let metadata = file.metadata().map_err(Error::io("read", path))?;
        if !metadata.is_file() {
            let problem = "it is not a regular file".to_owned();
            return Err(Error::Gguf {
                file: path.to_path_buf(),
                problem,
            });
        }
        let header = parse(path, BufReader::new(&file), metadata.len())?;
        Ok(GgufFile {
            path: path.to_path_buf(),
            file,
            header,
        })
    }

    /// Where the file is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The metadata value of this key, if there is one.
    pub fn value(&self, key: &str) -> Option<&MetadataValue> {
        self.header.value(key)
    }

    /// Everything before the data.
    pub fn header(&self) -> &GgufHeader {
        &self.header
    }

    /// The tensor of this name, if there is one.
    pub fn tensor(&self, name: &str) -> Option<&GgufTensor> {
        self.header
            .tensors
            .iter()
            .find(|tensor| tensor.name == name)
    }

    /// Fills `out` with the bytes of tensor `name` from `byte_offset` on.
    ///
    /// Any number of threads may read at once.
    ///
    /// # Errors
    /// If there is no such tensor, the bytes reach past its end, or the file cannot be read.
    pub fn read(&self, name: &str, byte_offset: u64, out: &mut [u8]) -> Result<(), Error> {
        let tensor = self.tensor(name).ok_or_else(|| Error::NoSuchTensor {
            place: self.path.clone(),
            name: name.to_owned(),
        })?;
        check_range(name, tensor.byte_len, byte_offset, out.len())?;
        self.file
            .read_exact_at(out, self.header.data_start + tensor.offset + byte_offset)
            .map_err(Error::io("read", &self.path))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gguf::GgmlType;
    use crate::gguf::testing::GgufBuilder;

    #[test]
    fn reads_stay_inside_their_tensor() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("m.gguf");
        let builder = GgufBuilder::new()
            .tensor("a", GgmlType::F32, &[2], &[1, 2, 3, 4, 5, 6, 7, 8])
            .tensor("b", GgmlType::F32, &[1], &[9, 10, 11, 12]);
        std::fs::write(&path, builder.bytes()).unwrap();
        let file = GgufFile::open(&path).unwrap();
        let mut out = [0; 3];
        file.read("a", 5, &mut out).unwrap();
        assert_eq!(out, [6, 7, 8]);
        file.read("b", 0, &mut out).unwrap();
        assert_eq!(out, [9, 10, 11]);
        assert!(matches!(
            file.read("a", 6, &mut out),
            Err(Error::OutOfRange { .. })
        ));
        assert!(matches!(
            file.read("c", 0, &mut out),
            Err(Error::NoSuchTensor { .. })
        ));
        assert!(GgufFile::open(&dir.path().join("none")).is_err());
        assert!(GgufFile::open(dir.path()).is_err());
    }
}
