//! What holds for any body, on any wire.

#![allow(clippy::unwrap_used, reason = "a test that fails may panic")]

use equicrypt_sealed::{
    Error, Head, MOST_OVERHEAD, ResponseOpener, SealedRequest, StreamSealer, TransportSecret,
    Window, seal,
};
use proptest::prelude::*;

const ROUTE: &str = "POST /v1/embeddings";

fn head() -> Head {
    Head {
        status: 200,
        window: Window::from_bytes([3; 16]),
        content_type: "text/event-stream".into(),
    }
}

/// A request that was opened: what the asker reads the answer with, the answer's beginning, and what seals the rest.
fn exchange() -> (ResponseOpener, Vec<u8>, StreamSealer) {
    let secret = TransportSecret::generate().unwrap();
    let public = secret.public().unwrap();
    let (bytes, opener) = seal(&public, &Window::random().unwrap(), ROUTE, b"{}").unwrap();
    let (_, sealer) = SealedRequest::parse(&bytes)
        .unwrap()
        .open(&secret, ROUTE)
        .unwrap();
    let (start, stream) = sealer.start(&head()).unwrap();
    (opener, start, stream)
}

/// The parts of an answer with these pieces: the nonce with the head, each piece, and the end.
fn answer(pieces: &[Vec<u8>]) -> (ResponseOpener, Vec<Vec<u8>>) {
    let (opener, start, mut stream) = exchange();
    let mut parts = vec![start];
    parts.extend(pieces.iter().map(|piece| stream.data(piece).unwrap()));
    parts.push(stream.finish(&[]).unwrap());
    (opener, parts)
}

/// Everything in the answer, cut at every `cut` bytes.
fn read(opener: &mut ResponseOpener, bytes: &[u8], cut: usize) -> Result<Vec<u8>, Error> {
    let mut out = Vec::new();
    bytes
        .chunks(cut)
        .try_for_each(|part| opener.push(part, &mut out))?;
    opener.finish()?;
    Ok(out)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn any_body_arrives(body in proptest::collection::vec(any::<u8>(), 0..3000)) {
        let secret = TransportSecret::generate().unwrap();
        let window = Window::random().unwrap();
        let (bytes, _) = seal(&secret.public().unwrap(), &window, ROUTE, &body).unwrap();
        prop_assert!(bytes.len() > body.len() && bytes.len() <= body.len() + MOST_OVERHEAD);
        prop_assert_eq!(bytes.len() % 64, (1 + 16 + 32 + 16) % 64);
        let request = SealedRequest::parse(&bytes).unwrap();
        prop_assert_eq!(request.window(), window);
        prop_assert_eq!(request.open(&secret, ROUTE).unwrap().0, body);
        prop_assert!(request.open(&secret, "POST /v1/embedding").is_err());
        prop_assert!(request.open(&secret, "PUT /v1/embeddings").is_err());
        prop_assert!(request.open(&TransportSecret::generate().unwrap(), ROUTE).is_err());
    }

    #[test]
    fn any_answer_arrives_however_it_is_cut(
        pieces in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..400), 0..8),
        cut in 1..500usize,
    ) {
        let (mut opener, parts) = answer(&pieces);
        let found = read(&mut opener, &parts.concat(), cut).unwrap();
        prop_assert_eq!(found, pieces.concat());
        prop_assert_eq!(opener.head(), Some(&head()));
    }

    #[test]
    fn arbitrary_bytes_are_refused(bytes in proptest::collection::vec(any::<u8>(), 0..1000)) {
        let secret = TransportSecret::generate().unwrap();
        if let Ok(request) = SealedRequest::parse(&bytes) {
            prop_assert!(request.open(&secret, ROUTE).is_err());
        }
        let (mut opener, _, _) = exchange();
        prop_assert!(read(&mut opener, &bytes, 7).is_err());
    }

    #[test]
    fn what_is_cut_off_anywhere_is_no_answer(share in 0.0..1.0f64) {
        let (mut opener, parts) = answer(&[b"one".to_vec(), vec![2; 300]]);
        let bytes = parts.concat();
        let cut = &bytes[..(bytes.len() as f64 * share) as usize];
        let error = read(&mut opener, cut, 90).unwrap_err();
        prop_assert!(matches!(error, Error::Truncated { .. }), "{}", error);
    }
}

#[test]
fn every_flipped_bit_of_a_request_is_refused() {
    let secret = TransportSecret::generate().unwrap();
    let public = secret.public().unwrap();
    let (bytes, _) = seal(
        &public,
        &Window::random().unwrap(),
        ROUTE,
        b"{\"input\":[1]}",
    )
    .unwrap();
    for bit in 0..bytes.len() * 8 {
        let mut changed = bytes.clone();
        changed[bit / 8] ^= 1 << (bit % 8);
        let opened = SealedRequest::parse(&changed)
            .and_then(|request| request.open(&secret, ROUTE).map(drop));
        assert!(opened.is_err(), "bit {bit}");
    }
}

#[test]
fn every_flipped_bit_of_an_answer_is_refused() {
    let (_, parts) = answer(&[b"one".to_vec()]);
    let bits = parts.concat().len() * 8;
    for bit in 0..bits {
        let (mut opener, parts) = answer(&[b"one".to_vec()]);
        let mut changed = parts.concat();
        changed[bit / 8] ^= 1 << (bit % 8);
        assert!(
            read(&mut opener, &changed, usize::MAX).is_err(),
            "bit {bit}"
        );
    }
}

#[test]
fn whatever_is_done_to_frames_is_noticed_and_named() {
    let pieces: Vec<Vec<u8>> = (0..5).map(|piece| vec![piece; 20]).collect();
    type Change = fn(&mut Vec<Vec<u8>>);
    type Check = fn(&Error) -> bool;
    let changes: [(Change, Check); 8] = [
        (
            |parts| drop(parts.pop()),
            |e| matches!(e, Error::Truncated { frames: 6 }),
        ),
        (
            |parts| parts.swap(2, 3),
            |e| {
                matches!(
                    e,
                    Error::Skipped {
                        expected: 2,
                        found: 3
                    }
                )
            },
        ),
        (
            |parts| drop(parts.remove(2)),
            |e| {
                matches!(
                    e,
                    Error::Skipped {
                        expected: 2,
                        found: 3
                    }
                )
            },
        ),
        (
            |parts| parts.insert(3, parts[2].clone()),
            |e| {
                matches!(
                    e,
                    Error::Repeated {
                        expected: 3,
                        found: 2
                    }
                )
            },
        ),
        (
            |parts| parts.insert(5, parts[2].clone()),
            |e| {
                matches!(
                    e,
                    Error::Repeated {
                        expected: 5,
                        found: 2
                    }
                )
            },
        ),
        (
            |parts| parts.push(vec![0]),
            |e| matches!(e, Error::Appended),
        ),
        (
            |parts| parts.push(parts[1].clone()),
            |e| matches!(e, Error::Appended),
        ),
        (
            |parts| parts[2][40] ^= 1,
            |e| matches!(e, Error::Forged { frame: 2 }),
        ),
    ];
    for (number, (change, is_right)) in changes.into_iter().enumerate() {
        let (mut opener, mut parts) = answer(&pieces);
        change(&mut parts);
        let error = read(&mut opener, &parts.concat(), 33).unwrap_err();
        assert!(is_right(&error), "change {number}: {error}");
    }
}

#[test]
fn frames_of_another_answer_are_refused() {
    let (_, other) = answer(&[b"one".to_vec()]);
    let (mut opener, mut parts) = answer(&[b"one".to_vec()]);
    parts[1] = other[1].clone();
    let error = read(&mut opener, &parts.concat(), 11).unwrap_err();
    assert!(matches!(error, Error::Forged { frame: 1 }), "{error}");
}

#[test]
fn nothing_is_opened_after_an_error() {
    let (mut opener, parts) = answer(&[b"one".to_vec(), b"two".to_vec()]);
    let mut out = Vec::new();
    opener.push(&parts[0], &mut out).unwrap();
    assert!(opener.push(&parts[2], &mut out).is_err());
    for part in [&parts[1], &parts[2], &parts[3]] {
        assert!(opener.push(part, &mut out).is_err());
    }
    assert!(out.is_empty() && opener.finish().is_err());
}

#[test]
fn an_impossible_length_is_refused_before_anything_is_kept() {
    for length in [0, 16, 79, 81, (1 << 16) + 17, (1 << 16) + 80, u32::MAX] {
        let (mut opener, start, _) = exchange();
        let mut out = Vec::new();
        opener.push(&start, &mut out).unwrap();
        let error = opener.push(&length.to_be_bytes(), &mut out).unwrap_err();
        assert!(
            matches!(error, Error::FrameLength { frame: 1, found } if found == length),
            "{error}"
        );
    }
}

#[test]
fn long_pieces_are_several_frames() {
    let long: Vec<u8> = (0..300_000u32).map(|n| n as u8).collect();
    let (mut opener, mut bytes, stream) = exchange();
    bytes.extend(stream.finish(&long).unwrap());
    assert!(bytes.len() < long.len() + 1000);
    assert_eq!(read(&mut opener, &bytes, 1460).unwrap(), long);
}

#[test]
fn the_number_of_digits_does_not_show() {
    let secret = TransportSecret::generate().unwrap();
    let public = secret.public().unwrap();
    let window = Window::random().unwrap();
    let length = |body: &str| {
        seal(&public, &window, ROUTE, body.as_bytes())
            .unwrap()
            .0
            .len()
    };
    assert_eq!(length("{\"ids\":[1]}"), length("{\"ids\":[151935]}"));
    let frame = |event: &str| {
        let (_, _, mut stream) = exchange();
        stream.data(event.as_bytes()).unwrap().len()
    };
    assert_eq!(
        frame("data: {\"token_ids\":[1]}\n\n"),
        frame("data: {\"token_ids\":[151935]}\n\n")
    );
}
