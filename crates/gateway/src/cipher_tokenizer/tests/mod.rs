//! Folders of small tokenizers of every kind, and what becomes of them.

mod kinds;
mod refusals;
mod settings;

use std::path::Path;

use equicrypt_cipher::{MasterKey, Schedule, Vocabulary};
use serde_json::{Map, Value, json};
use tempfile::TempDir;
use tokenizers::Tokenizer;

use super::CipherTokenizer;
use super::ids::Ids;
use crate::Error;
use crate::fixture::{golden, write};

/// Rows of the embedding: more than any of the tokenizers has tokens.
const ROWS: usize = 300;

fn vocabulary(byte: u8) -> Vocabulary {
    let key = MasterKey::from_bytes([byte; 32]);
    Vocabulary::derive(&Schedule::new(&key, &[1; 32], 0), ROWS, None)
}

/// A model's folder with this tokenizer and this `tokenizer_config.json`, without weights.
fn folder(tokenizer: &Value, settings: &Value) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), "tokenizer.json", tokenizer);
    write(dir.path(), "tokenizer_config.json", settings);
    let config = json!({
        "model_type": "llama", "vocab_size": ROWS, "hidden_size": 8, "num_hidden_layers": 1,
        "num_attention_heads": 2, "intermediate_size": 12, "max_position_embeddings": 64,
    });
    write(dir.path(), "config.json", &config);
    dir
}

/// The cipher tokenizer of a folder.
struct Made {
    dir: TempDir,
    ids: Ids,
}

impl Made {
    fn of(source: &Path, vocabulary: &Vocabulary) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let made = CipherTokenizer::under(source, vocabulary).unwrap();
        made.write(&dir.path().join("made")).unwrap();
        let ids = Ids::new(vocabulary).unwrap();
        Self { dir, ids }
    }

    fn json(&self, name: &str) -> Value {
        golden(self.dir.path().join("made").join(name))
    }

    fn tokenizer(&self) -> Tokenizer {
        Tokenizer::from_file(self.dir.path().join("made/tokenizer.json")).unwrap()
    }

    fn id(&self, plain: u32) -> u32 {
        self.ids.of(plain).unwrap()
    }
}

fn refused(tokenizer: &Value, settings: &Value) -> Error {
    let source = folder(tokenizer, settings);
    let made = CipherTokenizer::under(source.path(), &vocabulary(7));
    made.err().expect("made")
}

fn tokenizer(model: Value, added: &[Value], rest: Value) -> Value {
    let mut json = json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": added,
        "normalizer": null, "pre_tokenizer": null, "post_processor": null, "decoder": null,
        "model": model,
    });
    for (name, value) in rest.as_object().unwrap() {
        json[name] = value.clone();
    }
    json
}

fn added(id: u32, content: &str, special: bool) -> Value {
    json!({
        "id": id, "content": content, "special": special, "single_word": false, "lstrip": false,
        "rstrip": false, "normalized": false,
    })
}

/// Token to number, from 0.
fn numbered<'a>(tokens: impl IntoIterator<Item = &'a str>) -> Map<String, Value> {
    let tokens = tokens.into_iter().zip(0u32..);
    tokens
        .map(|(token, id)| (token.to_owned(), json!(id)))
        .collect()
}

/// Byte pairs with merges; the special tokens are in the vocabulary, another added token is not,
/// and the file states a wrong id for it.
fn bpe() -> Value {
    let tokens = [
        "<unk>",
        "<s>",
        "</s>",
        "a",
        "b",
        "c",
        "\u{2581}",
        "ab",
        "abc",
        "\u{2581}ab",
        "<0x41>",
        "é",
    ];
    let merges = [["a", "b"], ["ab", "c"], ["\u{2581}", "ab"]];
    tokenizer(
        json!({
            "type": "BPE", "dropout": null, "unk_token": "<unk>", "fuse_unk": true,
            "continuing_subword_prefix": null, "end_of_word_suffix": null, "byte_fallback": true,
            "vocab": numbered(tokens), "merges": merges,
        }),
        &[
            added(0, "<unk>", true),
            added(1, "<s>", true),
            added(2, "</s>", true),
            added(77, "<tool>", false),
        ],
        json!({
            "normalizer": {"type": "Replace", "pattern": {"String": " "}, "content": "\u{2581}"},
            "decoder": {"type": "Sequence", "decoders": [
                {"type": "Replace", "pattern": {"String": "\u{2581}"}, "content": " "},
                {"type": "ByteFallback"}, {"type": "Fuse"},
            ]},
            "post_processor": {"type": "Sequence", "processors": [
                {"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true},
                {"type": "TemplateProcessing",
                    "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}},
                        {"Sequence": {"id": "A", "type_id": 0}}],
                    "pair": [{"Sequence": {"id": "A", "type_id": 0}},
                        {"SpecialToken": {"id": "</s>", "type_id": 0}},
                        {"Sequence": {"id": "B", "type_id": 1}}],
                    "special_tokens": {
                        "<s>": {"id": "<s>", "ids": [1, 7], "tokens": ["<s>", "ab"]},
                        "</s>": {"id": "</s>", "ids": [2], "tokens": ["</s>"]}}},
            ]},
            "padding": {"strategy": {"Fixed": 9}, "direction": "Right", "pad_to_multiple_of": null,
                "pad_id": 2, "pad_type_id": 0, "pad_token": "</s>"},
            "truncation": {"direction": "Right", "max_length": 60, "strategy": "LongestFirst",
                "stride": 0},
        }),
    )
}

fn wordpiece() -> Value {
    let tokens = [
        "[PAD]", "[UNK]", "[CLS]", "[SEP]", "a", "b", "##a", "##b", "ab", "##c", ".", "é",
    ];
    tokenizer(
        json!({
            "type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##",
            "max_input_chars_per_word": 20, "vocab": numbered(tokens),
        }),
        &[
            added(0, "[PAD]", true),
            added(1, "[UNK]", true),
            added(2, "[CLS]", true),
            added(3, "[SEP]", true),
            added(12, "[NEW]", true),
        ],
        json!({
            "pre_tokenizer": {"type": "BertPreTokenizer"},
            "decoder": {"type": "WordPiece", "prefix": "##", "cleanup": true},
            "post_processor": {"type": "BertProcessing", "sep": ["[SEP]", 3], "cls": ["[CLS]", 2]},
        }),
    )
}

/// With more ids than tokens in between.
fn word_level() -> Value {
    let mut vocab = numbered(["<unk>", "a", "b", "ab", "é"]);
    vocab.insert("c".into(), json!(290));
    tokenizer(
        json!({"type": "WordLevel", "unk_token": "<unk>", "vocab": vocab}),
        &[added(0, "<unk>", true), added(6, "<x>", true)],
        json!({"pre_tokenizer": {"type": "Whitespace"}}),
    )
}

/// Pieces and scores, whose numbers are the hardest to write down exactly.
fn unigram() -> Value {
    let mut pieces = vec![
        json!(["<s>", 0.0]),
        json!(["</s>", 0.0]),
        json!(["<unk>", 0.0]),
        json!(["\u{2581}", -2.012_345_678_901_234_5]),
    ];
    for (number, piece) in ["a", "b", "ab", "ba", "aa", "\u{2581}a", "c", "abc"]
        .iter()
        .enumerate()
    {
        pieces.push(json!([piece, -1.0 - (number as f64).sqrt() / 3.0]));
    }
    tokenizer(
        json!({"type": "Unigram", "unk_id": 2, "vocab": pieces, "byte_fallback": false}),
        &[
            added(0, "<s>", true),
            added(1, "</s>", true),
            added(12, "<unk>", true),
        ],
        json!({
            "pre_tokenizer": {"type": "Metaspace", "replacement": "\u{2581}",
                "prepend_scheme": "always", "split": true},
            "decoder": {"type": "Metaspace", "replacement": "\u{2581}",
                "prepend_scheme": "always", "split": true},
            "post_processor": {"type": "RobertaProcessing", "sep": ["</s>", 1], "cls": ["<s>", 0],
                "trim_offsets": true, "add_prefix_space": true},
        }),
    )
}
