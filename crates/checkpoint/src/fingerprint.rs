use rayon::prelude::*;
use sha2::{Digest, Sha256};

use crate::{Checkpoint, Error, TensorInfo};

impl Checkpoint {
    /// A 32-byte name for this set of weights, computed from samples in milliseconds.
    ///
    /// ```text
    /// SHA-256( "equicrypt checkpoint fingerprint 1\0"
    ///          u64(number of tensors)
    ///          for each tensor, in the byte order of names:
    ///              u64(len name) name  u64(len dtype) dtype  u64(rank) u64(dim)...
    ///              SHA-256( for each window: u64(offset) bytes ) )
    /// ```
    ///
    /// All integers are little-endian. A tensor of at most 65,536 bytes is one window; a larger
    /// one has sixteen windows of 4,096 bytes, window i at `floor(i (len - 4096) / 15)`, so that
    /// the first and the last byte are covered.
    ///
    /// It covers every name, dtype and shape, and those windows. It does not cover bytes outside
    /// them (a change there is **not** seen), ignored buffers, `config.json`, the tokenizer, the
    /// metadata of the files, nor how the tensors are spread over files. It tells models apart;
    /// it is no proof of integrity.
    ///
    /// # Errors
    /// If a file cannot be read.
    pub fn fingerprint(&self) -> Result<[u8; 32], Error> {
        let mut tensors: Vec<&TensorInfo> = self.tensors().collect();
        tensors.sort_unstable_by(|a, b| a.name.as_bytes().cmp(b.name.as_bytes()));
        let samples: Vec<[u8; 32]> = tensors
            .par_iter()
            .map(|info| self.sample(info))
            .collect::<Result<_, Error>>()?;

        let mut hash = Sha256::new();
        hash.update(b"equicrypt checkpoint fingerprint 1\0");
        hash.update((tensors.len() as u64).to_le_bytes());
        for (info, sample) in tensors.iter().zip(samples) {
            for text in [info.name.as_str(), info.dtype.name()] {
                hash.update((text.len() as u64).to_le_bytes());
                hash.update(text);
            }
            hash.update((info.shape.len() as u64).to_le_bytes());
            for dim in &info.shape {
                hash.update((*dim as u64).to_le_bytes());
            }
            hash.update(sample);
        }
        Ok(hash.finalize().into())
    }

    fn sample(&self, info: &TensorInfo) -> Result<[u8; 32], Error> {
        let mut hash = Sha256::new();
        let mut buffer = Vec::new();
        for (offset, len) in windows(info.byte_len) {
            buffer.resize(len, 0);
            self.read(&info.name, offset, &mut buffer)?;
            hash.update(offset.to_le_bytes());
            hash.update(&buffer);
        }
        Ok(hash.finalize().into())
    }
}

/// The `(offset, length)` of each window of a tensor of `byte_len` bytes.
fn windows(byte_len: u64) -> Vec<(u64, usize)> {
    if byte_len <= WINDOWS * WINDOW_BYTES {
        return vec![(0, byte_len as usize)];
    }
    let last = byte_len - WINDOW_BYTES;
    (0..WINDOWS)
        .map(|i| {
            let offset = u128::from(i) * u128::from(last) / u128::from(WINDOWS - 1);
            (offset as u64, WINDOW_BYTES as usize)
        })
        .collect()
}

const WINDOWS: u64 = 16;
const WINDOW_BYTES: u64 = 4096;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{CheckpointWriter, Dtype, TensorHeader, write_json};
    use std::path::Path;

    fn write(dir: &Path, tensors: &[(&str, Dtype, &[usize], Vec<u8>)], max_shard: u64) -> [u8; 32] {
        let headers: Vec<TensorHeader> = tensors
            .iter()
            .map(|(n, d, s, _)| TensorHeader::new(*n, *d, s))
            .collect();
        let writer = CheckpointWriter::create_sharded(dir, &headers, max_shard).unwrap();
        for (name, _, _, data) in tensors {
            writer.write(name, 0, data).unwrap();
        }
        writer.finish().unwrap();
        write_json(&dir.join("config.json"), &serde_json::json!({})).unwrap();
        Checkpoint::open(dir).unwrap().fingerprint().unwrap()
    }

    fn fingerprint(tensors: &[(&str, Dtype, &[usize], Vec<u8>)], max_shard: u64) -> [u8; 32] {
        write(tempfile::tempdir().unwrap().path(), tensors, max_shard)
    }

    fn noise(len: usize) -> Vec<u8> {
        (0..len).map(|i| ((i * i) >> 3) as u8).collect()
    }

    #[test]
    fn it_depends_on_the_tensors_and_not_on_the_files() {
        let a = ("a", Dtype::F32, &[64, 512][..], noise(131_072));
        let b = ("b", Dtype::Bf16, &[3][..], noise(6));
        let whole = fingerprint(&[a.clone(), b.clone()], u64::MAX);
        assert_eq!(fingerprint(&[b.clone(), a.clone()], u64::MAX), whole);
        assert_eq!(fingerprint(&[a.clone(), b.clone()], 1), whole);

        let mut others = vec![fingerprint(std::slice::from_ref(&a), u64::MAX)];
        let mut change = |tensor: (&str, Dtype, &[usize], Vec<u8>), partner| {
            others.push(fingerprint(&[tensor, partner], u64::MAX));
        };
        change(("c", a.1, a.2, a.3.clone()), b.clone());
        change(("a", a.1, &[512, 64], a.3.clone()), b.clone());
        change(("a", Dtype::F64, &[32, 512], a.3.clone()), b.clone());
        for at in [0, 4095, 131_071] {
            let mut data = a.3.clone();
            data[at] ^= 1;
            change(("a", a.1, a.2, data), b.clone());
        }
        change(("b", Dtype::F16, b.2, b.3.clone()), a.clone());
        others.push(whole);
        let distinct: std::collections::HashSet<[u8; 32]> = others.iter().copied().collect();
        assert_eq!(distinct.len(), others.len());
    }

    #[test]
    fn the_value_is_pinned() {
        let tensors = [("w", Dtype::F32, &[2][..], vec![0, 0, 128, 63, 0, 0, 0, 64])];
        let hex: String = fingerprint(&tensors, u64::MAX)
            .iter()
            .map(|b| format!("{b:02x}"))
            .collect();
        assert_eq!(hex, PINNED);
    }

    #[test]
    fn windows_cover_both_ends_and_stay_inside() {
        for len in [65_537, 65_540, 1 << 20, u64::MAX] {
            let windows = windows(len);
            assert_eq!(windows.len(), 16);
            assert_eq!(windows[0], (0, 4096));
            assert_eq!(windows[15], (len - 4096, 4096));
            assert!(windows.windows(2).all(|w| w[0].0 < w[1].0));
        }
        assert_eq!(windows(65_536), [(0, 65_536)]);
        assert_eq!(windows(0), [(0, 0)]);
    }

    /// Computed from the formula with Python's hashlib.
    const PINNED: &str = "a39d5497147d759d0207817634d4011b99814cb96b80ed26dc4e2e4665f62fc3";
}
