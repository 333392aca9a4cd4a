use super::*;
use crate::gguf::MetadataArray;
use crate::gguf::testing::GgufBuilder;
use proptest::prelude::*;

fn parse_bytes(bytes: &[u8]) -> Result<GgufHeader, Error> {
    parse(Path::new("m.gguf"), bytes, bytes.len() as u64)
}

fn refusal(bytes: &[u8]) -> String {
    let message = parse_bytes(bytes).unwrap_err().to_string();
    assert!(message.contains("m.gguf"), "{message}");
    message
}

fn small() -> GgufBuilder {
    GgufBuilder::new()
        .string("general.name", "tiny")
        .u32("a.b", 7)
        .f32("f", 0.1)
        .bool("t", true)
        .strings("s", &["x", "yy", ""])
        .i32s("n", &[1, -2])
        .tensor("m", GgmlType::F32, &[2, 3], &[1; 24])
        .tensor("q", GgmlType::Q8_0, &[2, 32], &[2; 68])
}

#[test]
fn a_good_file_is_read() {
    for version in [2, 3] {
        let header = parse_bytes(&small().version(version).bytes()).unwrap();
        assert_eq!(header.version, version);
        assert_eq!(header.value("general.name").unwrap().as_str(), Some("tiny"));
        assert_eq!(header.value("a.b").unwrap().as_u64(), Some(7));
        assert_eq!(header.value("f").unwrap().as_f64(), Some(0.1));
        assert_eq!(header.value("t").unwrap().as_bool(), Some(true));
        let strings = ["x", "yy", ""].map(str::to_owned).to_vec();
        let array = MetadataValue::Array(MetadataArray::String(strings));
        assert_eq!(header.value("s"), Some(&array));
        assert_eq!(header.value("z"), None);
        assert_eq!(header.tensors[0].shape, [2, 3]);
        assert_eq!(
            (header.tensors[1].offset, header.tensors[1].byte_len),
            (32, 68)
        );
        assert_eq!(header.data_start % 32, 0);
    }
}

#[test]
fn every_truncation_is_refused() {
    let bytes = small().bytes();
    for cut in 0..bytes.len() {
        refusal(&bytes[..cut]);
    }
}

#[test]
fn foreign_and_old_files_are_refused() {
    assert!(refusal(b"GGML\x03\0\0\0").contains("begin with"));
    assert!(refusal(&small().version(1).bytes()).contains("version 1"));
    assert!(refusal(&small().version(3 << 24).bytes()).contains("big-endian"));
    assert!(refusal(&small().version(4).bytes()).contains("expected 2 or 3"));
}

#[test]
fn absurd_counts_are_refused_without_being_allocated() {
    let head = |tensors: u64, keys: u64| {
        [
            b"GGUF\x03\0\0\0",
            &tensors.to_le_bytes()[..],
            &keys.to_le_bytes(),
        ]
        .concat()
    };
    assert!(refusal(&head(u64::MAX, 0)).contains("number of tensors"));
    assert!(refusal(&head(0, u64::MAX / 13)).contains("number of metadata keys"));
    let key = |len: u64| [head(0, 1), len.to_le_bytes().to_vec(), vec![0; 16]].concat();
    assert!(refusal(&key(1 << 62)).contains("the length of a metadata key"));
    let array = |kind: u32, count: u64| {
        let value = [&kind.to_le_bytes()[..], &count.to_le_bytes()].concat();
        refusal(&GgufBuilder::new().raw("k", 9, &value).bytes())
    };
    for kind in [0, 3, 5, 7, 8, 9, 11, 12] {
        assert!(array(kind, u64::MAX / 2).contains("the length of metadata \"k\""));
    }
    assert!(array(13, 0).contains("unknown type 13"));
}

#[test]
fn deep_nesting_is_refused() {
    let mut value = Vec::new();
    for _ in 0..1000 {
        value.extend_from_slice(&9u32.to_le_bytes());
        value.extend_from_slice(&1u64.to_le_bytes());
    }
    assert!(refusal(&GgufBuilder::new().raw("k", 9, &value).bytes()).contains("nests"));
}

#[test]
fn bad_text_keys_names_and_flags_are_refused() {
    let bad_utf8 = [&2u64.to_le_bytes()[..], &[0xff, 0xfe]].concat();
    assert!(refusal(&GgufBuilder::new().raw("k", 8, &bad_utf8).bytes()).contains("UTF-8"));
    assert!(refusal(&small().u32("a.b", 8).bytes()).contains("\"a.b\" occurs twice"));
    let twice = small().tensor("m", GgmlType::F32, &[1], &[0; 4]);
    assert!(refusal(&twice.bytes()).contains("tensor \"m\" occurs twice"));
    assert!(refusal(&GgufBuilder::new().raw("k", 7, &[2]).bytes()).contains("BOOL"));
    assert!(refusal(&GgufBuilder::new().raw("k", 99, &[2]).bytes()).contains("type 99"));
    for alignment in [0, 3, 1 << 30] {
        let file = small().u32("general.alignment", alignment);
        assert!(refusal(&file.bytes()).contains("power of two"));
    }
}

#[test]
fn tensors_must_fit_their_places() {
    let at = |offset: u64, second: u64| {
        let file = GgufBuilder::new()
            .tensor_at("a", 0, &[4], offset)
            .tensor_at("b", 0, &[4], second);
        parse_bytes(&file.data(&[0; 64]).bytes())
    };
    assert!(at(0, 32).is_ok() && at(32, 0).is_ok());
    let message = |offset, second| at(offset, second).unwrap_err().to_string();
    assert!(message(0, 0).contains("overlaps"));
    assert!(message(0, 16).contains("not aligned"));
    assert!(message(0, 64).contains("64 bytes of data"));
    assert!(message(0, u64::MAX - 31).contains("bytes of data"));
}

#[test]
fn impossible_sizes_and_formats_are_refused() {
    let one = |kind: u32, dims: &[u64]| {
        refusal(
            &GgufBuilder::new()
                .tensor_at("w", kind, dims, 0)
                .data(&[0; 64])
                .bytes(),
        )
    };
    assert!(one(0, &[1 << 40, 1 << 40]).contains("too large"));
    assert!(one(0, &[u64::MAX]).contains("too large"));
    assert!(one(0, &[0]).contains("impossible size"));
    assert!(one(0, &[1; 5]).contains("5 axes"));
    assert!(one(8, &[33]).contains("not whole blocks of 32 Q8_0"));
    assert!(one(10, &[256]).contains("stored as Q2_K"));
    assert!(one(77, &[256]).contains("format number 77"));
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(bytes: Vec<u8>) {
        let _ = parse_bytes(&bytes);
        let _ = parse_bytes(&[b"GGUF\x03\0\0\0", &bytes[..]].concat());
    }

    #[test]
    fn no_mutation_makes_it_panic(
        changes in prop::collection::vec((0..400usize, any::<u8>()), 1..6),
    ) {
        let mut bytes = small().bytes();
        for (at, byte) in changes {
            let at = at % bytes.len();
            bytes[at] = byte;
        }
        if let Ok(header) = parse_bytes(&bytes) {
            let used: u64 = header.tensors.iter().map(|t| t.byte_len).sum();
            prop_assert!(used <= bytes.len() as u64);
        }
    }
}
