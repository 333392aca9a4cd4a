//! This project's Q4_K blocks of the values in the golden file, in hexadecimal: what
//! `tools/golden/gguf_quants.py` gives to the reference to read.
//!
//! ```text
//! cargo run -p equicrypt-checkpoint --example q4_k_blocks > target/q4_k_blocks.hex
//! ```
#![allow(clippy::print_stdout, reason = "an example's only output")]

use std::path::Path;

use equicrypt_checkpoint::gguf::GgmlType;
use equicrypt_checkpoint::read_json;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let golden = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/gguf_quants.json");
    let golden = read_json(Path::new(golden))?;
    let text = golden["written"]["Q4_K"]["values"]
        .as_str()
        .ok_or("no values")?;
    let bytes: Vec<u8> = (0..text.len() / 2)
        .map(|i| u8::from_str_radix(&text[2 * i..2 * i + 2], 16))
        .collect::<Result<_, _>>()?;
    let (values, _) = bytes.as_chunks::<4>();
    let values: Vec<f32> = values.iter().map(|v| f32::from_le_bytes(*v)).collect();
    let size = values.len() / GgmlType::Q4K.block_values() * GgmlType::Q4K.block_bytes();
    let mut blocks = vec![0; size];
    if !GgmlType::Q4K.quantize(&values, &mut blocks) {
        return Err("a value is not finite".into());
    }
    let text: String = blocks.iter().map(|byte| format!("{byte:02x}")).collect();
    print!("{text}");
    Ok(())
}
