use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use serde_json::{Value, json};

use super::*;
use crate::encoder::fixture::{folder as encoder_folder, set};

fn settings_of(tokenizer: &Value, settings: &Value) -> (Made, Value) {
    let source = folder(tokenizer, settings);
    let made = Made::of(source.path(), &vocabulary(7));
    let settings = made.json("tokenizer_config.json");
    (made, settings)
}

#[test]
fn fields_with_ids_get_cipher_ids_and_the_rest_stays() {
    let entry = |content: &str| json!({"content": content, "special": true, "lstrip": false});
    let (made, settings) = settings_of(
        &bpe(),
        &json!({
            "tokenizer_class": "LlamaTokenizerFast", "auto_map": {"AutoTokenizer": [null, "x.Y"]},
            "vocab_file": "vocab.json", "name_or_path": "some/model", "from_slow": true,
            "bos_token": "<s>", "eos_token": entry("</s>"), "unk_token": null,
            "additional_special_tokens": ["<s>", entry("</s>")],
            "image_token_id": 7, "stop_token_ids": [2, 1], "pad_token_type_id": 0,
            "added_tokens_decoder": {"2": entry("</s>"), "77": entry("<tool>")},
            "chat_template": "{{ messages }}", "model_max_length": 1e30,
        }),
    );
    assert_eq!(settings["tokenizer_class"], "PreTrainedTokenizerFast");
    for gone in ["auto_map", "vocab_file", "name_or_path", "from_slow"] {
        assert!(settings.get(gone).is_none(), "{gone}");
    }
    assert_eq!(settings["image_token_id"], json!(made.id(7)));
    assert_eq!(settings["stop_token_ids"], json!([made.id(2), made.id(1)]));
    assert_eq!(settings["pad_token_type_id"], 0);
    let by_id = settings["added_tokens_decoder"].as_object().unwrap();
    assert_eq!(by_id.len(), 2);
    assert_eq!(by_id[&made.id(2).to_string()], entry("</s>"));
    assert_eq!(
        by_id[&made.id(12).to_string()],
        entry("<tool>"),
        "not what the file says"
    );
    assert_eq!(settings["eos_token"], entry("</s>"));
    assert_eq!(settings["unk_token"], Value::Null, "null is not unnamed");
    assert_eq!(settings["chat_template"], "{{ messages }}");
    assert_eq!(
        settings["model_input_names"],
        json!(["input_ids", "attention_mask"])
    );
    assert_eq!(settings["model_max_length"].as_f64(), Some(1e30));
}

#[test]
fn what_the_original_class_adds_is_written_down() {
    let class = json!({"tokenizer_class": "BertTokenizer"});
    refused(&wordpiece(), &class);
    let mut bert = wordpiece();
    bert["normalizer"] = json!({
        "type": "BertNormalizer", "clean_text": true, "handle_chinese_chars": true,
        "strip_accents": null, "lowercase": true,
    });
    let (_, settings) = settings_of(&bert, &class);
    assert_eq!(settings["cls_token"], "[CLS]");
    assert_eq!(settings["pad_token"], "[PAD]");
    assert!(
        settings.get("mask_token").is_none(),
        "the tokenizer has none"
    );
    let inputs = json!(["input_ids", "token_type_ids", "attention_mask"]);
    assert_eq!(settings["model_input_names"], inputs);

    let (_, settings) = settings_of(
        &bpe(),
        &json!({"tokenizer_class": "PreTrainedTokenizerFast"}),
    );
    assert!(settings.get("model_input_names").is_none() && settings.get("bos_token").is_none());
    let own = json!({"tokenizer_class": "LlamaTokenizer", "model_input_names": ["input_ids"]});
    let (_, settings) = settings_of(&bpe(), &own);
    assert_eq!(settings["model_input_names"], json!(["input_ids"]));
    assert_eq!(settings["eos_token"], "</s>");
}

/// transformers makes BERT's normalizer of `tokenizer_config.json`, whatever `tokenizer.json` says.
#[test]
fn the_normalizer_is_the_one_that_the_original_has_in_transformers() {
    let source = encoder_folder("BertModel");
    for lower in [true, false] {
        set(
            source.path(),
            "tokenizer_config.json",
            "do_lower_case",
            json!(lower),
        );
        let key = MasterKey::from_bytes([7; 32]);
        let schedule = Schedule::new(&key, &[1; 32], 0);
        let made = Made::of(source.path(), &Vocabulary::derive(&schedule, 96, None));
        assert_eq!(
            made.json("tokenizer.json")["normalizer"]["lowercase"],
            lower
        );
    }
}

#[test]
fn files_beside_the_tokenizer_are_copied_if_they_hold_no_ids() {
    let source = folder(&bpe(), &json!({}));
    let dir = source.path();
    let map = json!({"eos_token": "</s>", "additional_special_tokens": ["<s>"]});
    write(dir, "special_tokens_map.json", &map);
    write(dir, "added_tokens.json", &json!({"<tool>": 77}));
    for plain in [
        "vocab.json",
        "merges.txt",
        "tokenizer.model",
        "generation_config.json",
    ] {
        fs::write(dir.join(plain), "{}").unwrap();
    }
    fs::write(dir.join("chat_template.jinja"), "{{ a }}").unwrap();
    fs::create_dir(dir.join("additional_chat_templates")).unwrap();
    fs::write(dir.join("additional_chat_templates/tools.jinja"), "{{ b }}").unwrap();
    let made = Made::of(dir, &vocabulary(7));
    let out = made.dir.path().join("made");
    assert_eq!(
        modes(&out),
        [
            ("SECRET-DO-NOT-UPLOAD.txt", 0o600),
            ("additional_chat_templates", 0o700),
            ("chat_template.jinja", 0o600),
            ("special_tokens_map.json", 0o600),
            ("tokenizer.json", 0o600),
            ("tokenizer_config.json", 0o600),
        ]
        .map(|(name, mode)| (name.to_owned(), mode))
    );
    let more = out.join("additional_chat_templates");
    assert_eq!(modes(&more), [("tools.jinja".to_owned(), 0o600)]);
    assert_eq!(fs::read(more.join("tools.jinja")).unwrap(), b"{{ b }}");
    assert_eq!(
        fs::read(out.join("chat_template.jinja")).unwrap(),
        b"{{ a }}"
    );
    assert_eq!(made.json("special_tokens_map.json"), map);
    let notice = fs::read_to_string(out.join("SECRET-DO-NOT-UPLOAD.txt")).unwrap();
    assert!(notice.contains("secret") && notice.contains("Do not upload"));
    let mode = fs::metadata(&out).unwrap().permissions().mode();
    assert_eq!(mode & 0o7777, 0o700);
}

fn modes(dir: &Path) -> Vec<(String, u32)> {
    let entries = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap());
    let mut modes: Vec<_> = entries
        .map(|entry| {
            let mode = entry.metadata().unwrap().permissions().mode() & 0o7777;
            (entry.file_name().into_string().unwrap(), mode)
        })
        .collect();
    modes.sort();
    modes
}
