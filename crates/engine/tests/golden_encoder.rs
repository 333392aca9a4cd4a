//! Encoders against Hugging Face transformers and sentence-transformers; `tools/golden` made the expected values.
#![allow(clippy::unwrap_used, reason = "a test that fails may panic")]

use std::path::Path;

use equicrypt_checkpoint::Checkpoint;
use equicrypt_engine::{Encoder, Error, Part, Precision, Text};
use equicrypt_spec::{ARCHITECTURES, ModelConfig, TensorSpec};
use serde_json::Value;

#[allow(dead_code, reason = "the decoders' tests use the rest")]
mod tiny;

#[test]
fn every_architecture_agrees_with_transformers_in_both_precisions() {
    for arch in ARCHITECTURES.iter().filter(|arch| arch.is_encoder()) {
        let file = golden(&format!("encoders/{}.json", arch.model_type));
        let cases = file["cases"].as_array().unwrap();
        assert!(cases.len() > 3);
        for case in cases {
            let single = (20.0 * case["f32_error"].as_f64().unwrap()).clamp(2e-5, 1e-4);
            for (precision, tolerance) in [(Precision::F64, 1e-9), (Precision::F32, single)] {
                let found = difference(case, precision);
                assert!(
                    found < tolerance,
                    "{} {} in {precision:?}: {found:e}",
                    arch.model_type,
                    case["name"]
                );
            }
        }
    }
}

/// The largest difference of any number from the golden ones, in what the class answers and in what it is made of.
fn difference(case: &Value, precision: Precision) -> f64 {
    let encoder = encoder(case, precision);
    let mut worst = 0.0_f64;
    for input in case["inputs"].as_array().unwrap() {
        for (field, part) in [
            ("hidden", Part::TokenVectors),
            ("pooled", Part::Pooled),
            ("logits", Part::Answer),
        ] {
            let Some(expected) = input.get(field) else {
                continue;
            };
            let tokens = ids(&input["ids"]);
            let token_types = input.get("token_types").map_or_else(Vec::new, ids);
            let text = Text {
                tokens: &tokens,
                token_types: &token_types,
            };
            let found = encoder.forward(&[text], part).unwrap().remove(0);
            let (width, values) = (found.width(), found.to_f64());
            let rows: Vec<&[f64]> = values.chunks_exact(width).collect();
            let expected: Vec<Vec<f64>> = match &expected[0] {
                Value::Array(_) => expected.as_array().unwrap().iter().map(numbers).collect(),
                _ => vec![numbers(expected)],
            };
            let wanted: Vec<usize> = match input.get("positions") {
                Some(positions) => ids(positions).iter().map(|p| *p as usize).collect(),
                None => (0..rows.len()).collect(),
            };
            assert_eq!(wanted.len(), expected.len());
            for (row, expected) in wanted.into_iter().zip(&expected) {
                worst = worst.max(largest_difference(rows[row], expected));
            }
        }
    }
    worst
}

fn encoder(case: &Value, precision: Precision) -> Encoder {
    let mut json = case["config"].clone();
    json["architectures"] = Value::Array(vec![case["class"].clone()]);
    let config = ModelConfig::from_json(&json).unwrap();
    let shapes: Vec<(&str, Vec<usize>)> = (case["tensors"].as_object().unwrap().iter())
        .map(|(name, shape)| {
            let shape = ids(shape).iter().map(|n| *n as usize).collect();
            (name.as_str(), shape)
        })
        .collect();
    let header = shapes.iter().map(|(name, shape)| (*name, shape.as_slice()));
    let named = config.architecture.check(&config, header).unwrap();
    // What the file lacks is made too, and read by nothing that is compared.
    let mut read = |tensor: &TensorSpec| {
        let found = named.iter().find(|named| named.key() == tensor.key());
        Ok(tiny::values(found.unwrap_or(tensor)))
    };
    Encoder::from_tensors(config, precision, &mut read).unwrap()
}

#[test]
fn a_text_is_answered_the_same_whatever_else_is_in_the_call() {
    for (family, index, part) in [
        ("bert", 2, Part::Answer),
        ("mpnet", 0, Part::TokenVectors),
        ("modernbert", 3, Part::Answer),
        ("roberta", 0, Part::TokenVectors),
    ] {
        let file = golden(&format!("encoders/{family}.json"));
        let case = &file["cases"][index];
        let encoder = encoder(case, Precision::F32);
        let texts: Vec<Vec<u32>> = (case["inputs"].as_array().unwrap().iter())
            .map(|input| ids(&input["ids"]))
            .collect();
        let text = |tokens| Text {
            tokens,
            token_types: &[],
        };
        let all: Vec<Text<'_>> = texts.iter().chain(&texts).map(|t| text(t)).collect();
        let together = encoder.forward(&all, part).unwrap();
        for (tokens, together) in all.iter().zip(&together) {
            let alone = encoder.forward(&[*tokens], part).unwrap().remove(0);
            assert_eq!(alone, *together, "{family}");
        }
    }
}

#[test]
fn what_the_model_cannot_read_or_give_is_refused() {
    let file = golden("encoders/bert.json");
    let encoder = encoder(&file["cases"][0], Precision::F32);
    let config = encoder.config();
    let forward = |tokens: &[u32], token_types: &[u32], part| {
        let text = Text {
            tokens,
            token_types,
        };
        encoder.forward(&[text], part).map(|_| ())
    };
    let long = vec![1; config.exact_context() + 1];
    assert!(forward(&long[1..], &[], Part::Pooled).is_ok());
    let error = |result: Result<(), Error>| result.unwrap_err();
    assert!(matches!(
        error(forward(&[], &[], Part::TokenVectors)),
        Error::EmptyText
    ));
    assert!(matches!(
        error(forward(&long, &[], Part::TokenVectors)),
        Error::TextLength { .. }
    ));
    let outside = [config.vocab_size as u32];
    assert!(matches!(
        error(forward(&outside, &[], Part::TokenVectors)),
        Error::TokenId { .. }
    ));
    for types in [&[0][..], &[0, 2], &[0, 0, 0]] {
        assert!(matches!(
            error(forward(&[1, 2], types, Part::TokenVectors)),
            Error::TokenTypes { .. }
        ));
    }
    assert!(matches!(
        error(forward(&[1], &[], Part::Answer)),
        Error::NoPart { .. }
    ));
}

/// Needs the model's folder in the variable EQUICRYPT_MINILM.
#[test]
fn minilm_agrees_with_sentence_transformers() {
    let Some(dir) = std::env::var_os("EQUICRYPT_MINILM") else {
        println!("EQUICRYPT_MINILM is not set: nothing compared");
        return;
    };
    let checkpoint = Checkpoint::open(Path::new(&dir)).unwrap();
    let encoder = Encoder::load(&checkpoint, Precision::F32).unwrap();
    let file = golden("minilm_embeddings.json");
    let mut worst = 0.0_f64;
    for case in file["cases"].as_array().unwrap() {
        let tokens = ids(&case["ids"]);
        let text = Text {
            tokens: &tokens,
            token_types: &[],
        };
        let found = encoder.forward(&[text], Part::Answer).unwrap();
        worst = worst.max(largest_difference(
            &found[0].to_f64(),
            &numbers(&case["embedding"]),
        ));
    }
    println!("largest difference of a coordinate: {worst:e}");
    assert!(worst < 1e-5, "{worst:e}");
}

fn largest_difference(a: &[f64], b: &[f64]) -> f64 {
    assert_eq!(a.len(), b.len());
    let differences = a.iter().zip(b).map(|(a, b)| (a - b).abs());
    differences.fold(0.0, f64::max)
}

/// A golden file.
fn golden(name: &str) -> Value {
    let path = format!("{}/../../tests/golden/{name}", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
    serde_json::from_str(&text).unwrap()
}

fn ids(value: &Value) -> Vec<u32> {
    let ids = value.as_array().unwrap().iter();
    ids.map(|id| id.as_u64().unwrap() as u32).collect()
}

fn numbers(value: &Value) -> Vec<f64> {
    let numbers = value.as_array().unwrap().iter();
    numbers.map(|x| x.as_f64().unwrap()).collect()
}
