use std::fs;

use equicrypt_spec::{FORMAT_VERSION, Manifest, Profile};
use serde_json::{Value, json};

use super::*;
use crate::belongs::hex;
use crate::fixture::{VOCAB, folder as decoder_folder};

fn key() -> MasterKey {
    MasterKey::from_bytes([7; 32])
}

fn manifest() -> Manifest {
    Manifest {
        format_version: FORMAT_VERSION,
        key_id: key().id(),
        epoch: 3,
        weights_epoch: None,
        profile: Profile::Permute,
        architecture: "llama".into(),
        source_fingerprint: hex(&[1; 32]),
        vocab_size: VOCAB,
        plain_vocab_size: VOCAB,
        dtype: "BF16".into(),
        kept_id: None,
        rotates_output: false,
        noise: 0.0,
        homophone_table: None,
    }
}

fn changed(change: impl FnOnce(&mut Manifest)) -> Manifest {
    let mut manifest = manifest();
    change(&mut manifest);
    manifest
}

#[test]
fn the_vocabulary_is_the_manifests() {
    let source = decoder_folder();
    let made = CipherTokenizer::open(source.path(), &key(), Some(&manifest())).unwrap();
    let out = tempfile::tempdir().unwrap();
    made.write(&out.path().join("made")).unwrap();
    let cipher = Tokenizer::from_file(out.path().join("made/tokenizer.json")).unwrap();
    let vocabulary = Vocabulary::open(&key(), &manifest()).unwrap();
    let ids = vocabulary.encrypt(&[97, 98, 257]).unwrap();
    let found = cipher.encode("ab<|im_end|>", false).unwrap();
    assert_eq!(&found.get_ids()[..3], ids.as_slice());
    assert_eq!(made.tokens(), 259);
}

#[test]
fn what_does_not_belong_together_makes_no_tokenizer() {
    let source = decoder_folder();
    for (manifest, words) in [
        (
            changed(|m| m.key_id = MasterKey::from_bytes([8; 32]).id()),
            "wrong key",
        ),
        (changed(|m| m.vocab_size += 5), "269 cipher ids for 264"),
        (changed(|m| m.architecture = "qwen3".into()), "architecture"),
        (changed(|m| m.plain_vocab_size -= 1), "plain_vocab_size"),
        (changed(|m| m.kept_id = Some(1)), "kept_id"),
    ] {
        let made = CipherTokenizer::open(source.path(), &key(), Some(&manifest));
        let message = made.err().unwrap().to_string();
        assert!(message.contains(words), "{message}");
    }
    let made = CipherTokenizer::open(source.path(), &key(), None);
    assert!(made.is_err(), "no weights, and so no fingerprint");
    write(source.path(), "equicrypt.json", &json!({}));
    let made = CipherTokenizer::open(source.path(), &key(), Some(&manifest()));
    assert!(matches!(made.err(), Some(Error::EncryptedFolder { .. })));
}

#[test]
fn a_secret_is_not_put_where_the_host_gets_it_nor_over_something() {
    let source = decoder_folder();
    let made = CipherTokenizer::open(source.path(), &key(), Some(&manifest())).unwrap();
    let parent = tempfile::tempdir().unwrap();
    fs::create_dir(parent.path().join("there")).unwrap();
    let message = made
        .write(&parent.path().join("there"))
        .unwrap_err()
        .to_string();
    assert!(message.contains("exists"), "{message}");
    write(parent.path(), "equicrypt.json", &json!({}));
    let error = made.write(&parent.path().join("made")).unwrap_err();
    assert!(
        matches!(error, Error::SecretBesideWeights { .. }),
        "{error}"
    );
    assert_eq!(fs::read_dir(parent.path()).unwrap().count(), 2);
}

fn with(mut json: Value, pointer: &str, value: Value) -> Value {
    *json.pointer_mut(pointer).unwrap() = value;
    json
}

#[test]
fn tokenizers_with_ids_that_the_model_does_not_have_are_refused() {
    let far = json!(ROWS);
    let template = "/post_processor/processors/1/special_tokens/<s>/ids";
    for (json, words) in [
        (with(bpe(), "/model/vocab/é", far.clone()), "vocab_size"),
        (with(bpe(), "/padding/pad_id", far.clone()), "pad_id"),
        (with(bpe(), template, json!([1, ROWS])), "post_processor"),
        (
            with(wordpiece(), "/post_processor/sep", json!(["[SEP]", ROWS])),
            "post_processor",
        ),
    ] {
        let message = refused(&json, &json!({})).to_string();
        assert!(message.contains(words), "{message}");
        assert!(!message.contains("é"), "{message}");
    }
}

#[test]
fn tokenizers_that_would_not_stay_the_same_are_refused() {
    let mut twice = unigram();
    twice["model"]["vocab"][5] = json!(["a", -9.0]);
    let message = refused(&twice, &json!({})).to_string();
    assert!(
        message.contains("twice") && message.contains("tokenizer.json"),
        "{message}"
    );

    // The model would make the token of "＜ｘ＞" once it has it, which the library does not find.
    let mut reachable = word_level();
    reachable["normalizer"] = json!({"type": "NFKC"});
    reachable["pre_tokenizer"] = json!({"type": "WhitespaceSplit"});
    let message = refused(&reachable, &json!({})).to_string();
    assert!(message.contains("added_tokens"), "{message}");

    // Continues words, once the model has it.
    let mut continuing = wordpiece();
    continuing["added_tokens"][4] = added(12, "##x", false);
    let message = refused(&continuing, &json!({})).to_string();
    assert!(message.contains("added_tokens"), "{message}");

    // Found in every text that has it: the model never sees it.
    let mut found = wordpiece();
    found["added_tokens"][4] = added(12, "covid", false);
    Made::of(folder(&found, &json!({})).path(), &vocabulary(7));
    found["added_tokens"][4]["single_word"] = json!(true);
    let message = refused(&found, &json!({})).to_string();
    assert!(message.contains("added_tokens"), "{message}");
}

/// transformers would give such a token the next number, which is another token's cipher id.
#[test]
fn special_tokens_that_are_no_tokens_are_refused() {
    let strange = json!({"content": "<strange>", "special": true});
    for settings in [
        json!({"pad_token": "<strange>"}),
        json!({"pad_token": strange}),
        json!({"image_token": "<strange>"}),
        json!({"additional_special_tokens": ["<s>", "<strange>"]}),
        json!({"extra_special_tokens": {"image": "<strange>"}}),
        json!({"added_tokens_decoder": {"3": strange}}),
        json!({"image_token_id": ROWS}),
    ] {
        let error = refused(&bpe(), &settings);
        assert!(matches!(error, Error::Field { .. }), "{error}");
        let message = error.to_string();
        assert!(message.contains("tokenizer_config.json"), "{message}");
    }
    for (name, content) in [
        ("special_tokens_map.json", json!({"pad_token": "<strange>"})),
        ("added_tokens.json", json!({"<strange>": 12})),
    ] {
        let source = folder(&bpe(), &json!({}));
        write(source.path(), name, &content);
        let made = CipherTokenizer::under(source.path(), &vocabulary(7));
        let message = made.err().unwrap().to_string();
        assert!(message.contains(name), "{message}");
    }
}

#[test]
fn files_that_are_no_tokenizers_are_named() {
    for json in [
        json!({}),
        json!({"model": {}}),
        with(bpe(), "/model/vocab", json!([1, 2])),
        with(bpe(), "/model/type", json!("Letters")),
        with(bpe(), "/post_processor", json!({"type": "Unheard"})),
        with(unigram(), "/model/vocab", json!([["a", "b"]])),
        with(unigram(), "/model/unk_id", json!(5000)),
    ] {
        let message = refused(&json, &json!({})).to_string();
        assert!(message.contains("tokenizer.json"), "{message}");
    }
}
