//! Folders of small encoders made in the test: the WordPiece tokenizer of `tests/golden/wordpiece`
//! under a configuration without weights.

use std::path::Path;

use serde_json::{Value, json};

use crate::fixture::{golden, write};

/// Rows of the embedding: a few more than the tokenizer has pieces.
pub(crate) const VOCAB: usize = 96;

/// A BERT of this class, whose tokenizer is set up as usual.
pub(crate) fn folder(class: &str) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(WORDPIECE);
    std::fs::copy(
        path.join("tokenizer.json"),
        dir.path().join("tokenizer.json"),
    )
    .unwrap();
    let cases = golden(format!("{WORDPIECE}/cases.json"));
    write(
        dir.path(),
        "tokenizer_config.json",
        &cases["variants"][0]["tokenizer_config"],
    );
    write(
        dir.path(),
        "config.json",
        &json!({
            "model_type": "bert", "architectures": [class], "vocab_size": VOCAB, "hidden_size": 8,
            "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 12,
            "max_position_embeddings": 64, "type_vocab_size": 2,
        }),
    );
    dir
}

/// A sentence-transformers folder that reads 16 tokens.
pub(crate) fn sentence_folder() -> tempfile::TempDir {
    let dir = folder("BertModel");
    let module = |idx: usize, name: &str, path: &str| {
        json!({"idx": idx, "name": idx.to_string(), "path": path,
            "type": format!("sentence_transformers.models.{name}")})
    };
    let modules = [
        module(0, "Transformer", ""),
        module(1, "Pooling", "1_Pooling"),
        module(2, "Normalize", "2_Normalize"),
    ];
    write(dir.path(), "modules.json", &json!(modules));
    std::fs::create_dir(dir.path().join("1_Pooling")).unwrap();
    let pooling = json!({"word_embedding_dimension": 8, "pooling_mode_mean_tokens": true});
    write(dir.path(), "1_Pooling/config.json", &pooling);
    let transformer = json!({"max_seq_length": 16, "do_lower_case": false});
    write(dir.path(), "sentence_bert_config.json", &transformer);
    dir
}

/// Changes a field of a JSON file.
pub(crate) fn set(dir: &Path, file: &str, field: &str, value: Value) {
    let path = dir.join(file);
    let mut content = match path.exists() {
        true => golden(&path),
        false => json!({}),
    };
    content[field] = value;
    write(dir, file, &content);
}

pub(crate) const WORDPIECE: &str = "../../tests/golden/wordpiece";
