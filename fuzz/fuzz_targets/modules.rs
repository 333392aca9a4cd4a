//! Modules of sentence-transformers that read must read the same from what is written of them.
#![no_main]

use equicrypt_spec::{Error, MODULES_FILE, SentenceHead};
use serde_json::Value;

libfuzzer_sys::fuzz_target!(|text: &[u8]| {
    let Ok(files) = serde_json::from_slice::<Value>(text) else {
        return;
    };
    let given = |path: &str| files.get(path).cloned().unwrap_or(Value::Null);
    let Ok(head) = read(given) else { return };
    let written = head.files(8);
    let written = |path: &str| {
        let found = written.iter().find(|(name, _)| name == path);
        found.map_or(Value::Null, |(_, value)| value.clone())
    };
    assert!(read(written).is_ok_and(|again| again == head));
});

/// A head, from a folder's files by their paths.
fn read(file: impl Fn(&str) -> Value) -> Result<SentenceHead, Error> {
    let config = |folder: &str| Ok(file(&format!("{folder}/config.json")));
    SentenceHead::read(&file(MODULES_FILE), config).map(|(head, _)| head)
}
