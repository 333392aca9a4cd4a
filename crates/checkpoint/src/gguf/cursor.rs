use std::io::Read;
use std::path::{Path, PathBuf};

use crate::Error;

/// Reads little-endian fields in order, and never more than is left.
pub(super) struct Cursor<R> {
    file: PathBuf,
    reader: R,
    position: u64,
    left: u64,
}

impl<R: Read> Cursor<R> {
    pub(super) fn new(file: &Path, reader: R, len: u64) -> Cursor<R> {
        Cursor {
            file: file.to_path_buf(),
            reader,
            position: 0,
            left: len,
        }
    }

    pub(super) fn position(&self) -> u64 {
        self.position
    }

    pub(super) fn broken(&self, problem: String) -> Error {
        Error::Gguf {
            file: self.file.clone(),
            problem,
        }
    }

    pub(super) fn array<const N: usize>(&mut self, what: &str) -> Result<[u8; N], Error> {
        self.claim(N as u64, what)?;
        let mut bytes = [0; N];
        self.reader
            .read_exact(&mut bytes)
            .map_err(Error::io("read", &self.file))?;
        Ok(bytes)
    }

    pub(super) fn u32(&mut self, what: &str) -> Result<u32, Error> {
        Ok(u32::from_le_bytes(self.array(what)?))
    }

    pub(super) fn u64(&mut self, what: &str) -> Result<u64, Error> {
        Ok(u64::from_le_bytes(self.array(what)?))
    }

    /// A count of things that take at least `least` bytes each: refused if they cannot fit.
    pub(super) fn count(&mut self, least: u64, what: &str) -> Result<u64, Error> {
        let count = self.u64(what)?;
        match count.checked_mul(least) {
            Some(bytes) if bytes <= self.left => Ok(count),
            _ => Err(self.broken(format!(
                "{what} is {count}, but only {} bytes are left",
                self.left
            ))),
        }
    }

    /// `len` bytes; the buffer grows with what is really there.
    pub(super) fn bytes(&mut self, len: u64, what: &str) -> Result<Vec<u8>, Error> {
        self.claim(len, what)?;
        let mut bytes = Vec::new();
        let read = (&mut self.reader)
            .take(len)
            .read_to_end(&mut bytes)
            .map_err(Error::io("read", &self.file))?;
        if read as u64 != len {
            return Err(self.broken(format!("{what} is cut short")));
        }
        Ok(bytes)
    }

    pub(super) fn string(&mut self, what: &str) -> Result<String, Error> {
        let len = self.count(1, &format!("the length of {what}"))?;
        let bytes = self.bytes(len, what)?;
        String::from_utf8(bytes).map_err(|_| self.broken(format!("{what} is not UTF-8")))
    }

    fn claim(&mut self, len: u64, what: &str) -> Result<(), Error> {
        let Some(left) = self.left.checked_sub(len) else {
            let problem = format!("{what} takes {len} bytes, but only {} are left", self.left);
            return Err(self.broken(problem));
        };
        self.left = left;
        self.position += len;
        Ok(())
    }
}
