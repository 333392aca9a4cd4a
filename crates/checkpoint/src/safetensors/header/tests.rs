use super::*;
use proptest::prelude::*;

fn parse(json: &str, data_len: u64) -> Result<Header, Error> {
    parse_header(Path::new("model.safetensors"), json.as_bytes(), data_len)
}

fn refusal(json: &str, data_len: u64) -> String {
    let message = parse(json, data_len).unwrap_err().to_string();
    assert!(message.contains("model.safetensors"), "{message}");
    message
}

const GOOD: &str = r#"{"__metadata__":{"format":"pt"},"b":{"dtype":"BF16","shape":[2,3],"data_offsets":[4,16]},"a":{"dtype":"F32","shape":[],"data_offsets":[0,4]},"e":{"dtype":"F16","shape":[0,7],"data_offsets":[16,16]}} "#;

#[test]
fn a_good_header_is_read_in_file_order() {
    let header = parse(GOOD, 16).unwrap();
    let names: Vec<&str> = header.tensors.iter().map(|t| t.name.as_str()).collect();
    assert_eq!(names, ["a", "b", "e"]);
    assert_eq!(header.tensors[1].shape, [2, 3]);
    assert_eq!(header.tensors[1].byte_len, 12);
    assert_eq!(header.tensors[2].elements(), 0);
    assert_eq!(header.metadata, [("format".to_owned(), "pt".to_owned())]);
}

#[test]
fn holes_overlaps_and_wrong_ends_are_refused() {
    let two = |a: &str, b: &str, len| {
        refusal(
            &format!(
                r#"{{"a":{{"dtype":"F32","shape":[2],"data_offsets":{a}}},"b":{{"dtype":"F32","shape":[1],"data_offsets":{b}}}}}"#
            ),
            len,
        )
    };
    assert!(two("[0,8]", "[12,16]", 16).contains("ends at 8"));
    assert!(two("[0,8]", "[4,8]", 8).contains("ends at 8"));
    assert!(two("[0,8]", "[0,4]", 8).contains("ends at"));
    assert!(two("[4,12]", "[12,16]", 16).contains("ends at 0"));
    assert!(two("[0,8]", "[8,12]", 13).contains("13 bytes of data"));
    assert!(two("[0,8]", "[8,12]", 11).contains("11 bytes of data"));
    assert!(two("[0,8]", "[8,4]", 12).contains("ends at 8"));
}

#[test]
fn shape_dtype_and_offsets_must_agree() {
    let one = |dtype: &str, shape: &str, end: u64| {
        refusal(
            &format!(r#"{{"a":{{"dtype":"{dtype}","shape":{shape},"data_offsets":[0,{end}]}}}}"#),
            end,
        )
    };
    assert!(one("F64", "[2]", 8).contains("cannot take"));
    assert!(one("F16", "[2,2]", 16).contains("cannot take"));
    assert!(one("F32", "[4611686018427387904,4]", 0).contains("cannot take"));
    assert!(one("F32", "[18446744073709551616]", 4).contains("not as specified"));
    assert!(one("F32", "[-1]", 4).contains("not as specified"));
    assert!(one("F32", "[1.5]", 4).contains("not as specified"));
}

#[test]
fn repeated_and_unknown_keys_are_refused() {
    let entry = r#"{"dtype":"F32","shape":[],"data_offsets":[0,4]}"#;
    assert!(refusal(&format!(r#"{{"a":{entry},"a":{entry}}}"#), 4).contains("twice"));
    assert!(refusal(r#"{"__metadata__":{"x":"1","x":"2"}}"#, 0).contains("metadata \"x\" occurs"));
    assert!(refusal(r#"{"__metadata__":{"x":1}}"#, 0).contains("string"));
    assert!(
        refusal(
            r#"{"a":{"dtype":"F32","dtype":"F32","shape":[],"data_offsets":[0,4]}}"#,
            4
        )
        .contains("duplicate field")
    );
    assert!(
        refusal(
            r#"{"a":{"dtype":"F32","shape":[],"data_offsets":[0,4],"z":0}}"#,
            4
        )
        .contains("unknown field")
    );
    assert!(refusal(r#"{"a":{"dtype":"F32","shape":[]}}"#, 0).contains("data_offsets"));
    assert!(refusal(r#" {}"#, 0).contains("begin with"));
    assert!(refusal(r#"{}{}"#, 0).contains("trailing"));
    assert!(refusal(&format!("{{\"a\":{}", "[".repeat(100_000)), 0).contains("tensor \"a\""));
}

#[test]
fn other_dtypes_are_refused_by_name_with_advice() {
    for dtype in ["F8_E4M3", "F8_E5M2", "I32", "I8", "U8", "I64", "F4"] {
        let json =
            format!(r#"{{"w.weight":{{"dtype":"{dtype}","shape":[8],"data_offsets":[0,8]}}}}"#);
        let message = refusal(&json, 8);
        assert!(
            message.contains("w.weight") && message.contains(dtype),
            "{message}"
        );
        assert!(
            message.contains("encrypt the bf16 model, quantise afterwards"),
            "{message}"
        );
    }
}

#[test]
fn index_buffers_are_set_aside_but_still_measured() {
    let json = |end: u64| {
        format!(
            r#"{{"embeddings.position_ids":{{"dtype":"I64","shape":[1,2],"data_offsets":[0,{end}]}}}}"#
        )
    };
    let header = parse(&json(16), 16).unwrap();
    assert!(header.tensors.is_empty());
    assert_eq!(header.ignored[0].name, "embeddings.position_ids");
    assert!(refusal(&json(8), 8).contains("cannot take"));
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(bytes: Vec<u8>, data_len: u64) {
        let _ = parse_header(Path::new("x"), &bytes, data_len);
    }

    #[test]
    fn no_mutation_makes_it_panic(
        changes in prop::collection::vec((0..GOOD.len(), any::<u8>()), 1..6),
        cut in 0..=GOOD.len(),
    ) {
        let mut bytes = GOOD.as_bytes().to_vec();
        for (at, byte) in changes {
            bytes[at] = byte;
        }
        bytes.truncate(cut);
        if let Ok(header) = parse_header(Path::new("x"), &bytes, 16) {
            let floats: u64 = header.tensors.iter().map(|t| t.byte_len).sum();
            prop_assert!(floats <= 16);
        }
    }
}
