//! What a folder says, and which folders are refused.

use equicrypt_spec::{LabelActivation, MANIFEST_FILE, Task};
use serde_json::json;

use crate::encoder::fixture::{folder, sentence_folder, set};
use crate::fixture::write;
use crate::{EncoderOwner, Error, Long};

#[test]
fn the_length_is_the_first_that_a_file_states_and_never_above_the_positions() {
    let length = |changes: &[(&str, &str, serde_json::Value)]| {
        let dir = sentence_folder();
        for (file, field, value) in changes {
            set(dir.path(), file, field, value.clone());
        }
        EncoderOwner::open(dir.path()).unwrap().max_tokens()
    };
    let sentence = |value| ("sentence_bert_config.json", "max_seq_length", value);
    let tokenizer = |value| ("tokenizer_config.json", "model_max_length", value);
    assert_eq!(length(&[]), 16);
    assert_eq!(length(&[sentence(json!(1000))]), 64);
    assert_eq!(length(&[sentence(json!(null)), tokenizer(json!(20))]), 20);
    assert_eq!(length(&[sentence(json!(null)), tokenizer(json!(1e30))]), 64);
    assert_eq!(length(&[sentence(json!(null)), tokenizer(json!(null))]), 64);
}

#[test]
fn older_names_of_the_same_file_are_read() {
    let dir = sentence_folder();
    let from = dir.path().join("sentence_bert_config.json");
    std::fs::rename(from, dir.path().join("sentence_xlm-roberta_config.json")).unwrap();
    assert_eq!(EncoderOwner::open(dir.path()).unwrap().max_tokens(), 16);
}

#[test]
fn prompts_are_those_of_the_file() {
    let dir = sentence_folder();
    let file = "config_sentence_transformers.json";
    let owner = || EncoderOwner::open(dir.path()).unwrap();
    assert_eq!(owner().prompt(None).unwrap(), "");
    set(
        dir.path(),
        file,
        "prompts",
        json!({"query": "find: ", "document": ""}),
    );
    assert_eq!(owner().prompt(None).unwrap(), "");
    assert_eq!(owner().prompt(Some("query")).unwrap(), "find: ");
    assert_eq!(owner().prompt(Some("document")).unwrap(), "");
    let message = owner().prompt(Some("other")).unwrap_err().to_string();
    assert!(message.contains("document, query"), "{message}");
    set(dir.path(), file, "default_prompt_name", json!("query"));
    assert_eq!(owner().prompt(None).unwrap(), "find: ");
    assert_eq!(owner().prompt(Some("document")).unwrap(), "");
    set(
        dir.path(),
        "1_Pooling/config.json",
        "include_prompt",
        json!(false),
    );
    let message = owner().prompt(None).unwrap_err().to_string();
    assert!(message.contains("include_prompt"), "{message}");
    assert_eq!(owner().prompt(Some("document")).unwrap(), "");
}

#[test]
fn labels_and_the_way_to_scores_are_read() {
    let dir = folder("BertForSequenceClassification");
    set(
        dir.path(),
        "config.json",
        "id2label",
        json!({"1": "good", "0": "bad"}),
    );
    let owner = EncoderOwner::open(dir.path()).unwrap();
    assert_eq!(owner.labels(), ["bad", "good"]);
    assert_eq!(owner.config().task, Task::SequenceLabels);
    set(
        dir.path(),
        "config.json",
        "id2label",
        json!({"0": "LABEL_0"}),
    );
    let owner = EncoderOwner::open(dir.path()).unwrap();
    assert_eq!(owner.relevance(), LabelActivation::Logistic);
    assert!(sentence().labels().is_empty());
}

fn sentence() -> EncoderOwner {
    EncoderOwner::open(sentence_folder().path()).unwrap()
}

#[test]
fn the_mask_is_found_where_it_is_named() {
    let dir = folder("BertForMaskedLM");
    let owner = || EncoderOwner::open(dir.path()).unwrap();
    assert_eq!(owner().mask().unwrap(), ("[MASK]", 4));
    set(
        dir.path(),
        "tokenizer_config.json",
        "mask_token",
        json!(null),
    );
    let message = owner().mask().unwrap_err().to_string();
    assert!(message.contains("mask_token"), "{message}");
    let map = json!({"mask_token": {"content": "[MASK]", "lstrip": true}});
    write(dir.path(), "special_tokens_map.json", &map);
    assert_eq!(owner().mask().unwrap(), ("[MASK]", 4));
}

#[test]
fn what_would_not_be_done_is_refused_by_name() {
    let own = "config_sentence_transformers.json";
    for (file, field, value, named) in [
        ("config.json", "vocab_size", json!(70), "vocab_size"),
        (
            "config.json",
            "max_position_embeddings",
            json!(3),
            "special tokens",
        ),
        (
            "tokenizer.json",
            "post_processor",
            json!(null),
            "special tokens",
        ),
        (
            "tokenizer.json",
            "normalizer",
            json!({"type": "NFC"}),
            "normalizer",
        ),
        (
            "tokenizer_config.json",
            "truncation_side",
            json!("top"),
            "truncation_side",
        ),
        (
            "sentence_bert_config.json",
            "max_seq_length",
            json!("16"),
            "max_seq_length",
        ),
        (
            "sentence_bert_config.json",
            "do_lower_case",
            json!(1),
            "do_lower_case",
        ),
        (
            "sentence_bert_config.json",
            "module_output_name",
            json!("x"),
            "module_output_name",
        ),
        (own, "model_type", json!("SparseEncoder"), "SparseEncoder"),
        (own, "prompts", json!({"query": 1}), "prompts"),
        (own, "truncate_dim", json!(0), "truncate_dim"),
    ] {
        let dir = sentence_folder();
        set(dir.path(), file, field, value);
        let message = EncoderOwner::open(dir.path()).err().unwrap().to_string();
        assert!(message.contains(named), "{field}: {message}");
    }
}

#[test]
fn decoders_encrypted_folders_and_torn_ones_are_refused() {
    let dir = crate::fixture::folder();
    let error = EncoderOwner::open(dir.path()).err().unwrap();
    assert!(matches!(error, Error::NotAnEncoder { .. }), "{error}");
    let dir = sentence_folder();
    write(dir.path(), MANIFEST_FILE, &json!({}));
    let error = EncoderOwner::open(dir.path()).err().unwrap();
    assert!(matches!(error, Error::EncryptedFolder { .. }), "{error}");
    for file in ["config.json", "tokenizer.json", "1_Pooling/config.json"] {
        let dir = sentence_folder();
        for content in [None, Some("{"), Some("[]")] {
            match content {
                None => std::fs::remove_file(dir.path().join(file)).unwrap(),
                Some(content) => std::fs::write(dir.path().join(file), content).unwrap(),
            }
            let message = EncoderOwner::open(dir.path()).err().unwrap().to_string();
            assert!(message.contains(file), "{message}");
        }
    }
}

#[test]
fn a_text_of_special_tokens_only_is_a_text() {
    let owner = sentence();
    for text in ["", "  \n"] {
        assert_eq!(owner.encode(text, Long::Refuse).unwrap().ids(), [2, 3]);
    }
    assert_eq!(
        owner.encode("[SEP][SEP]", Long::Refuse).unwrap().ids(),
        [2, 3, 3, 3]
    );
}

/// Where the tokenizer adds nothing around a text, an empty one has nothing to send.
#[test]
fn a_text_without_tokens_is_refused() {
    let dir = sentence_folder();
    set(
        dir.path(),
        "tokenizer_config.json",
        "tokenizer_class",
        json!("PreTrainedTokenizerFast"),
    );
    set(dir.path(), "tokenizer.json", "post_processor", json!(null));
    let owner = EncoderOwner::open(dir.path()).unwrap();
    assert!(matches!(
        owner.encode("", Long::Refuse),
        Err(Error::EmptyText)
    ));
    let pair = owner.encode_pair("the", "cat", Long::Refuse).unwrap();
    assert_eq!((pair.ids(), pair.token_types()), (&[5, 7][..], &[0, 1][..]));
}
