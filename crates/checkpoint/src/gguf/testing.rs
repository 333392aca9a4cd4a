//! Builds GGUF files, sound and unsound, for tests.

use super::ggml_type::GgmlType;

/// A GGUF file in the making: version 3 and alignment 32 unless told otherwise.
#[derive(Clone)]
pub(crate) struct GgufBuilder {
    version: u32,
    metadata: Vec<u8>,
    metadata_count: u64,
    tensors: Vec<u8>,
    tensor_count: u64,
    data: Vec<u8>,
}

impl GgufBuilder {
    pub(crate) fn new() -> GgufBuilder {
        GgufBuilder {
            version: 3,
            metadata: Vec::new(),
            metadata_count: 0,
            tensors: Vec::new(),
            tensor_count: 0,
            data: Vec::new(),
        }
    }

    pub(crate) fn version(mut self, version: u32) -> GgufBuilder {
        self.version = version;
        self
    }

    /// A key with a type number and the value's bytes as they are.
    pub(crate) fn raw(mut self, key: &str, kind: u32, value: &[u8]) -> GgufBuilder {
        put_string(&mut self.metadata, key);
        self.metadata.extend_from_slice(&kind.to_le_bytes());
        self.metadata.extend_from_slice(value);
        self.metadata_count += 1;
        self
    }

    pub(crate) fn u32(self, key: &str, value: u32) -> GgufBuilder {
        self.raw(key, 4, &value.to_le_bytes())
    }

    pub(crate) fn f32(self, key: &str, value: f32) -> GgufBuilder {
        self.raw(key, 6, &value.to_le_bytes())
    }

    pub(crate) fn bool(self, key: &str, value: bool) -> GgufBuilder {
        self.raw(key, 7, &[u8::from(value)])
    }

    pub(crate) fn string(self, key: &str, value: &str) -> GgufBuilder {
        let mut bytes = Vec::new();
        put_string(&mut bytes, value);
        self.raw(key, 8, &bytes)
    }

    pub(crate) fn strings(self, key: &str, values: &[&str]) -> GgufBuilder {
        let mut bytes = array_head(8, values.len());
        for value in values {
            put_string(&mut bytes, value);
        }
        self.raw(key, 9, &bytes)
    }

    pub(crate) fn i32s(self, key: &str, values: &[i32]) -> GgufBuilder {
        let mut bytes = array_head(5, values.len());
        bytes.extend(values.iter().flat_map(|value| value.to_le_bytes()));
        self.raw(key, 9, &bytes)
    }

    /// A tensor of `shape`, slowest axis first, behind the data so far.
    pub(crate) fn tensor(
        mut self,
        name: &str,
        kind: GgmlType,
        shape: &[usize],
        data: &[u8],
    ) -> GgufBuilder {
        let offset = self.data.len().next_multiple_of(32);
        self.data.resize(offset, 0);
        self.data.extend_from_slice(data);
        let dims: Vec<u64> = shape.iter().rev().map(|dim| *dim as u64).collect();
        let id = (0..64)
            .find(|id| GgmlType::from_id(*id) == Some(kind))
            .unwrap();
        self.tensor_at(name, id, &dims, offset as u64)
    }

    /// A tensor's description as it is; `dims` in the file's order.
    pub(crate) fn tensor_at(mut self, name: &str, id: u32, dims: &[u64], at: u64) -> GgufBuilder {
        put_string(&mut self.tensors, name);
        self.tensors
            .extend_from_slice(&(dims.len() as u32).to_le_bytes());
        self.tensors
            .extend(dims.iter().flat_map(|dim| dim.to_le_bytes()));
        self.tensors.extend_from_slice(&id.to_le_bytes());
        self.tensors.extend_from_slice(&at.to_le_bytes());
        self.tensor_count += 1;
        self
    }

    pub(crate) fn data(mut self, data: &[u8]) -> GgufBuilder {
        self.data = data.to_vec();
        self
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut bytes = b"GGUF".to_vec();
        bytes.extend_from_slice(&self.version.to_le_bytes());
        bytes.extend_from_slice(&self.tensor_count.to_le_bytes());
        bytes.extend_from_slice(&self.metadata_count.to_le_bytes());
        bytes.extend_from_slice(&self.metadata);
        bytes.extend_from_slice(&self.tensors);
        bytes.resize(bytes.len().next_multiple_of(32), 0);
        bytes.extend_from_slice(&self.data);
        bytes
    }
}

fn put_string(bytes: &mut Vec<u8>, text: &str) {
    bytes.extend_from_slice(&(text.len() as u64).to_le_bytes());
    bytes.extend_from_slice(text.as_bytes());
}

fn array_head(kind: u32, len: usize) -> Vec<u8> {
    [&kind.to_le_bytes()[..], &(len as u64).to_le_bytes()].concat()
}
