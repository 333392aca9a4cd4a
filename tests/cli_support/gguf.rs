//! A GGUF file of a tiny llama, written from the format's specification (ggml's docs/gguf.md).

/// A file in the making: version 3, alignment 32.
pub struct Gguf {
    metadata: Vec<u8>,
    keys: u64,
    tensors: Vec<u8>,
    count: u64,
    data: Vec<u8>,
}

/// A llama of one layer and seven tokens, of the architecture that the metadata name.
pub fn tiny(architecture: &str) -> Vec<u8> {
    let tokens = ["<s>", "</s>", "<tool>", "a", "b", "ab", "\u{120}"];
    let kinds = [3i32, 3, 4, 1, 1, 1, 1];
    let mut file = Gguf::new();
    file.key("general.architecture", 8, &text(architecture));
    for (key, value) in [
        ("block_count", 1u32),
        ("context_length", 64),
        ("embedding_length", 4),
        ("feed_forward_length", 6),
        ("attention.head_count", 4),
        ("attention.head_count_kv", 2),
        ("attention.key_length", 6),
    ] {
        file.key(&format!("llama.{key}"), 4, &value.to_le_bytes());
    }
    let epsilon = 1e-5f32.to_le_bytes();
    file.key("llama.attention.layer_norm_rms_epsilon", 6, &epsilon);
    file.key("tokenizer.ggml.model", 8, &text("gpt2"));
    let texts = tokens.iter().flat_map(|token| text(token)).collect();
    file.key("tokenizer.ggml.tokens", 9, &array(8, tokens.len(), texts));
    let kinds_bytes = kinds.iter().flat_map(|kind| kind.to_le_bytes()).collect();
    let kinds_bytes = array(5, kinds.len(), kinds_bytes);
    file.key("tokenizer.ggml.token_type", 9, &kinds_bytes);
    file.key("tokenizer.ggml.merges", 9, &array(8, 1, text("a b")));

    file.tensor("token_embd.weight", &[7, 4]);
    file.tensor("output_norm.weight", &[4]);
    for (name, shape) in [
        ("attn_norm", &[4][..]),
        ("ffn_norm", &[4]),
        ("attn_q", &[24, 4]),
        ("attn_k", &[12, 4]),
        ("attn_v", &[12, 4]),
        ("attn_output", &[4, 24]),
        ("ffn_gate", &[6, 4]),
        ("ffn_up", &[6, 4]),
        ("ffn_down", &[4, 6]),
    ] {
        file.tensor(&format!("blk.0.{name}.weight"), shape);
    }
    file.bytes()
}

impl Gguf {
    fn new() -> Self {
        Self {
            metadata: Vec::new(),
            keys: 0,
            tensors: Vec::new(),
            count: 0,
            data: Vec::new(),
        }
    }

    fn key(&mut self, key: &str, kind: u32, value: &[u8]) {
        self.metadata.extend(text(key));
        self.metadata.extend(kind.to_le_bytes());
        self.metadata.extend(value);
        self.keys += 1;
    }

    /// An F32 tensor of `shape`, slowest axis first: its values count from 0 in steps of 1/64.
    fn tensor(&mut self, name: &str, shape: &[usize]) {
        let offset = self.data.len().next_multiple_of(32);
        self.data.resize(offset, 0);
        let count: usize = shape.iter().product();
        let values = (0..count).map(|value| value as f32 / 64.0);
        self.data.extend(values.flat_map(f32::to_le_bytes));
        self.tensors.extend(text(name));
        self.tensors.extend((shape.len() as u32).to_le_bytes());
        for dim in shape.iter().rev() {
            self.tensors.extend((*dim as u64).to_le_bytes());
        }
        self.tensors.extend(0u32.to_le_bytes());
        self.tensors.extend((offset as u64).to_le_bytes());
        self.count += 1;
    }

    fn bytes(&self) -> Vec<u8> {
        let mut bytes = b"GGUF".to_vec();
        bytes.extend(3u32.to_le_bytes());
        bytes.extend(self.count.to_le_bytes());
        bytes.extend(self.keys.to_le_bytes());
        bytes.extend(&self.metadata);
        bytes.extend(&self.tensors);
        bytes.resize(bytes.len().next_multiple_of(32), 0);
        bytes.extend(&self.data);
        bytes
    }
}

fn text(text: &str) -> Vec<u8> {
    [&(text.len() as u64).to_le_bytes()[..], text.as_bytes()].concat()
}

fn array(kind: u32, len: usize, items: Vec<u8>) -> Vec<u8> {
    let len = (len as u64).to_le_bytes();
    [&kind.to_le_bytes()[..], &len, &items].concat()
}
