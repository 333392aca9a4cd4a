//! A random model that one can talk to: one token a letter.

use std::path::Path;

use equicrypt_checkpoint::{CheckpointWriter, Dtype, TensorHeader, write_json};
use equicrypt_spec::ModelConfig;
use serde_json::{Map, Value, json};

use crate::support::{self, GQA};

/// Long enough that an answer is still running when a client leaves.
pub const CONTEXT: usize = 4096;

/// Writes the model: weights, tokenizer, and a chat template that adds nothing to the messages.
pub fn write(dir: &Path, seed: u64) {
    let mut config = GQA.config();
    config["max_position_embeddings"] = json!(CONTEXT);
    support::random_model(dir, &config, Dtype::F32, seed);
    write_json(&dir.join("tokenizer.json"), &tokenizer()).unwrap();
    let template = "{% for message in messages %}{{ message['content'] }}{% endfor %}";
    let config = json!({ "chat_template": template, "eos_token": "</s>", "bos_token": "<s>" });
    write_json(&dir.join("tokenizer_config.json"), &config).unwrap();
}

/// 50 MB of weights that take no room on the disk, because all of them are zero.
pub fn write_large(dir: &Path) {
    let config = json!({
        "model_type": "llama", "vocab_size": 61, "hidden_size": 512, "intermediate_size": 2048,
        "num_hidden_layers": 3, "num_attention_heads": 8, "head_dim": 64, "rms_norm_eps": 1e-5,
    });
    std::fs::create_dir(dir).unwrap();
    let parsed = ModelConfig::from_json(&config).unwrap();
    let specs = parsed.architecture.tensors(&parsed);
    let headers: Vec<_> = specs
        .iter()
        .map(|t| TensorHeader::new(&t.name, Dtype::F32, &t.shape))
        .collect();
    // Not finished: `finish` would insist on data, and the files have their lengths already.
    CheckpointWriter::create(dir, &headers).unwrap();
    write_json(&dir.join("config.json"), &config).unwrap();
}

/// The plain model's greedy answer to `question`, from its logits in f64: what `ask` must print.
pub fn answer(dir: &Path, question: &str, max_tokens: usize) -> String {
    let prompt: Vec<u32> = question.chars().map(id).collect();
    let mut ids = prompt.clone();
    while ids.len() < prompt.len() + max_tokens {
        let logits = support::logits(dir, &ids).pop().unwrap();
        let best = (0..logits.len()).max_by(|a, b| logits[*a].total_cmp(&logits[*b]));
        match best.unwrap() as u32 {
            END => break,
            next => ids.push(next),
        }
    }
    let letter = |id: &u32| {
        LETTERS
            .chars()
            .nth((*id as usize).checked_sub(SPECIAL.len())?)
    };
    ids[prompt.len()..].iter().filter_map(letter).collect()
}

fn id(letter: char) -> u32 {
    let place = LETTERS.chars().position(|known| known == letter);
    (place.unwrap() + SPECIAL.len()) as u32
}

/// `tokenizer.json`: byte-pair encoding without a single merge.
fn tokenizer() -> Value {
    let letters = LETTERS.chars().map(String::from);
    let pieces = SPECIAL.map(String::from).into_iter().chain(letters);
    let vocab: Map<String, Value> = pieces.zip((0..).map(|id: u32| json!(id))).collect();
    let special = SPECIAL.iter().enumerate().map(|(id, text)| {
        json!({
            "id": id, "content": text, "special": true, "single_word": false, "lstrip": false,
            "rstrip": false, "normalized": false,
        })
    });
    json!({
        "version": "1.0", "truncation": null, "padding": null,
        "added_tokens": special.collect::<Vec<_>>(), "normalizer": null, "pre_tokenizer": null,
        "post_processor": null, "decoder": { "type": "Fuse" },
        "model": {
            "type": "BPE", "dropout": null, "unk_token": SPECIAL[0], "fuse_unk": false,
            "continuing_subword_prefix": null, "end_of_word_suffix": null, "byte_fallback": false,
            "vocab": vocab, "merges": [],
        },
    })
}

const SPECIAL: [&str; 3] = ["<unk>", "<s>", "</s>"];
const END: u32 = 2;
/// With the special ones 61.
const LETTERS: &str = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ \n.,?!";
