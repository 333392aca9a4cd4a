use std::fs;

use proptest::prelude::*;
use rayon::prelude::*;

use super::*;
use crate::gguf::{GgufFile, MetadataArray};

fn metadata() -> Vec<(String, MetadataValue)> {
    let array = MetadataValue::Array;
    [
        (
            "general.architecture",
            MetadataValue::String("llama".into()),
        ),
        ("u", MetadataValue::Unsigned(7)),
        ("u64", MetadataValue::Unsigned(1 << 40)),
        ("i", MetadataValue::Signed(-7)),
        ("i64", MetadataValue::Signed(-(1 << 40))),
        ("f", MetadataValue::F32(1e-5)),
        ("d", MetadataValue::F64(0.1)),
        ("b", MetadataValue::Bool(true)),
        (
            "t",
            array(MetadataArray::String(vec!["ä".into(), "".into()])),
        ),
        ("s", array(MetadataArray::F32(vec![0.5, -1.0]))),
        ("k", array(MetadataArray::I32(vec![1, -1]))),
        ("w", array(MetadataArray::Bool(vec![true, false]))),
        (
            "n",
            array(MetadataArray::Array(vec![
                MetadataArray::U8(vec![1]),
                MetadataArray::U16(vec![]),
                MetadataArray::I8(vec![-1]),
                MetadataArray::I16(vec![-2]),
                MetadataArray::U32(vec![3]),
                MetadataArray::U64(vec![4]),
                MetadataArray::I64(vec![-5]),
                MetadataArray::F64(vec![6.5]),
            ])),
        ),
    ]
    .map(|(key, value)| (key.to_owned(), value))
    .into()
}

#[test]
fn the_bytes_are_as_the_format_says() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("m.gguf");
    let tensors = [
        GgufTensorHeader::new("a", GgmlType::F16, &[1, 2]),
        GgufTensorHeader::new("b", GgmlType::F32, &[1]),
    ];
    let key = [("k".to_owned(), MetadataValue::Unsigned(9))];
    let writer = GgufWriter::create(&path, &key, &tensors).unwrap();
    assert_eq!(writer.data_len(), 8);
    writer.write("b", 0, &[5, 6, 7, 8]).unwrap();
    writer.write("a", 2, &[3, 4]).unwrap();
    writer.write("a", 0, &[1, 2]).unwrap();
    writer.finish().unwrap();
    let mut expected = b"GGUF\x03\0\0\0".to_vec();
    expected.extend([2, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0]);
    expected.extend(b"\x01\0\0\0\0\0\0\0k\x04\0\0\0\x09\0\0\0");
    expected.extend(b"\x01\0\0\0\0\0\0\0a\x02\0\0\0");
    expected.extend([2, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0]);
    expected.extend([1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    expected.extend(b"\x01\0\0\0\0\0\0\0b\x01\0\0\0");
    expected.extend([1, 0, 0, 0, 0, 0, 0, 0]);
    expected.extend([0, 0, 0, 0, 32, 0, 0, 0, 0, 0, 0, 0]);
    expected.resize(expected.len().next_multiple_of(32), 0);
    expected.extend([1, 2, 3, 4]);
    expected.resize(expected.len() + 28, 0);
    expected.extend([5, 6, 7, 8]);
    expected.resize(expected.len() + 28, 0);
    assert_eq!(fs::read(&path).unwrap(), expected);
}

#[test]
fn every_kind_of_metadata_reads_back() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("m.gguf");
    GgufWriter::create(&path, &metadata(), &[])
        .unwrap()
        .finish()
        .unwrap();
    let file = GgufFile::open(&path).unwrap();
    assert_eq!(file.header().metadata, metadata());
    assert_eq!(file.header().version, 3);
}

#[test]
fn unfinished_double_and_misplaced_writes_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let tensors = [GgufTensorHeader::new("w", GgmlType::F32, &[2])];
    let create = |name: &str| GgufWriter::create(&dir.path().join(name), &[], &tensors).unwrap();
    let writer = create("a");
    let far = writer.write("w", 5, &[0; 4]);
    assert!(matches!(far, Err(Error::OutOfRange { .. })));
    let other = writer.write("v", 0, &[0; 4]);
    assert!(matches!(other, Err(Error::NoSuchTensor { .. })));
    writer.write("w", 0, &[0; 4]).unwrap();
    let message = writer.finish().unwrap_err().to_string();
    assert!(
        message.contains("4 of 8 bytes of tensor \"w\""),
        "{message}"
    );
    let writer = create("b");
    writer.write("w", 0, &[0; 8]).unwrap();
    writer.write("w", 0, &[0; 4]).unwrap();
    let twice = writer.finish();
    assert!(matches!(twice, Err(Error::Incomplete { written: 12, .. })));
    let again = GgufWriter::create(&dir.path().join("a"), &[], &tensors);
    assert!(matches!(again, Err(Error::Io { .. })));
}

#[test]
fn impossible_headers_are_refused_before_a_file_exists() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a");
    let bad = |keys: &[&str], tensors: &[GgufTensorHeader]| {
        let metadata: Vec<_> = keys
            .iter()
            .map(|key| ((*key).to_owned(), MetadataValue::Bool(true)))
            .collect();
        let error = GgufWriter::create(&path, &metadata, tensors).unwrap_err();
        assert!(matches!(error, Error::Layout { .. }), "{error}");
        assert!(!path.exists());
    };
    let tensor = |name: &str, kind, shape: &[usize]| GgufTensorHeader::new(name, kind, shape);
    bad(&["k", "k"], &[]);
    bad(&[""], &[]);
    bad(&["general.alignment"], &[]);
    bad(&[&"k".repeat(65_536)], &[]);
    let twice = tensor("w", GgmlType::F32, &[2]);
    bad(&[], &[twice.clone(), twice]);
    bad(&[], &[tensor("", GgmlType::F32, &[2])]);
    bad(&[], &[tensor(&"n".repeat(64), GgmlType::F32, &[2])]);
    bad(&[], &[tensor("w", GgmlType::F32, &[])]);
    bad(&[], &[tensor("w", GgmlType::F32, &[0])]);
    bad(&[], &[tensor("w", GgmlType::F32, &[1; 5])]);
    bad(&[], &[tensor("w", GgmlType::Q8_0, &[2, 48])]);
    bad(&[], &[tensor("w", GgmlType::F32, &[usize::MAX, 2])]);
    let huge = usize::MAX / 8;
    bad(
        &[],
        &[
            tensor("v", GgmlType::F32, &[huge, 2]),
            tensor("w", GgmlType::F32, &[huge, 2]),
        ],
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn what_is_written_is_read(
        tensors in prop::collection::btree_map(
            "[ -~äλ]{1,12}",
            (0..GgmlType::ALL.len(), prop::collection::vec(1..4usize, 1..4), any::<u8>()),
            0..6,
        ),
    ) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("m.gguf");
        let headers: Vec<GgufTensorHeader> = tensors
            .iter()
            .map(|(name, (kind, shape, _))| {
                let kind = GgmlType::ALL[*kind];
                let mut shape = shape.clone();
                *shape.last_mut().unwrap() *= kind.block_values();
                GgufTensorHeader::new(name, kind, &shape)
            })
            .collect();
        let datas: Vec<Vec<u8>> = headers
            .iter()
            .zip(tensors.values())
            .map(|(header, (_, _, seed))| {
                let len = header.byte_len().unwrap();
                (0..len).map(|i| seed.wrapping_add((i as u8).wrapping_mul(7))).collect()
            })
            .collect();
        let writer = GgufWriter::create(&path, &metadata(), &headers).unwrap();
        headers.par_iter().zip(&datas).for_each(|(header, data)| {
            let (left, right) = data.split_at(data.len() / 3);
            writer.write(&header.name, left.len() as u64, right).unwrap();
            writer.write(&header.name, 0, left).unwrap();
        });
        writer.finish().unwrap();
        let file = GgufFile::open(&path).unwrap();
        prop_assert_eq!(&file.header().metadata, &metadata());
        prop_assert_eq!(file.header().tensors.len(), headers.len());
        for ((tensor, header), data) in file.header().tensors.iter().zip(&headers).zip(&datas) {
            prop_assert_eq!(&tensor.name, &header.name);
            prop_assert_eq!((tensor.kind, &tensor.shape), (header.kind, &header.shape));
            let mut out = vec![0; tensor.byte_len as usize];
            file.read(&tensor.name, 0, &mut out).unwrap();
            prop_assert_eq!(&out, data);
        }
    }
}
