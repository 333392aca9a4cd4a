use std::collections::HashSet;

use super::*;

#[test]
fn every_architecture_is_found_by_each_of_its_names() {
    for arch in &ARCHS {
        for (model_type, _) in arch.model_types {
            let found = GgufArch::of_model_type(model_type).unwrap();
            assert!(std::ptr::eq(found, arch), "{model_type}");
        }
        let found = GgufArch::of_gguf(arch.name, arch.has(Field::Experts)).unwrap();
        assert!(std::ptr::eq(found, arch), "{}", arch.name);
    }
    assert!(GgufArch::of_model_type("mamba").is_none());
    assert!(GgufArch::of_gguf("qwen2", true).is_none());
}

#[test]
fn the_first_tensor_is_the_embedding_and_no_name_occurs_twice() {
    for arch in &ARCHS {
        assert_eq!(arch.embedding().gguf, "token_embd.weight");
        assert_eq!(arch.embedding().shape[0], Dim::Vocab);
        let (mut hf, mut gguf) = (HashSet::new(), HashSet::new());
        for row in arch.rows() {
            assert!(hf.insert(row.hf) && gguf.insert(row.gguf), "{}", row.gguf);
            assert_eq!(
                row.hf.contains("{}"),
                row.gguf.contains("blk.{}."),
                "{}",
                row.hf
            );
            assert_eq!(row.hf.contains("{e}"), row.how == How::Stack, "{}", row.hf);
            // llama.cpp's own names are at most this long, with three digits of a layer.
            assert!(row.gguf.len() + 1 < 64);
        }
        assert!(!gguf.contains("output.weight"), "{}", arch.name);
    }
}

#[test]
fn every_size_of_a_tensor_is_a_field_of_its_architecture() {
    for arch in &ARCHS {
        let states = |wanted: fn(&Entry) -> bool| arch.entries.iter().any(wanted);
        for row in arch.rows() {
            for dim in row.shape {
                if let Dim::Field(field) = dim {
                    assert!(arch.has(*field), "{} {field:?}", row.gguf);
                }
            }
        }
        for field in [Field::Context, Field::Hidden, Field::Layers, Field::Heads] {
            assert!(arch.has(field), "{} {field:?}", arch.name);
        }
        assert!(states(|e| matches!(e, Entry::Tied(_))), "{}", arch.name);
    }
}
