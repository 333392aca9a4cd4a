//! A model folder made in the test: a byte-level tokenizer and ChatML's template.

use std::path::Path;

use equicrypt_cipher::{Allocation, Homophones, MasterKey, Schedule};
use equicrypt_spec::{FORMAT_VERSION, Manifest, Profile};
use serde_json::{Map, Value, json};

pub(crate) const VOCAB: usize = 264;
pub(crate) const START: u32 = 256;
pub(crate) const END: u32 = 257;

const TEMPLATE: &str = "{% for message in messages %}\
    {{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n' }}\
    {% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}";

/// A folder with everything but weights.
pub(crate) fn folder() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), "tokenizer.json", &tokenizer());
    write(
        dir.path(),
        "tokenizer_config.json",
        &json!({"chat_template": TEMPLATE, "eos_token": {"content": "<|im_end|>"}}),
    );
    write(
        dir.path(),
        "config.json",
        &json!({
            "model_type": "llama", "vocab_size": VOCAB, "hidden_size": 8, "num_hidden_layers": 1,
            "num_attention_heads": 2, "num_key_value_heads": 1, "intermediate_size": 12,
            "max_position_embeddings": 64, "eos_token_id": END,
        }),
    );
    write(
        dir.path(),
        "generation_config.json",
        &json!({"eos_token_id": [258, END]}),
    );
    dir
}

/// The key and the manifest of an encryption of the folder's model.
pub(crate) fn encryption() -> (MasterKey, Manifest) {
    let key = MasterKey::from_bytes([7; 32]);
    let manifest = Manifest {
        format_version: FORMAT_VERSION,
        key_id: key.id(),
        epoch: 0,
        weights_epoch: None,
        profile: Profile::Permute,
        architecture: "llama".into(),
        source_fingerprint: "01".repeat(32),
        vocab_size: VOCAB,
        plain_vocab_size: VOCAB,
        dtype: "BF16".into(),
        kept_id: None,
        rotates_output: false,
        noise: 0.0,
        homophone_table: None,
    };
    (key, manifest)
}

/// The same with 40 homophones for some letters, and for the end of a turn.
pub(crate) fn homophonic_encryption() -> (MasterKey, Manifest) {
    let (key, manifest) = encryption();
    let mut weights = vec![0.0; VOCAB];
    for (id, weight) in [
        (u32::from(b'e'), 9.0),
        (u32::from(b'a'), 5.0),
        (END, 3.0),
        (10, 1.0),
    ] {
        weights[id as usize] = weight;
    }
    let homophones = Homophones::allocate(&weights, None, 40, Allocation::Proportional).unwrap();
    let mut manifest = Manifest {
        vocab_size: VOCAB + 40,
        ..manifest
    };
    let schedule = Schedule::new(&key, &manifest.fingerprint().unwrap(), manifest.epoch);
    manifest.homophone_table = homophones.seal(&schedule, &manifest).unwrap();
    (key, manifest)
}

pub(crate) fn write(dir: &Path, name: &str, value: &Value) {
    std::fs::write(dir.join(name), value.to_string()).unwrap();
}

/// A JSON file, by its path from this crate.
pub(crate) fn golden(path: impl AsRef<Path>) -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

/// Ids 0 to 255 are the bytes, then three special tokens.
fn tokenizer() -> Value {
    let vocab: Map<String, Value> = (0..=255u8)
        .map(|byte| (letter(byte).to_string(), json!(byte)))
        .collect();
    let special: Vec<Value> = ["<|im_start|>", "<|im_end|>", "<|endoftext|>"]
        .iter()
        .enumerate()
        .map(|(i, text)| {
            json!({"id": 256 + i, "content": text, "special": true, "single_word": false,
                "lstrip": false, "rstrip": false, "normalized": false})
        })
        .collect();
    let bytes = json!({
        "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true,
    });
    json!({
        "version": "1.0",
        "truncation": {
            "direction": "Right", "max_length": 4, "strategy": "LongestFirst", "stride": 0,
        },
        "padding": null,
        "added_tokens": special,
        "normalizer": null,
        "pre_tokenizer": bytes,
        "post_processor": null,
        "decoder": bytes,
        "model": {"type": "BPE", "vocab": vocab, "merges": []},
    })
}

/// GPT-2's letter for a byte: itself if printable, else the next one from U+0100 on.
fn letter(byte: u8) -> char {
    let printable = |byte: &u8| matches!(byte, 33..=126 | 161..=172 | 174..=255);
    if printable(&byte) {
        return char::from(byte);
    }
    let rank = (0..byte).filter(|byte| !printable(byte)).count();
    char::from_u32(256 + rank as u32).unwrap()
}
