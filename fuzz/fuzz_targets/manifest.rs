//! A manifest that reads must read the same from what it writes.
#![no_main]

use equicrypt_spec::Manifest;

libfuzzer_sys::fuzz_target!(|text: &[u8]| {
    if let Ok(manifest) = Manifest::parse(text) {
        assert!(
            Manifest::parse(manifest.to_text().as_bytes()).is_ok_and(|again| again == manifest)
        );
    }
});
