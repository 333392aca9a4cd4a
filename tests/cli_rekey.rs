//! `equicrypt rekey` as a process: what it makes, what it refuses, and that it leaves nothing behind.

#![allow(clippy::unwrap_used, reason = "a test may fail")]

mod cli_support;
mod support;

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use cli_support::{
    ENCRYPTED_FOLDER, Place, Ran, args, edit_json, entries, equicrypt, equicrypt_reading,
    equicrypt_with_short_files, weights,
};
use equicrypt_checkpoint::{Checkpoint, CheckpointWriter};
use serde_json::json;

fn rekey(place: &Place, folder: &Path, more: &[&str]) -> Ran {
    let (out, key) = (place.out(), place.key());
    let fixed = args!["rekey", folder, "-o", &out, "--key", &key];
    equicrypt(fixed.into_iter().chain(more.iter().map(AsRef::as_ref)))
}

/// The same weights in two files: embedding and a part of the layers, then the others, with the head.
fn in_shards(folder: &Path, to: &Path) {
    let whole = Checkpoint::open(folder).unwrap();
    fs::create_dir(to).unwrap();
    for name in entries(folder)
        .iter()
        .filter(|name| *name != "model.safetensors")
    {
        fs::copy(folder.join(name), to.join(name)).unwrap();
    }
    let headers: Vec<_> = whole.tensors().map(|tensor| tensor.header()).collect();
    let bytes = |name: &str| whole.tensor(name).unwrap().byte_len;
    let all: u64 = headers.iter().map(|header| bytes(&header.name)).sum();
    let writer = CheckpointWriter::create_sharded(to, &headers, all / 3).unwrap();
    for header in &headers {
        let mut data = vec![0; bytes(&header.name) as usize];
        whole.read(&header.name, 0, &mut data).unwrap();
        writer.write(&header.name, 0, &data).unwrap();
    }
    writer.finish().unwrap();
}

#[test]
fn a_rekeyed_folder_is_verified_and_says_both_epochs() {
    let place = Place::new();
    let encrypted = place.encrypted();
    let ran = rekey(&place, &encrypted, &[]);
    let said = ran.succeeds();
    assert!(said.contains("epoch 0 to epoch 1"), "{said}");
    assert_eq!(entries(&place.path("made")), ["encrypted"]);
    assert_eq!(entries(&place.out()), ENCRYPTED_FOLDER);
    let (model, out, key) = (place.model(), place.out(), place.key());
    equicrypt(args![
        "verify",
        &model,
        &out,
        "--key",
        &key,
        "--greedy-tokens",
        "8"
    ])
    .succeeds();
    let ran = equicrypt(args!["inspect", &out]);
    let inspected = ran.succeeds();
    for line in ["epoch         1", "weights epoch 0"] {
        assert!(inspected.contains(line), "{inspected}");
    }

    // Ids of an old conversation are read with the old manifest, as ever.
    let tokens = |direction: &str, folder: &Path, ids: &str| {
        let manifest = folder.join("equicrypt.json");
        let args = args!["tokens", direction, "--key", &key, "--manifest", &manifest];
        equicrypt_reading(ids, args).succeeds().to_owned()
    };
    let plain = "[3,4,5,17,60]\n";
    let old = tokens("encrypt", &encrypted, plain);
    assert_ne!(old, tokens("encrypt", &out, plain));
    assert_eq!(tokens("decrypt", &encrypted, &old), plain);

    let again = place.path("made/again");
    let summary = equicrypt(args![
        "rekey", &out, "-o", &again, "--key", &key, "--epoch", "7", "--json"
    ]);
    let summary = summary.succeeds_with_json();
    assert_eq!(summary["manifest"]["epoch"], 7);
    assert_eq!(summary["manifest"]["weights_epoch"], 0);
    assert_eq!(
        summary["files"],
        json!({ "linked": 0, "copied": 0, "rewritten": 1 })
    );
    assert_eq!(summary["tensors"], 2);
    equicrypt(args![
        "verify",
        &model,
        &again,
        "--key",
        &key,
        "--greedy-tokens",
        "8"
    ])
    .succeeds();
}

#[test]
fn shards_without_embedding_and_head_are_linked() {
    let place = Place::new();
    let shards = place.path("shards");
    in_shards(&place.encrypted(), &shards);
    let summary = rekey(&place, &shards, &["--json"]).succeeds_with_json();
    let (mut linked, mut rewritten) = (0, 0);
    for name in entries(&shards)
        .iter()
        .filter(|name| name.ends_with(".safetensors"))
    {
        let inode = |folder: &Path| fs::metadata(folder.join(name)).unwrap().ino();
        match inode(&shards) == inode(&place.out()) {
            true => linked += 1,
            false => rewritten += 1,
        }
    }
    assert!(linked > 0 && rewritten > 0, "{linked} {rewritten}");
    let files = json!({ "linked": linked, "copied": 0, "rewritten": rewritten });
    assert_eq!(summary["files"], files);
    let (model, out, key) = (place.model(), place.out(), place.key());
    equicrypt(args![
        "verify",
        &model,
        &out,
        "--key",
        &key,
        "--greedy-tokens",
        "8"
    ])
    .succeeds();
}

#[test]
fn what_cannot_be_rekeyed_is_refused_and_nothing_is_made() {
    let place = Place::new();
    let (encrypted, out) = (place.encrypted(), place.out());
    let refused = |folder: &Path, more: &[&str], words: &[&str]| {
        rekey(&place, folder, more).fails_saying(words);
        place.holds_nothing_made();
    };
    refused(&encrypted, &["--epoch", "0"], &["epoch 0", "already"]);
    refused(&place.model(), &[], &["equicrypt.json"]);
    refused(&place.path("nowhere"), &[], &["nowhere"]);
    let other = place.other_key();
    equicrypt(args!["rekey", &encrypted, "-o", &out, "--key", &other]).fails_saying(&["wrong key"]);
    place.holds_nothing_made();

    // Down only when asked for.
    let high = place.path("made/high");
    equicrypt(args![
        "rekey",
        &encrypted,
        "-o",
        &high,
        "--key",
        &place.key(),
        "--epoch",
        "9"
    ])
    .succeeds();
    let held = place.path("high");
    fs::rename(&high, &held).unwrap();
    refused(
        &held,
        &["--epoch", "8"],
        &["epoch 8", "epoch 9", "--allow-lower"],
    );
    refused(&held, &["--epoch", "9", "--allow-lower"], &["already"]);
    rekey(&place, &held, &["--epoch", "8", "--allow-lower"]).succeeds();
    rekey(&place, &held, &[]).fails_saying(&["exists"]);
    fs::remove_dir_all(&out).unwrap();

    // A manifest of another model, and weights that are not those of the table.
    let foreign = place.path("foreign");
    in_shards(&encrypted, &foreign);
    edit_json(&foreign.join("equicrypt.json"), |manifest| {
        manifest["architecture"] = json!("qwen2")
    });
    refused(&foreign, &[], &["another model"]);
    let mut last = String::new();
    weights::edit(&encrypted, |header, data| {
        last = weights::last(header);
        weights::drop_last(header, data);
    });
    refused(&encrypted, &[], &[&last, "missing"]);
}

#[test]
fn gguf_is_refused_with_the_way_round() {
    let place = Place::new();
    let (model, folder, key) = (place.model(), place.path("gguf"), place.key());
    equicrypt(args![
        "encrypt", &model, "-o", &folder, "--key", &key, "--format", "gguf"
    ])
    .succeeds();
    for folder in [folder.clone(), folder.join("model.gguf")] {
        rekey(&place, &folder, &[]).fails_saying(&["GGUF", "export"]);
        place.holds_nothing_made();
    }
}

#[test]
fn a_disk_that_is_full_leaves_nothing() {
    let place = Place::new();
    let (folder, out, key) = (place.encrypted(), place.out(), place.key());
    let args = args!["rekey", &folder, "-o", &out, "--key", &key];
    equicrypt_with_short_files(16, args).fails_saying(&["model.safetensors"]);
    place.holds_nothing_made();
}
