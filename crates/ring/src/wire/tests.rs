use proptest::prelude::*;

use super::*;
use crate::expand;

fn residues(rows: usize, width: usize) -> Residues {
    let mut out = Residues::zeros(rows, width);
    expand(&MaskSeed::from_bytes([3; 32]), 0..rows as u64, &mut out);
    out
}

fn requests() -> Vec<Request> {
    vec![
        Request::Hello(ModelDigest::from_bytes([7; 32])),
        Request::Seed(MaskSeed::from_bytes([9; 32])),
        Request::Multiply {
            request: 1,
            layer: 2,
            queries: residues(3, 5),
        },
        Request::MultiplyMask {
            request: 4,
            layer: 5,
            rows: 6,
            first: u64::MAX - 3,
        },
    ]
}

fn answers() -> Vec<Answer> {
    vec![
        Answer::Welcome(ModelDigest::from_bytes([7; 32])),
        Answer::Product {
            request: 8,
            answers: residues(2, 9),
        },
        Answer::Refusal("another model".to_owned()),
    ]
}

fn bytes_of(request: &Request) -> Vec<u8> {
    let mut bytes = Vec::new();
    assert_eq!(request.write(&mut bytes).unwrap(), bytes.len());
    bytes
}

#[test]
fn messages_come_back_one_after_the_other() {
    let stream: Vec<u8> = requests().iter().flat_map(bytes_of).collect();
    let mut rest = stream.as_slice();
    for request in requests() {
        let (found, length) = Request::read(&mut rest).unwrap().unwrap();
        let bytes = bytes_of(&request);
        assert_eq!((bytes_of(&found), length), (bytes.clone(), bytes.len()));
    }
    assert!(Request::read(&mut rest).unwrap().is_none());
    for answer in answers() {
        let mut bytes = Vec::new();
        answer.write(&mut bytes).unwrap();
        let (found, length) = Answer::read(&mut bytes.as_slice()).unwrap().unwrap();
        assert_eq!(length, bytes.len());
        assert_eq!(format!("{found:?}"), format!("{answer:?}"));
    }
}

#[test]
fn sizes_are_those_that_are_stated() {
    let lengths: Vec<usize> = requests()
        .iter()
        .map(|request| bytes_of(request).len())
        .collect();
    assert_eq!(
        lengths,
        [40, 40, MULTIPLY_HEAD + 8 * 15, MULTIPLY_MASK_BYTES]
    );
    let mut bytes = Vec::new();
    answers()[1].write(&mut bytes).unwrap();
    assert_eq!(bytes.len(), PRODUCT_HEAD + 8 * 18);
}

#[test]
fn every_cut_is_an_error() {
    for request in requests() {
        let bytes = bytes_of(&request);
        for cut in 1..bytes.len() {
            let error = Request::read(&mut &bytes[..cut]).err().unwrap();
            assert!(matches!(error, FrameError::CutOff), "{error}");
        }
    }
}

#[test]
fn what_is_announced_and_too_long_is_refused_before_it_comes() {
    let mut bytes = bytes_of(&requests()[2]);
    bytes[..4].copy_from_slice(&(MOST_PAYLOAD as u32 + 1).to_le_bytes());
    let error = Request::read(&mut bytes.as_slice()).err().unwrap();
    assert!(matches!(error, FrameError::Length { .. }), "{error}");
    bytes[..4].copy_from_slice(&(MOST_PAYLOAD as u32).to_le_bytes());
    let error = Request::read(&mut bytes.as_slice()).err().unwrap();
    assert!(matches!(error, FrameError::CutOff), "{error}");
}

#[test]
fn another_version_another_kind_and_other_sizes_are_named() {
    let bytes = bytes_of(&requests()[2]);
    let read = |place: usize, byte: u8| {
        let mut bytes = bytes.clone();
        bytes[place] = byte;
        Request::read(&mut bytes.as_slice()).err().unwrap()
    };
    assert!(
        read(4, 2)
            .to_string()
            .contains("version 1 of the protocol, found 2")
    );
    assert!(matches!(read(5, 17), FrameError::Kind { found: 17, .. }));
    assert!(matches!(read(6, 1), FrameError::Content { .. }));
    for place in [16, 19, 20, 23] {
        assert!(matches!(read(place, 200), FrameError::Content { .. }));
    }
    let not_reduced = read(8 + 16 + 3, 0xff);
    assert!(
        matches!(not_reduced, FrameError::Residues(_)),
        "{not_reduced}"
    );
}

#[test]
fn a_refusal_shows_no_more_than_it_may() {
    let text = format!("\u{1b}[2Jé{}", "é".repeat(600));
    let mut bytes = Vec::new();
    Answer::Refusal(text).write(&mut bytes).unwrap();
    let Some((Answer::Refusal(found), _)) = Answer::read(&mut bytes.as_slice()).unwrap() else {
        panic!("expected a refusal")
    };
    assert!(found.starts_with("[2Jé") && found.len() <= 512);
}

proptest! {
    #[test]
    fn whatever_comes_is_a_message_or_an_error(
        mut bytes in prop::collection::vec(any::<u8>(), 0..200), kind in 0..24u8, length in 0..200u32,
    ) {
        let _ = Request::read(&mut bytes.as_slice());
        if bytes.len() >= 8 {
            bytes[..4].copy_from_slice(&length.to_le_bytes());
            bytes[4..8].copy_from_slice(&[VERSION, kind, 0, 0]);
        }
        for _ in 0..2 {
            if let Ok(Some((request, length))) = Request::read(&mut bytes.as_slice()) {
                prop_assert_eq!(&bytes_of(&request)[..], &bytes[..length]);
            }
            let _ = Answer::read(&mut bytes.as_slice());
        }
    }

    #[test]
    fn a_flipped_bit_is_another_message_or_an_error(which in 0..4usize, place: prop::sample::Index, bit in 0..8u32) {
        let bytes = bytes_of(&requests()[which]);
        let mut flipped = bytes.clone();
        flipped[place.index(bytes.len())] ^= 1 << bit;
        if let Ok(Some((request, _))) = Request::read(&mut flipped.as_slice()) {
            prop_assert_eq!(&bytes_of(&request)[..], &flipped[..bytes_of(&request).len()]);
            prop_assert_ne!(bytes_of(&request), bytes);
        }
    }
}
