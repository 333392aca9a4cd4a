use std::fs;

use serde_json::json;
use tempfile::TempDir;

use super::*;
use crate::{CheckpointWriter, Dtype, TensorHeader, write_json};

/// A folder of two shards, `a` and `b` in the first and `c` in the second.
fn sharded() -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    let headers = ["a", "b", "c"].map(|name| TensorHeader::new(name, Dtype::F32, &[2]));
    let writer = CheckpointWriter::create_sharded(dir.path(), &headers, 16).unwrap();
    for (i, header) in headers.iter().enumerate() {
        writer.write(&header.name, 0, &[i as u8; 8]).unwrap();
    }
    writer.finish().unwrap();
    write_json(
        &dir.path().join("config.json"),
        &json!({"model_type": "llama"}),
    )
    .unwrap();
    dir
}

fn refusal(dir: &Path) -> String {
    Checkpoint::open(dir).unwrap_err().to_string()
}

fn edit_index(dir: &Path, edit: impl FnOnce(&mut Value)) {
    let path = dir.join(INDEX_FILE);
    let mut index = read_json(&path).unwrap();
    edit(&mut index);
    fs::write(&path, index.to_string()).unwrap();
}

#[test]
fn a_sharded_folder_opens() {
    let dir = sharded();
    let index = read_json(&dir.path().join(INDEX_FILE)).unwrap();
    assert_eq!(index["metadata"]["total_size"], 24);
    assert_eq!(index["weight_map"]["c"], "model-00002-of-00002.safetensors");
    let checkpoint = Checkpoint::open(dir.path()).unwrap();
    assert_eq!(checkpoint.config()["model_type"], "llama");
    assert_eq!(checkpoint.dir(), dir.path());
    let shards: Vec<(&str, usize)> = checkpoint
        .tensors()
        .map(|t| (t.name.as_str(), t.shard))
        .collect();
    assert_eq!(shards, [("a", 0), ("b", 0), ("c", 1)]);
    let mut out = [9; 3];
    checkpoint.read("c", 4, &mut out).unwrap();
    assert_eq!(out, [2; 3]);
    assert!(matches!(
        checkpoint.read("d", 0, &mut out),
        Err(Error::NoSuchTensor { .. })
    ));
    assert!(matches!(
        checkpoint.read("c", 6, &mut out),
        Err(Error::OutOfRange { .. })
    ));
    assert!(matches!(
        checkpoint.read_f32("d"),
        Err(Error::NoSuchTensor { .. })
    ));
    assert!(checkpoint.tensor("b").is_some() && checkpoint.tensor("d").is_none());
}

#[test]
fn missing_parts_are_named() {
    let dir = tempfile::tempdir().unwrap();
    assert!(refusal(&dir.path().join("nowhere")).contains("does not exist"));
    assert!(refusal(dir.path()).contains("config.json is missing"));
    let gguf = dir.path().join("m.gguf");
    fs::write(&gguf, "GGUF").unwrap();
    assert!(refusal(&gguf).contains("import it"));
    fs::write(dir.path().join("config.json"), "{}").unwrap();
    assert!(refusal(dir.path()).contains("neither model.safetensors"));
    fs::write(dir.path().join("pytorch_model.bin"), "x").unwrap();
    assert!(refusal(dir.path()).contains("convert it to safetensors"));
    fs::write(dir.path().join("config.json"), "[]").unwrap();
    assert!(refusal(dir.path()).contains("object"));
    let dir = sharded();
    fs::remove_file(dir.path().join("model-00002-of-00002.safetensors")).unwrap();
    assert!(refusal(dir.path()).contains("cannot open"));
}

#[test]
fn index_and_shards_must_agree_both_ways() {
    let dir = sharded();
    edit_index(dir.path(), |i| {
        i["weight_map"]["z"] = json!("model-00001-of-00002.safetensors")
    });
    assert!(refusal(dir.path()).contains("\"z\""));
    let dir = sharded();
    edit_index(dir.path(), |i| {
        i["weight_map"].as_object_mut().unwrap().remove("b");
    });
    assert!(
        refusal(dir.path()).contains("\"b\" of model-00001-of-00002.safetensors is not listed")
    );
    let dir = sharded();
    edit_index(dir.path(), |i| {
        i["weight_map"]["b"] = json!("model-00002-of-00002.safetensors")
    });
    assert!(refusal(dir.path()).contains("not in model-00002"));
    for bad in [json!({}), json!(3), json!({"a": 1})] {
        let dir = sharded();
        edit_index(dir.path(), |i| i["weight_map"] = bad);
        assert!(refusal(dir.path()).contains(INDEX_FILE));
    }
}

#[test]
fn one_name_in_two_shards_is_refused() {
    let dir = sharded();
    let first = dir.path().join("model-00001-of-00002.safetensors");
    let second = dir.path().join("model-00002-of-00002.safetensors");
    fs::copy(&first, &second).unwrap();
    assert!(refusal(dir.path()).contains("not in"));
}

#[test]
fn an_index_cannot_lead_out_of_the_folder() {
    for shard in [
        "../x.safetensors",
        "/etc/passwd",
        "..",
        ".",
        "",
        "sub/x",
        "a\\b",
        "C:x",
    ] {
        let dir = sharded();
        edit_index(dir.path(), |i| i["weight_map"]["b"] = json!(shard));
        assert!(
            refusal(dir.path()).contains("not a file of this folder"),
            "{shard}"
        );
    }
}

#[test]
fn truncated_shards_are_refused() {
    let dir = sharded();
    let path = dir.path().join("model-00002-of-00002.safetensors");
    let bytes = fs::read(&path).unwrap();
    fs::write(&path, &bytes[..bytes.len() - 1]).unwrap();
    let message = refusal(dir.path());
    assert!(
        message.contains("model-00002-of-00002.safetensors is not a sound"),
        "{message}"
    );
}
