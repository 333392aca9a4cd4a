//! `equicrypt tokenizer`: the secret vocabulary as a Hugging Face tokenizer, which only its owner can read.

#![allow(clippy::unwrap_used, reason = "a test may fail")]

mod cli_support;
mod support;

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use cli_support::{Place, Ran, args, edit_json, entries, equicrypt, equicrypt_reading};
use serde_json::{Value, json};

#[test]
fn its_ids_are_the_ones_that_tokens_encrypt_makes() {
    let place = Place::new();
    let manifest = place.encrypted().join("equicrypt.json");
    let output = place.path("made/tokenizer");
    let ran = tokenizer(&place, &output, &["--manifest", manifest.to_str().unwrap()]);
    ran.says(&["SECRET", "made/tokenizer", "never give it to the host"]);

    let pieces = |path: &Path| -> Value {
        let json: Value = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
        json["model"]["vocab"].clone()
    };
    let plain = pieces(&place.model().join("tokenizer.json"));
    let cipher = pieces(&output.join("tokenizer.json"));
    let plain = plain.as_object().unwrap();
    assert_eq!(plain.len(), cipher.as_object().unwrap().len());
    let ids: Vec<&Value> = plain.values().collect();
    let ran = equicrypt_reading(
        &json!(ids).to_string(),
        args![
            "tokens",
            "encrypt",
            "--key",
            &place.key(),
            "--manifest",
            &manifest
        ],
    );
    let encrypted: Vec<u32> = serde_json::from_str(ran.succeeds().trim()).unwrap();
    for (piece, id) in plain.keys().zip(encrypted) {
        assert_eq!(cipher[piece], json!(id), "{piece:?}");
    }
}

#[test]
fn nobody_else_may_look_into_it() {
    let place = Place::new();
    let output = place.path("made/tokenizer");
    // Without a manifest, epoch 0 is taken, and said.
    tokenizer(&place, &output, &[]).says(&["no --manifest", "epoch 0"]);
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o7777;
    assert_eq!(mode(&output), 0o700);
    let names = entries(&output);
    assert_eq!(
        names,
        [
            "SECRET-DO-NOT-UPLOAD.txt",
            "tokenizer.json",
            "tokenizer_config.json"
        ]
    );
    for name in names {
        assert_eq!(mode(&output.join(&name)), 0o600, "{name}");
    }
}

#[test]
fn what_does_not_belong_together_leaves_nothing_behind() {
    let place = Place::new();
    let encrypted = place.encrypted();
    let manifest = encrypted.join("equicrypt.json");
    let output = place.path("made/tokenizer");
    let with = |key: &Path, model: &Path, manifest: &Path, words: &[&str]| {
        let ran = equicrypt(args![
            "tokenizer",
            model,
            "--key",
            key,
            "--manifest",
            manifest,
            "-o",
            &output
        ]);
        ran.fails_saying(words);
        place.holds_nothing_made();
    };
    with(&place.other_key(), &place.model(), &manifest, &["key"]);
    with(&place.key(), &encrypted, &manifest, &["original model"]);
    with(
        &place.key(),
        &place.path("nowhere"),
        &manifest,
        &["nowhere"],
    );
    with(
        &place.key(),
        &place.model(),
        &place.path("no.json"),
        &["no.json"],
    );
    let homophones = place.path("homophones.json");
    fs::copy(&manifest, &homophones).unwrap();
    edit_json(&homophones, |json| {
        json["vocab_size"] = json!(json["vocab_size"].as_u64().unwrap() + 8);
    });
    with(
        &place.key(),
        &place.model(),
        &homophones,
        &["tokenizer cannot choose"],
    );

    let inside = encrypted.join("tokenizer");
    let ran = equicrypt(args![
        "tokenizer",
        &place.model(),
        "--key",
        &place.key(),
        "-o",
        &inside
    ]);
    ran.fails_saying(&["inside an encrypted folder"]);
    assert!(!inside.exists());
}

#[test]
fn what_is_there_stays_as_it_is() {
    let place = Place::new();
    let output = place.path("made/tokenizer");
    fs::create_dir(&output).unwrap();
    fs::write(output.join("kept"), "kept").unwrap();
    let ran = equicrypt(args![
        "tokenizer",
        &place.model(),
        "--key",
        &place.key(),
        "-o",
        &output
    ]);
    ran.fails_saying(&["made/tokenizer", "exists"]);
    assert_eq!(entries(&output), ["kept"]);
}

fn tokenizer(place: &Place, output: &Path, more: &[&str]) -> Ran {
    let (model, key) = (place.model(), place.key());
    let args = args!["tokenizer", &model, "--key", &key, "-o", output];
    equicrypt(args.into_iter().chain(more.iter().map(OsStr::new)))
}
