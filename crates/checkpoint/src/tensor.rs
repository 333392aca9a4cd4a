use crate::{Dtype, Error};

/// What a tensor is before it has a place in a file: name, dtype and shape, row-major.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorHeader {
    /// The tensor's name.
    pub name: String,
    /// How its values are stored.
    pub dtype: Dtype,
    /// Its sizes, slowest axis first; empty for a single number.
    pub shape: Vec<usize>,
}

impl TensorHeader {
    /// A header from its parts.
    pub fn new(name: impl Into<String>, dtype: Dtype, shape: &[usize]) -> TensorHeader {
        TensorHeader {
            name: name.into(),
            dtype,
            shape: shape.to_vec(),
        }
    }

    /// `size(dtype) * product of shape`, or `None` if that does not fit 64 bits.
    pub fn byte_len(&self) -> Option<u64> {
        byte_len(self.dtype.size(), self.shape.iter().copied())
    }
}

/// A tensor in an open file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorInfo {
    /// The tensor's name.
    pub name: String,
    /// How its values are stored.
    pub dtype: Dtype,
    /// Its sizes, slowest axis first; empty for a single number.
    pub shape: Vec<usize>,
    /// Which of the checkpoint's files holds it, from 0.
    pub shard: usize,
    /// Its size in bytes.
    pub byte_len: u64,
    /// Its first byte, counted from the start of the file's data.
    pub(crate) offset: u64,
}

impl TensorInfo {
    /// How many numbers it holds.
    pub fn elements(&self) -> u64 {
        self.byte_len / self.dtype.size() as u64
    }

    /// The header that would write the same tensor again.
    pub fn header(&self) -> TensorHeader {
        TensorHeader {
            name: self.name.clone(),
            dtype: self.dtype,
            shape: self.shape.clone(),
        }
    }
}

/// An integer or boolean buffer that older model classes saved beside the weights, such as
/// `embeddings.position_ids`: a constant that the model class makes anew. It is not read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IgnoredTensor {
    /// The buffer's name.
    pub name: String,
    /// Its dtype's name in the header, such as `I64`.
    pub dtype: String,
    /// Its sizes.
    pub shape: Vec<usize>,
}

/// `size * product of shape`, or `None` if that does not fit 64 bits.
pub(crate) fn byte_len(size: usize, shape: impl IntoIterator<Item = usize>) -> Option<u64> {
    shape
        .into_iter()
        .try_fold(size as u64, |len, dim| len.checked_mul(dim as u64))
}

/// Refuses bytes `start..start + len` of a tensor that has `size` bytes, if they reach past it.
pub(crate) fn check_range(tensor: &str, size: u64, start: u64, len: usize) -> Result<(), Error> {
    let len = len as u64;
    match start.checked_add(len) {
        Some(end) if end <= size => Ok(()),
        _ => Err(Error::OutOfRange {
            tensor: tensor.to_owned(),
            size,
            start,
            len,
        }),
    }
}
