//! `equicrypt encrypt` as a process: what it refuses, what it says, and that it leaves nothing behind.

#![allow(clippy::unwrap_used, reason = "a test may fail")]

mod cli_support;
mod support;

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;

use cli_support::server::soon;
use cli_support::weights;
use cli_support::{
    ENCRYPTED_FOLDER, KEY, Place, args, chat_model, command, edit_json, entries, equicrypt,
    equicrypt_on_a_small_disk, equicrypt_with_short_files,
};
use serde_json::json;
use support::key;

#[test]
fn a_sound_model_becomes_a_folder_of_six_files() {
    let place = Place::new();
    let out = place.encrypt();
    let said = out.succeeds();
    assert!(said.contains(&key(KEY).id().to_string()), "{said}");
    assert!(
        said.contains("21 tensors") && said.contains("permute"),
        "{said}"
    );
    assert_eq!(entries(&place.path("made")), ["encrypted"]);
    assert_eq!(entries(&place.out()), ENCRYPTED_FOLDER);
}

#[test]
fn the_summary_comes_as_json() {
    let place = Place::new();
    let (model, out, key_file) = (place.model(), place.out(), place.key());
    let summary = equicrypt(args![
        "encrypt",
        &model,
        "-o",
        &out,
        "--key",
        &key_file,
        "--json",
        "--profile",
        "rotate",
        "--dtype",
        "bf16",
        "--epoch",
        "3"
    ])
    .succeeds_with_json();
    let manifest = &summary["manifest"];
    assert_eq!(manifest["key_id"], key(KEY).id().to_string());
    assert_eq!(
        (&manifest["epoch"], &manifest["profile"]),
        (&json!(3), &json!("rotate"))
    );
    assert_eq!(manifest["dtype"], "BF16");
    let weights = fs::metadata(out.join("model.safetensors")).unwrap().len();
    let bytes = summary["bytes"].as_u64().unwrap();
    assert!(bytes > 10_000 && bytes < weights, "{bytes} of {weights}");
}

/// Damages the model, and expects a refusal with these words and nothing made.
#[track_caller]
fn refused(damage: impl FnOnce(&Path), words: &[&str]) {
    let place = Place::new();
    damage(&place.model());
    place.encrypt().fails_saying(words);
    place.holds_nothing_made();
}

#[test]
fn tensors_that_do_not_fit_the_table_are_named() {
    let place = Place::new();
    let mut missing = String::new();
    weights::edit(&place.model(), |header, data| {
        missing = weights::last(header);
        weights::drop_last(header, data);
    });
    let ran = place.encrypt();
    ran.fails_saying(&[&missing, "missing", "shape"]);
    place.holds_nothing_made();

    let extra = |model: &Path| weights::edit(model, weights::add_extra);
    refused(
        extra,
        &["model.layers.0.adapter.weight", "unknown", "config.json"],
    );

    let transpose = |model: &Path| {
        weights::edit(model, |header, _| {
            header["lm_head.weight"]["shape"] = json!([24, 61]);
        });
    };
    refused(
        transpose,
        &[
            "lm_head.weight",
            "expected shape [61, 24]",
            "found [24, 61]",
        ],
    );

    let integers = |model: &Path| {
        weights::edit(model, |header, _| {
            header["lm_head.weight"]["dtype"] = json!("I32");
        });
    };
    refused(
        integers,
        &["model.safetensors", "lm_head.weight", "I32", "bf16"],
    );
}

#[test]
fn safetensors_files_that_break_the_format_are_refused() {
    let file = "model.safetensors";
    let truncate =
        |model: &Path| weights::edit_bytes(model, |bytes| bytes.truncate(bytes.len() - 10));
    refused(
        truncate,
        &[
            file,
            "bytes of data follow the header",
            "fetch the file again",
        ],
    );
    let stub = |model: &Path| weights::edit_bytes(model, |bytes| bytes.truncate(5));
    refused(stub, &[file, "5 bytes"]);
    let no_json = |model: &Path| weights::edit_bytes(model, |bytes| bytes[9] = b'!');
    refused(no_json, &[file, "the header is not as specified"]);
    let no_object = |model: &Path| weights::edit_bytes(model, |bytes| bytes[8] = b'[');
    refused(no_object, &[file, "does not begin with '{'"]);
    for length in [u64::MAX, 1 << 40, 90_000_000] {
        let claim = |model: &Path| {
            weights::edit_bytes(model, |bytes| {
                bytes[..8].copy_from_slice(&length.to_le_bytes())
            });
        };
        refused(claim, &[file, &format!("claims {length} bytes")]);
    }
}

#[test]
fn tensors_that_overlap_or_leave_the_file_are_refused() {
    let file = "model.safetensors";
    let overlap = |model: &Path| {
        weights::edit(model, |header, _| {
            let first = header["model.embed_tokens.weight"]["data_offsets"].clone();
            header["lm_head.weight"]["data_offsets"] = first;
        });
    };
    refused(overlap, &[file, "the tensor before it ends at"]);
    let outside = |model: &Path| {
        weights::edit(model, |header, _| {
            let last = weights::last(header);
            let entry = &mut header[&last];
            let end = entry["data_offsets"][1].as_u64().unwrap();
            let row = 4 * entry["shape"]
                .as_array()
                .unwrap()
                .last()
                .unwrap()
                .as_u64()
                .unwrap();
            entry["shape"][0] = json!(entry["shape"][0].as_u64().unwrap() + 1000);
            entry["data_offsets"][1] = json!(end + 1000 * row);
        });
    };
    refused(outside, &[file, "bytes of data follow the header"]);
    let backwards = |model: &Path| {
        weights::edit(model, |header, _| {
            header["lm_head.weight"]["data_offsets"] = json!([u64::MAX, 0]);
        });
    };
    refused(backwards, &[file, "lm_head.weight"]);
}

#[test]
fn models_that_cannot_be_encrypted_are_refused_by_reason() {
    let set = |field: &'static str, value| {
        move |model: &Path| edit_json(&model.join("config.json"), |config| config[field] = value)
    };
    refused(
        set("model_type", json!("mamba")),
        &["config.json", "mamba", "supported", "llama"],
    );
    for method in ["gptq", "awq", "fp8", "compressed-tensors"] {
        let quantised = set("quantization_config", json!({ "quant_method": method }));
        let words = ["config.json", "quantization_config", method, "original"];
        refused(quantised, &words);
    }
    refused(
        set("hidden_size", json!("wide")),
        &["config.json", "hidden_size", "wide"],
    );
    refused(
        set("num_key_value_heads", json!(3)),
        &["config.json", "num_key_value_heads"],
    );
    refused(
        set("hidden_size", json!(1u64 << 60)),
        &["config.json", "hidden_size"],
    );
    let remove = |model: &Path| fs::remove_file(model.join("config.json")).unwrap();
    refused(remove, &["model", "config.json is missing"]);
    let cut = |model: &Path| fs::write(model.join("config.json"), "{\"model_type\":").unwrap();
    refused(cut, &["config.json"]);
    let weightless = |model: &Path| fs::remove_file(model.join("model.safetensors")).unwrap();
    refused(
        weightless,
        &["model.safetensors", "model.safetensors.index.json"],
    );
    refused(
        |model| fs::remove_dir_all(model).unwrap(),
        &["model", "does not exist"],
    );
}

#[test]
fn an_output_that_exists_is_left_as_it_is() {
    let place = Place::new();
    let precious = place.out().join("precious");
    fs::create_dir(place.out()).unwrap();
    fs::write(&precious, "1").unwrap();
    place
        .encrypt()
        .fails_saying(&["made/encrypted", "exists", "delete"]);
    assert_eq!(entries(&place.path("made")), ["encrypted"]);
    assert_eq!(entries(&place.out()), ["precious"]);
    assert_eq!(fs::read(&precious).unwrap(), b"1");

    fs::remove_dir_all(place.out()).unwrap();
    fs::write(place.out(), "2").unwrap();
    place.encrypt().fails_saying(&["made/encrypted", "exists"]);
    assert_eq!(fs::read(place.out()).unwrap(), b"2");
}

#[test]
fn a_parent_that_takes_no_folder_is_named() {
    let place = Place::new();
    let (model, key) = (place.model(), place.key());
    let to = |out: &Path| equicrypt(args!["encrypt", &model, "-o", out, "--key", &key]);
    let nowhere = place.path("made/no/such/folder");
    to(&nowhere).fails_saying(&["made/no/such/folder", "parent folder does not exist"]);
    place.holds_nothing_made();

    let locked = place.path("locked");
    fs::create_dir(&locked).unwrap();
    fs::set_permissions(&locked, Permissions::from_mode(0o555)).unwrap();
    // Permissions do not bind the superuser; the kernel's own folders do.
    let binding = fs::write(locked.join("probe"), "").is_err();
    let parent = if binding {
        &*locked
    } else {
        Path::new("/proc")
    };
    let name = parent.to_str().unwrap();
    to(&parent.join("encrypted")).fails_saying(&["cannot create a folder in", name]);
    let left = entries(parent)
        .iter()
        .any(|name| name.contains("encrypted"));
    assert!(!left);
}

#[test]
fn a_file_that_cannot_grow_is_named_and_cleared_up() {
    let place = Place::new();
    let (model, out, key) = (place.model(), place.out(), place.key());
    for profile in ["permute", "rotate"] {
        let args = args![
            "encrypt",
            &model,
            "-o",
            &out,
            "--key",
            &key,
            "--profile",
            profile
        ];
        let ran = equicrypt_with_short_files(8, args);
        ran.fails_saying(&["model.safetensors", "File too large"]);
        place.holds_nothing_made();
    }
    place.encrypt().succeeds();
}

#[test]
fn a_disk_that_is_full_is_said_and_cleared_up() {
    let place = Place::new();
    let disk = place.path("disk");
    fs::create_dir(&disk).unwrap();
    let (model, out, key) = (place.model(), disk.join("encrypted"), place.key());
    let args = args!["encrypt", &model, "-o", &out, "--key", &key];
    // The weights take 56 kB, each of the five other files one page of 4 kB: it is another one that does not fit.
    for kilobytes in (4..=72).step_by(4) {
        let Some(ran) = equicrypt_on_a_small_disk(&disk, kilobytes, args) else {
            println!("skipped: unshare cannot mount a small disk here");
            return;
        };
        ran.fails_saying(&[
            "cannot",
            "disk/.encrypted.partial-",
            "No space left on device",
        ]);
    }
    let ran = equicrypt_on_a_small_disk(&disk, 76, args).unwrap();
    assert!(ran.succeeds().ends_with("\nencrypted\n"), "{ran:?}");
}

#[test]
fn a_killed_run_leaves_no_output_and_the_next_one_succeeds() {
    let place = Place::new();
    let large = place.path("large");
    chat_model::write_large(&large);
    let (out, key) = (place.out(), place.key());
    let args = args![
        "encrypt",
        &large,
        "-o",
        &out,
        "--key",
        &key,
        "--profile",
        "rotate"
    ];
    let mut child = command(args).spawn().unwrap();
    let made = place.path("made");
    soon("the partial folder", || !entries(&made).is_empty());
    child.kill().unwrap();
    let status = child.wait().unwrap();
    assert_eq!(
        status.signal(),
        Some(9),
        "it ended before it could be killed"
    );
    let stale = entries(&made);
    assert!(
        stale.len() == 1 && stale[0].starts_with(".encrypted.partial-"),
        "{stale:?}"
    );

    equicrypt(args!["inspect", &made.join(&stale[0])]).fails_saying(&["equicrypt.json"]);

    let minute_ago = std::time::SystemTime::now() - std::time::Duration::from_secs(60);
    let partial = std::fs::File::open(made.join(&stale[0])).unwrap();
    partial.set_modified(minute_ago).unwrap();
    equicrypt(args).succeeds();
    assert_eq!(entries(&made), ["encrypted"]);
    assert_eq!(entries(&out), ENCRYPTED_FOLDER);
    equicrypt(args!["inspect", &out]).succeeds();
}
