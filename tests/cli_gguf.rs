//! `equicrypt encrypt --format gguf`, `export` and `encrypt --adapter` as processes.

#![allow(clippy::unwrap_used, reason = "a test may fail")]

mod cli_support;
mod support;

use std::fs;
use std::path::Path;

use cli_support::{Place, args, entries, equicrypt};
use equicrypt_checkpoint::gguf::{GgufFile, MetadataValue};
use equicrypt_checkpoint::{Checkpoint, MANIFEST_KEY, import_gguf};

const FORMATS: [&str; 5] = ["f32", "f16", "bf16", "q8_0", "q4_k"];

fn encrypt_to_gguf(place: &Place, more: &[&str]) -> cli_support::Ran {
    let (model, out, key) = (place.model(), place.out(), place.key());
    let fixed = args!["encrypt", &model, "-o", &out, "--key", &key];
    let more = more.iter().map(AsRef::as_ref);
    equicrypt(fixed.into_iter().chain(more))
}

fn text<'a>(file: &'a GgufFile, key: &str) -> &'a str {
    match file.value(key) {
        Some(MetadataValue::String(text)) => text,
        other => panic!("{key}: {other:?}"),
    }
}

#[test]
fn each_format_makes_a_file_and_the_manifest_that_stands_in_it() {
    for format in FORMATS {
        let place = Place::new();
        encrypt_to_gguf(&place, &["--format", "gguf", "--quantize", format]).succeeds();
        assert_eq!(entries(&place.path("made")), ["encrypted"]);
        assert_eq!(entries(&place.out()), ["equicrypt.json", "model.gguf"]);
        let file = GgufFile::open(&place.out().join("model.gguf")).unwrap();
        let manifest = fs::read_to_string(place.out().join("equicrypt.json")).unwrap();
        assert_eq!(text(&file, MANIFEST_KEY), manifest);
        assert!(manifest.contains(&format.to_uppercase()), "{manifest}");
        let inspected = equicrypt(args!["inspect", &place.out(), "--json"]).succeeds_with_json();
        assert_eq!(inspected["tensors"], 21);
    }
}

/// What is written at once is what two steps write, and its weights are those of the encrypted folder.
#[test]
fn a_gguf_file_holds_the_encrypted_weights() {
    let place = Place::new();
    encrypt_to_gguf(&place, &["--format", "gguf", "--quantize", "f32"]).succeeds();
    let (folder, file) = (place.encrypted(), place.path("exported.gguf"));
    equicrypt(args!["export", &folder, "-o", &file, "--quantize", "f32"]).succeeds();
    let at_once = fs::read(place.out().join("model.gguf")).unwrap();
    assert!(fs::read(&file).unwrap() == at_once);

    let back = place.path("back");
    import_gguf(&file, &back, &mut |_, _| ()).unwrap();
    let (folder, back) = (
        Checkpoint::open(&folder).unwrap(),
        Checkpoint::open(&back).unwrap(),
    );
    for tensor in folder.tensors() {
        let (a, b) = (folder.read_f32(&tensor.name), back.read_f32(&tensor.name));
        let near = |(a, b): (&f32, &f32)| (a - b).abs() <= a.abs() / 128.0;
        assert!(
            a.unwrap().iter().zip(&b.unwrap()).all(near),
            "{}",
            tensor.name
        );
    }
}

#[test]
fn nothing_of_the_original_stands_in_the_file() {
    let place = Place::new();
    encrypt_to_gguf(&place, &["--format", "gguf"]).succeeds();
    let bytes = fs::read(place.out().join("model.gguf")).unwrap();
    let holds = |word: &str| {
        bytes
            .windows(word.len())
            .any(|part| part == word.as_bytes())
    };
    for word in ["<|im_start|>", "chat_template", "general.name", "Ġ"] {
        assert!(!holds(word), "{word}");
    }
    assert!(holds("t0 "));
}

#[test]
fn options_that_contradict_each_other_are_refused() {
    let place = Place::new();
    encrypt_to_gguf(&place, &["--quantize", "q8_0"]).fails_saying(&["--format gguf"]);
    for more in [
        ["--format", "gguf", "--quantize", "q8_0", "--dtype", "bf16"].as_slice(),
        &["--base", "somewhere"],
        &["--adapter", "somewhere"],
        &["--format", "gguf", "--quantize", "q3_k"],
    ] {
        encrypt_to_gguf(&place, more).is_misused_saying(&["--"]);
    }
    place.holds_nothing_made();
}

#[test]
fn widths_that_cannot_be_are_refused_with_advice() {
    let place = Place::new();
    let expand = |more: &[&str]| encrypt_to_gguf(&place, more);
    expand(&["--expand", "8"]).fails_saying(&["--expand", "rotate"]);
    expand(&["--profile", "rotate", "--expand", "1"]).fails_saying(&["heads", "use --expand"]);
    let far = ["--profile", "rotate", "--expand", "99999999999"];
    expand(&far).fails_saying(&["--expand", "at most"]);
    place.holds_nothing_made();
}

#[test]
fn an_export_leaves_what_stands_there() {
    let place = Place::new();
    let file = place.path("made/model.gguf");
    fs::write(&file, "precious").unwrap();
    equicrypt(args!["export", &place.model(), "-o", &file]).fails_saying(&["model.gguf", "exists"]);
    assert_eq!(fs::read_to_string(&file).unwrap(), "precious");
}

#[test]
fn adapters_that_are_none_are_refused_by_file() {
    let place = Place::new();
    let (model, base, key, out) = (place.model(), place.encrypted(), place.key(), place.out());
    let encrypt = |adapter: &Path| {
        equicrypt(args![
            "encrypt",
            &model,
            "--adapter",
            adapter,
            "--base",
            &base,
            "-o",
            &out,
            "--key",
            &key
        ])
    };
    encrypt(&place.path("nowhere")).fails_saying(&["adapter_config.json"]);
    let adapter = place.path("adapter");
    fs::create_dir(&adapter).unwrap();
    fs::write(
        adapter.join("adapter_config.json"),
        r#"{"peft_type": "LORA"}"#,
    )
    .unwrap();
    encrypt(&adapter).fails_saying(&["adapter_model.safetensors"]);
    fs::write(
        adapter.join("adapter_config.json"),
        r#"{"peft_type": "VERA"}"#,
    )
    .unwrap();
    encrypt(&adapter).fails_saying(&["adapter_config.json", "VERA", "LORA"]);
    place.holds_nothing_made();
}
