//! The commands that read files from elsewhere, as processes: `import`, `inspect` and `verify`; and how any command is
//! misused.

#![allow(clippy::unwrap_used, reason = "a test may fail")]

mod cli_support;
mod support;

use std::fs;
use std::path::Path;

use cli_support::{
    ENCRYPTED_FOLDER, KEY, OTHER_KEY, Place, Ran, args, chat_model, edit_json, entries, equicrypt,
    equicrypt_with_short_files, gguf,
};
use equicrypt_spec::MANIFEST_FILE;
use serde_json::json;
use support::{key, tampered};

fn import(place: &Place, bytes: &[u8]) -> Ran {
    let (file, out) = (place.path("it.gguf"), place.out());
    fs::write(&file, bytes).unwrap();
    equicrypt(args!["import", &file, "-o", &out])
}

#[test]
fn a_gguf_file_becomes_a_folder_that_can_be_encrypted() {
    let place = Place::new();
    let ran = import(&place, &gguf::tiny("llama"));
    assert!(ran.succeeds().contains("it.gguf"), "{ran:?}");
    assert_eq!(entries(&place.path("made")), ["encrypted"]);
    let (imported, again, key) = (place.out(), place.path("made/again"), place.key());
    equicrypt(args!["encrypt", &imported, "-o", &again, "--key", &key]).succeeds();
    assert_eq!(entries(&again), ENCRYPTED_FOLDER);
}

#[test]
fn gguf_files_that_are_unsound_are_refused() {
    let place = Place::new();
    let sound = gguf::tiny("llama");
    let named = "it.gguf is not a sound GGUF file";
    for length in [0, 3, 4, 20, 60, 500, sound.len() / 2, sound.len() - 1] {
        import(&place, &sound[..length]).fails_saying(&[named]);
        place.holds_nothing_made();
    }
    let mut other = sound.clone();
    other[..4].copy_from_slice(b"GGML");
    import(&place, &other).fails_saying(&[named, "does not begin with \"GGUF\""]);
    let mut random = support::Random(5);
    let garbage: Vec<u8> = (0..4096).map(|_| random.next_u64() as u8).collect();
    import(&place, &garbage).fails_saying(&[named]);
    // Garbage behind a sound beginning: counts and lengths beyond all measure.
    for start in [8, 24] {
        let bytes = [&sound[..start], &garbage].concat();
        import(&place, &bytes).fails_saying(&[named]);
    }
    place.holds_nothing_made();
}

#[test]
fn gguf_files_that_cannot_be_carried_over_are_refused() {
    let place = Place::new();
    let words = [
        "it.gguf cannot be imported",
        "architecture",
        "mamba",
        "llama",
    ];
    import(&place, &gguf::tiny("mamba")).fails_saying(&words);
    place.holds_nothing_made();
    let (none, out) = (place.path("none.gguf"), place.out());
    equicrypt(args!["import", &none, "-o", &out]).fails_saying(&["none.gguf", "No such file"]);
    let model = place.model();
    equicrypt(args!["import", &model, "-o", &out]).fails_saying(&["model"]);
    place.holds_nothing_made();
    let ran = equicrypt(args!["encrypt", &none, "-o", &out, "--key", &place.key()]);
    ran.fails_saying(&["none.gguf", "does not exist"]);
    fs::write(&none, "GGUF").unwrap();
    let ran = equicrypt(args!["encrypt", &none, "-o", &out, "--key", &place.key()]);
    ran.fails_saying(&["none.gguf", "GGUF file", "import"]);
    place.holds_nothing_made();
}

#[test]
fn an_import_never_overwrites_and_survives_a_full_disk() {
    let place = Place::new();
    let (file, out) = (place.path("it.gguf"), place.out());
    fs::write(&file, gguf::tiny("llama")).unwrap();
    let args = args!["import", &file, "-o", &out];
    let ran = equicrypt_with_short_files(1, args);
    ran.fails_saying(&[".json", "File too large"]);
    place.holds_nothing_made();

    fs::create_dir(&out).unwrap();
    fs::write(out.join("precious"), "1").unwrap();
    equicrypt(args).fails_saying(&["made/encrypted", "exists", "delete"]);
    assert_eq!(entries(&place.path("made")), ["encrypted"]);
    assert_eq!(entries(&out), ["precious"]);
}

#[test]
fn inspect_tells_what_everybody_may_know() {
    let place = Place::new();
    let folder = place.encrypted();
    let key_id = key(KEY).id().to_string();
    let ran = equicrypt(args!["inspect", &folder]);
    let text = ran.succeeds();
    for word in [
        &*key_id,
        "permute",
        "llama",
        "61 cipher ids",
        "21 tensors",
        "F32",
        "4096",
    ] {
        assert!(text.contains(word), "no {word:?} in {text}");
    }
    let json = equicrypt(args!["inspect", &folder, "--json"]).succeeds_with_json();
    assert_eq!(json["manifest"]["key_id"], key_id);
    assert_eq!((&json["tensors"], &json["layers"]), (&json!(21), &json!(2)));
    assert_eq!(
        json["bytes"],
        json!(4 * json["parameters"].as_u64().unwrap())
    );
}

#[test]
fn inspect_refuses_what_is_no_encrypted_folder() {
    let place = Place::new();
    let inspect = |folder: &Path| equicrypt(args!["inspect", folder, "--json"]);
    inspect(&place.model()).fails_saying(&["model/equicrypt.json", "is", "an encrypted folder?"]);
    inspect(&place.path("none")).fails_saying(&["none/equicrypt.json"]);
    let folder = place.encrypted();
    let manifest = folder.join(MANIFEST_FILE);
    edit_json(&manifest, |m| m["vocab_size"] = json!(3));
    inspect(&folder).fails_saying(&["encrypted/equicrypt.json", "vocab_size"]);
    fs::write(&manifest, "{").unwrap();
    inspect(&folder).fails_saying(&["encrypted/equicrypt.json"]);
}

fn verify(model: &Path, encrypted: &Path, key: &Path) -> Ran {
    let short = ["--greedy-tokens", "12", "--json"];
    let args = args!["verify", model, encrypted, "--key", key];
    equicrypt(args.into_iter().chain(short.map(std::ffi::OsStr::new)))
}

#[test]
fn verify_passes_on_a_model_and_its_encryption() {
    let place = Place::new();
    let (model, encrypted, key) = (place.model(), place.encrypted(), place.key());
    let report = verify(&model, &encrypted, &key).succeeds_with_json();
    assert_eq!(report["pass"], true, "{report}");
    let fidelity = &report["fidelity"];
    assert_eq!(
        fidelity["greedy_match_lengths"],
        json!(vec![12; 20]),
        "{report}"
    );
    assert!(fidelity["positions"].as_u64().unwrap() > 1000, "{report}");
    let ran = equicrypt(args!["verify", &model, &encrypted, "--key", &key]);
    let text = ran.succeeds();
    assert!(text.contains("20 of 20 equal over 64 tokens"), "{text}");
    assert!(text.trim_end().ends_with("pass"), "{text}");
}

#[test]
fn verify_fails_on_a_folder_that_was_changed() {
    let place = Place::new();
    let (encrypted, changed) = (place.encrypted(), place.path("changed"));
    tampered(&encrypted, &changed, &mut |name, values| {
        if name == "model.layers.1.mlp.down_proj.weight" {
            values.iter_mut().for_each(|value| *value = -*value);
        }
    });
    for name in ENCRYPTED_FOLDER {
        if name != "model.safetensors" {
            fs::copy(encrypted.join(name), changed.join(name)).unwrap();
        }
    }
    let ran = verify(&place.model(), &changed, &place.key());
    assert_eq!(ran.code, Some(1), "{ran:?}");
    ran.says(&["limits"]);
    let report: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!(report["pass"], false, "{report}");
    assert!(
        report["fidelity"]["mean_kl"].as_f64().unwrap() > 1e-3,
        "{report}"
    );
}

#[test]
fn verify_compares_only_what_belongs_together() {
    let place = Place::new();
    let (model, encrypted, key_file) = (place.model(), place.encrypted(), place.key());
    let other = place.path("other");
    chat_model::write(&other, 2);
    verify(&other, &encrypted, &key_file).fails_saying(&["other", "is not the original of"]);
    let ids = [KEY, OTHER_KEY].map(|byte| key(byte).id().to_string());
    let ran = verify(&model, &encrypted, &place.other_key());
    ran.fails_saying(&["wrong key", &ids[0], &ids[1]]);
    verify(&model, &model, &key_file).fails_saying(&["model/equicrypt.json"]);
    fs::remove_file(model.join("tokenizer.json")).unwrap();
    verify(&model, &encrypted, &key_file).fails_saying(&["tokenizer.json"]);
}

#[test]
fn a_message_gives_its_reason_once() {
    let place = Place::new();
    let (none, out, key) = (place.path("none"), place.out(), place.key());
    for ran in [
        equicrypt(args!["import", &none, "-o", &out]),
        equicrypt(args!["keygen", "-o", &none.join("new.key")]),
        equicrypt(args!["encrypt", &place.model(), "-o", &out, "--key", &none]),
        equicrypt(args!["inspect", &none]),
        equicrypt(args![
            "tokens",
            "encrypt",
            "--key",
            &key,
            "--manifest",
            &none
        ]),
        equicrypt(args!["serve", &place.model(), "--listen", "192.0.2.1:1"]),
    ] {
        ran.fails_saying(&["os error"]);
        assert_eq!(ran.err.matches("os error").count(), 1, "{ran:?}");
    }
}

#[test]
fn misuse_is_told_from_failure() {
    equicrypt(["frobnicate"]).is_misused_saying(&["frobnicate", "Usage"]);
    equicrypt([""; 0]).is_misused_saying(&["Usage"]);
    equicrypt(["encrypt"]).is_misused_saying(&["<MODEL>", "--output", "--key"]);
    equicrypt(["encrypt", "m", "-o", "o"]).is_misused_saying(&["--key"]);
    equicrypt(["import", "it.gguf"]).is_misused_saying(&["--output"]);
    equicrypt(["tokens", "encrypt", "--key", "k"]).is_misused_saying(&["--manifest"]);
    let ran = equicrypt([
        "encrypt",
        "m",
        "-o",
        "o",
        "--key",
        "k",
        "--profile",
        "strong",
    ]);
    ran.is_misused_saying(&["strong", "permute", "rotate"]);
    equicrypt(["serve", "m", "--listen", "here"]).is_misused_saying(&["--listen", "here"]);
    equicrypt(["serve", "m", "--max-batch", "0"]).is_misused_saying(&["--max-batch"]);
    let ran = equicrypt([
        "ask",
        "q",
        "--key",
        "k",
        "--model",
        "m",
        "--max-tokens",
        "0",
    ]);
    ran.is_misused_saying(&["--max-tokens"]);
    assert!(equicrypt(["--help"]).succeeds().contains("encrypt"));
    assert!(
        equicrypt(["--version"])
            .succeeds()
            .starts_with("equicrypt ")
    );
}
