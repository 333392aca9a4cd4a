//! No file may panic or allocate more than it is long.
#![no_main]

use std::path::Path;

use equicrypt_checkpoint::gguf::parse;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let _ = parse(Path::new("fuzz.gguf"), bytes, bytes.len() as u64);
});
