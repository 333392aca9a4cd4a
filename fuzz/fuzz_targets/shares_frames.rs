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
        if let Answer::Refusal(text) = &answer {
            // A host's text is shown to people: it is made safe, not kept.
            assert!(text.chars().all(|char| !char.is_control()));
            let mut again = Vec::new();
            answer.write(&mut again).unwrap();
            let read = Answer::read(&mut again.as_slice()).unwrap().unwrap().0;
            assert!(matches!(read, Answer::Refusal(again) if text.starts_with(&again)));
            continue;
        }
        let mut again = Vec::new();
        assert_eq!(answer.write(&mut again).unwrap(), bytes);
        let start = data.len() - rest.len() - bytes;
        assert_eq!(again, &data[start..start + bytes]);
    }
});
