//! Messages between an owner and a host of shares: whatever is read is written again as the same bytes, and nothing panics.
#![no_main]

use equicrypt_ring::wire::{Answer, Request};

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let mut rest = data;
    while let Ok(Some((request, bytes))) = Request::read(&mut rest) {
        let mut again = Vec::new();
        assert_eq!(request.write(&mut again).unwrap(), bytes);
        let start = data.len() - rest.len() - bytes;
        assert_eq!(again, &data[start..start + bytes]);
    }
    let mut rest = data;
    while let Ok(Some((answer, bytes))) = Answer::read(&mut rest) {
        if matches!(&answer, Answer::Refusal(text) if text.len() > 512) {
            // It is written shorter.
            continue;
        }
        let mut again = Vec::new();
        assert_eq!(answer.write(&mut again).unwrap(), bytes);
        let start = data.len() - rest.len() - bytes;
        assert_eq!(again, &data[start..start + bytes]);
    }
});
