//! The dummy tokenizer of an encrypted folder: stock servers want one, and this one carries nothing but the number of ids.

use equicrypt_spec::ModelConfig;
use serde_json::{Map, Value, json};

/// `tokenizer.json` with the pieces t0 ... t{size-1}, in a word-level model that splits at spaces.
pub(crate) fn dummy_tokenizer(size: usize) -> String {
    let vocab: Map<String, Value> = (0..size).map(|id| (format!("t{id}"), json!(id))).collect();
    json!({
        "version": "1.0",
        "truncation": null,
        "padding": null,
        "added_tokens": [],
        "normalizer": null,
        "pre_tokenizer": { "type": "WhitespaceSplit" },
        "post_processor": null,
        "decoder": null,
        "model": { "type": "WordLevel", "vocab": vocab, "unk_token": "t0" },
    })
    .to_string()
}

/// `tokenizer_config.json`: without it, engines choose a tokenizer class from the architecture, and add ids of their own.
/// For encoders it names a piece to pad with, because sentence-transformers pads every batch; what pads is masked, so that
/// any piece will do but for models that count positions from a certain one.
pub(crate) fn dummy_tokenizer_config(config: &ModelConfig) -> String {
    let mut json = json!({
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": config.exact_context(),
        "clean_up_tokenization_spaces": false,
    });
    if config.task.is_of_encoder() {
        json["pad_token"] = json!(format!("t{}", config.uncounted_id().unwrap_or(0)));
    }
    json.to_string()
}
