//! Writes a Llama with random bf16 weights in the widths of Llama 3.1 8B, in shards, to measure encryption with.
//!
//! ```text
//! cargo run --release -p equicrypt-checkpoint --example synthetic_llama -- DIR LAYERS
//! ```
//!
//! 14 layers are 8.2 GB. Nothing can be asked of the model.

use std::path::PathBuf;

use equicrypt_checkpoint::{CheckpointWriter, Dtype, StagedDir, TensorHeader, write_json};
use equicrypt_spec::ModelConfig;
use rayon::prelude::*;
use serde_json::json;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args_os().skip(1);
    let usage = "usage: synthetic_llama DIR LAYERS";
    let dir = PathBuf::from(args.next().ok_or(usage)?);
    let layers: usize = args.next().ok_or(usage)?.to_string_lossy().parse()?;
    let config = json!({
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_act": "silu",
        "vocab_size": 128_256, "hidden_size": 4096, "intermediate_size": 14_336,
        "num_hidden_layers": layers, "num_attention_heads": 32, "num_key_value_heads": 8,
        "max_position_embeddings": 8192, "rms_norm_eps": 1e-5, "rope_theta": 500_000.0,
        "tie_word_embeddings": false, "torch_dtype": "bfloat16",
    });
    let parsed = ModelConfig::from_json(&config)?;
    let tensors = parsed.architecture.tensors(&parsed);
    let headers: Vec<_> = tensors
        .iter()
        .map(|tensor| TensorHeader::new(&tensor.name, Dtype::Bf16, &tensor.shape))
        .collect();
    let staged = StagedDir::new(&dir)?;
    let writer = CheckpointWriter::create(staged.path(), &headers)?;
    for header in &headers {
        let bytes = header.byte_len().ok_or("a tensor is too large")?;
        let blocks = bytes.div_ceil(BLOCK);
        (0..blocks).into_par_iter().try_for_each(|block| {
            let start = block * BLOCK;
            let values = random(&header.name, block, BLOCK.min(bytes - start));
            writer.write(&header.name, start, &values)
        })?;
    }
    writer.finish()?;
    write_json(&staged.path().join("config.json"), &config)?;
    staged.commit()?;
    Ok(())
}

/// bfloat16 numbers of either sign between 2^-9 and 2^-5.
fn random(name: &str, block: u64, bytes: u64) -> Vec<u8> {
    let mut state = name.bytes().fold(block, |state, byte| {
        (state ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3)
    });
    let mut values = Vec::with_capacity(bytes as usize + 8);
    while values.len() < bytes as usize {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        for bits in z.to_le_bytes().chunks(2) {
            let random = u16::from_le_bytes([bits[0], bits[1]]);
            let exponent = 118 + (random >> 7) % 4;
            let value = (random & 0x807f) | (exponent << 7);
            values.extend_from_slice(&value.to_le_bytes());
        }
    }
    values.truncate(bytes as usize);
    values
}

const BLOCK: u64 = 1 << 22;
