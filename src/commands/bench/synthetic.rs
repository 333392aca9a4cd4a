//! A Llama with random bf16 weights, to measure with. Nothing can be asked of it.

use std::path::Path;

use anyhow::{Context, Result};
use equicrypt_checkpoint::{CheckpointWriter, Dtype, StagedDir, TensorHeader, write_json};
use equicrypt_spec::ModelConfig;
use serde_json::{Value, json};

/// Writes one of about `bytes` bytes into the new folder `dir`: in the widths of TinyLlama 1.1B, or from 4 GB on in those of
/// Llama 3.1 8B, with as many layers as fit, one at least.
pub(super) fn llama(dir: &Path, bytes: u64) -> Result<()> {
    let widths = if bytes < LARGE { TINY_LLAMA } else { LLAMA_8B };
    let size = |layers: u64| -> Result<u64> {
        Ok((headers(&widths.config(layers))?.iter())
            .filter_map(TensorHeader::byte_len)
            .sum())
    };
    let (one, two) = (size(1)?, size(2)?);
    let config = widths.config(1 + bytes.saturating_sub(one) / (two - one));
    let headers = headers(&config)?;
    let staged = StagedDir::new(dir)?;
    let writer = CheckpointWriter::create(staged.path(), &headers)?;
    let mut stream = Stream(1);
    let mut block = Vec::new();
    for header in &headers {
        let bytes = header.byte_len().context("a tensor is too large")?;
        for start in (0..bytes).step_by(BLOCK as usize) {
            stream.fill(&mut block, BLOCK.min(bytes - start) as usize);
            writer.write(&header.name, start, &block)?;
        }
    }
    writer.finish()?;
    write_json(&staged.path().join("config.json"), &config)?;
    Ok(staged.commit()?)
}

struct Widths {
    vocab: u64,
    hidden: u64,
    ffn: u64,
    heads: u64,
    kv_heads: u64,
}

impl Widths {
    fn config(&self, layers: u64) -> Value {
        json!({
            "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_act": "silu",
            "vocab_size": self.vocab, "hidden_size": self.hidden, "intermediate_size": self.ffn,
            "num_hidden_layers": layers, "num_attention_heads": self.heads,
            "num_key_value_heads": self.kv_heads, "max_position_embeddings": 8192,
            "rms_norm_eps": 1e-5, "rope_theta": 500_000.0, "tie_word_embeddings": false,
            "torch_dtype": "bfloat16",
        })
    }
}

fn headers(config: &Value) -> Result<Vec<TensorHeader>> {
    let config = ModelConfig::from_json(config)?;
    let tensors = config.architecture.tensors(&config);
    let header = tensors
        .iter()
        .map(|tensor| TensorHeader::new(&tensor.name, Dtype::Bf16, &tensor.shape));
    Ok(header.collect())
}

/// bfloat16 numbers of either sign between 2^-9 and 2^-5, from SplitMix64.
struct Stream(u64);

impl Stream {
    fn fill(&mut self, values: &mut Vec<u8>, bytes: usize) {
        values.clear();
        while values.len() < bytes {
            self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut z = self.0;
            z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            z ^= z >> 31;
            // Of each 16 bits sign, mantissa and two bits of the exponent are kept; 118 is that of 2^-9.
            let exponents = (z >> 7 & 0x0003_0003_0003_0003) + 0x0076_0076_0076_0076;
            let value = z & 0x807f_807f_807f_807f | exponents << 7;
            values.extend_from_slice(&value.to_le_bytes());
        }
        values.truncate(bytes);
    }
}

const TINY_LLAMA: Widths = Widths {
    vocab: 32_000,
    hidden: 2048,
    ffn: 5632,
    heads: 32,
    kv_heads: 4,
};

const LLAMA_8B: Widths = Widths {
    vocab: 128_256,
    hidden: 4096,
    ffn: 14_336,
    heads: 32,
    kv_heads: 8,
};

/// From here on embedding and head of the wide one are not most of it.
const LARGE: u64 = 4_000_000_000;

const BLOCK: u64 = 1 << 20;

#[cfg(test)]
mod tests {
    use equicrypt_checkpoint::Checkpoint;

    use super::*;

    #[test]
    fn the_smallest_is_a_llama_with_weights_in_the_range() {
        let place = tempfile::tempdir().unwrap();
        let dir = place.path().join("llama");
        llama(&dir, 1).unwrap();
        let model = Checkpoint::open(&dir).unwrap();
        let config = model.model_config().unwrap();
        assert_eq!(config.layers, 1);
        let header = model
            .tensors()
            .map(|t| (t.name.as_str(), t.shape.as_slice()));
        config.architecture.check(&config, header).unwrap();
        let values = model.read_f32("model.layers.0.mlp.up_proj.weight").unwrap();
        let in_range = |v: &f32| (0.5f32.powi(9)..0.5f32.powi(5)).contains(&v.abs());
        assert!(values.iter().all(in_range));
        let positive = values.iter().filter(|v| **v > 0.0).count() as f64;
        assert!((positive / values.len() as f64 - 0.5).abs() < 0.01);
        let large = values.iter().filter(|v| v.abs() >= 0.5f32.powi(6)).count() as f64;
        assert!((large / values.len() as f64 - 0.25).abs() < 0.01);
    }
}
