//! No header may panic or allocate without bound; the first two bytes are the length of the data behind it.
#![no_main]

use std::path::Path;

use equicrypt_checkpoint::safetensors::parse_header;

libfuzzer_sys::fuzz_target!(|input: (u16, &[u8])| {
    let (data_len, json) = input;
    let _ = parse_header(Path::new("fuzz.safetensors"), json, u64::from(data_len));
});
