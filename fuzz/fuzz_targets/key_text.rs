//! A key that reads must be written the same again.
#![no_main]

use equicrypt_cipher::MasterKey;

libfuzzer_sys::fuzz_target!(|text: &str| {
    if let Ok(key) = MasterKey::from_text(text) {
        assert!(text.to_ascii_uppercase().contains(key.to_text().as_str()));
    }
});
