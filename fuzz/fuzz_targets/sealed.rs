//! No bytes but those that were sealed are opened, as a request or as an answer, however they are cut.
#![no_main]

use std::sync::LazyLock;

use equicrypt_sealed::{Head, ResponseOpener, SealedRequest, TransportSecret, Window, seal};

const ROUTE: &str = "POST /v1/embeddings";

static SECRET: LazyLock<TransportSecret> = LazyLock::new(|| TransportSecret::generate().unwrap());

libfuzzer_sys::fuzz_target!(|input: (u8, bool, &[u8], &[u8])| {
    let (cut, genuine, data, more) = input;
    if let Ok(request) = SealedRequest::parse(more) {
        assert!(request.open(&SECRET, ROUTE).is_err());
    }
    let public = SECRET.public().unwrap();
    let ask = || seal(&public, &Window::from_bytes([1; 16]), ROUTE, data).unwrap();
    let (bytes, mut opener) = ask();
    let (body, sealer) = SealedRequest::parse(&bytes).unwrap().open(&SECRET, ROUTE).unwrap();
    assert_eq!(body, data);
    let head = Head {
        status: 200,
        window: Window::from_bytes([2; 16]),
        content_type: "text/plain".into(),
    };
    let (mut answer, mut stream) = sealer.start(&head).unwrap();
    answer.extend(stream.data(data).unwrap());
    if genuine {
        answer.extend(stream.finish(more).unwrap());
        let whole = read(&mut opener, &answer, cut);
        assert_eq!(whole, Some([data, more].concat()));
    } else {
        // Whatever somebody writes in place of the end.
        answer.extend_from_slice(more);
        assert_eq!(read(&mut opener, &answer, cut), None);
    }
});

/// The content, if the answer is whole.
fn read(opener: &mut ResponseOpener, bytes: &[u8], cut: u8) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    for part in bytes.chunks(usize::from(cut).max(1)) {
        opener.push(part, &mut out).ok()?;
    }
    opener.finish().ok()?;
    Some(out)
}
