//! Files of weights that are broken on purpose.

use std::path::Path;

use serde_json::{Map, Value, json};

/// Takes `model.safetensors` of a folder apart, and writes it again with another header and other data.
pub fn edit(model: &Path, edit: impl FnOnce(&mut Map<String, Value>, &mut Vec<u8>)) {
    let path = model.join("model.safetensors");
    let bytes = std::fs::read(&path).unwrap();
    let (header, mut data) = parts(&bytes);
    let mut header = serde_json::from_slice(header).unwrap();
    edit(&mut header, &mut data);
    let json = Value::Object(header).to_string().into_bytes();
    let length = (json.len() as u64).to_le_bytes();
    std::fs::write(&path, [&length[..], &json, &data].concat()).unwrap();
}

/// Changes the bytes of `model.safetensors`.
pub fn edit_bytes(model: &Path, edit: impl FnOnce(&mut Vec<u8>)) {
    let path = model.join("model.safetensors");
    let mut bytes = std::fs::read(&path).unwrap();
    edit(&mut bytes);
    std::fs::write(&path, bytes).unwrap();
}

/// The tensor whose data come last.
pub fn last(header: &Map<String, Value>) -> String {
    let end = |entry: &Value| entry["data_offsets"][1].as_u64();
    let last = header.iter().max_by_key(|(_, entry)| end(entry)).unwrap();
    last.0.clone()
}

/// Removes the last tensor and its data.
pub fn drop_last(header: &mut Map<String, Value>, data: &mut Vec<u8>) {
    let entry = header.remove(&last(header)).unwrap();
    data.truncate(entry["data_offsets"][0].as_u64().unwrap() as usize);
}

/// Adds a tensor that no llama has.
pub fn add_extra(header: &mut Map<String, Value>, data: &mut Vec<u8>) {
    let start = data.len();
    data.extend([0; 8]);
    let entry = json!({ "dtype": "F32", "shape": [2], "data_offsets": [start, start + 8] });
    header.insert("model.layers.0.adapter.weight".into(), entry);
}

fn parts(bytes: &[u8]) -> (&[u8], Vec<u8>) {
    let length = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    (&bytes[8..8 + length], bytes[8 + length..].to_vec())
}
