//! The forward pass against Hugging Face transformers; `tools/golden` made the expected values.
#![allow(clippy::unwrap_used, reason = "a test that fails may panic")]

use std::path::Path;

use equicrypt_checkpoint::Checkpoint;
use equicrypt_engine::{Chunk, Decoder, Error, Logits, Precision, Want};
use equicrypt_spec::{ARCHITECTURES, ModelConfig, TensorSpec};

mod tiny;

use serde_json::Value;

#[test]
fn the_stream_of_weights_is_that_of_the_golden_file() {
    let file = golden("decoders/llama.json");
    let expected = numbers(&file["first_u_of_lm_head_weight"]);
    let found: Vec<_> = tiny::uniform("lm_head.weight")
        .take(expected.len())
        .collect();
    assert!(
        largest_difference(&found, &expected) < 1e-15,
        "{found:?} {expected:?}"
    );
}

#[test]
fn every_architecture_agrees_with_transformers_in_both_precisions() {
    for arch in ARCHITECTURES.iter().filter(|arch| !arch.is_encoder()) {
        let file = golden(&format!("decoders/{}.json", arch.model_type));
        let mut cases = file["cases"].as_array().unwrap().clone();
        assert!(cases.len() > 1);
        for case in &mut cases {
            // Transformers ignores this field where other engines obey it, so that a model which sets it is refused.
            if arch.model_type == "deepseek_v2" && case["config"]["norm_topk_prob"] == true {
                assert!(ModelConfig::from_json(&case["config"]).is_err());
                case["config"]["norm_topk_prob"] = false.into();
            }
            if is_too_long(case) {
                continue;
            }
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

/// Whether the prompt is longer than the context whose frequencies the engine uses: it must be refused.
fn is_too_long(case: &Value) -> bool {
    let config = ModelConfig::from_json(&case["config"]).unwrap();
    let (tokens, context) = (ids(&case["ids"]), config.exact_context());
    if tokens.len() <= context {
        return false;
    }
    let decoder = tiny::decoder(&case["config"], Precision::F32);
    let mut cache = decoder.new_cache();
    let chunk = Chunk {
        tokens: &tokens,
        cache: &mut cache,
        want: Want::Last,
    };
    let error = decoder.forward(&mut [chunk]).unwrap_err();
    assert!(
        matches!(error, Error::ContextLength { max_positions, .. } if max_positions == context)
    );
    true
}

/// The largest difference of a logit from the golden ones.
fn difference(case: &Value, precision: Precision) -> f64 {
    let config = ModelConfig::from_json(&case["config"]).unwrap();
    // The formula goes by the tensors' names, and so by the names of this file.
    let shapes: Vec<(&str, Vec<usize>)> = case["tensors"]
        .as_object()
        .unwrap()
        .iter()
        .map(|(name, shape)| {
            (
                name.as_str(),
                ids(shape).iter().map(|n| *n as usize).collect(),
            )
        })
        .collect();
    let header = shapes.iter().map(|(name, shape)| (*name, shape.as_slice()));
    let named = config.architecture.check(&config, header).unwrap();
    let mut named = named.iter();
    let mut read = |_: &TensorSpec| Ok(tiny::values(named.next().unwrap()));
    let decoder = Decoder::from_tensors(config, precision, &mut read).unwrap();
    let logits = run(&decoder, &ids(&case["ids"]));
    let rows = ids(&case["positions"]).into_iter();
    rows.zip(case["logits"].as_array().unwrap())
        .map(|(row, expected)| {
            largest_difference(&logits.row_f64(row as usize), &numbers(expected))
        })
        .fold(0.0, f64::max)
}

/// Needs the model's folder in the variable EQUICRYPT_SMOLLM2.
#[test]
fn smollm2_agrees_with_transformers() {
    let Some(dir) = std::env::var_os("EQUICRYPT_SMOLLM2") else {
        println!("EQUICRYPT_SMOLLM2 is not set: nothing compared");
        return;
    };
    let checkpoint = Checkpoint::open(Path::new(&dir)).unwrap();
    let decoder = Decoder::load(&checkpoint, Precision::F32).unwrap();
    let file = golden("smollm2_logits.json");
    let checked = ids(&file["logit_ids"]);
    let mut worst = 0.0_f64;
    for prompt in file["prompts"].as_array().unwrap() {
        let tokens = ids(&prompt["ids"]);
        let logits = run(&decoder, &tokens);
        for position in prompt["positions"].as_array().unwrap() {
            let row = logits.row(position["position"].as_u64().unwrap() as usize);
            let found: Vec<_> = checked
                .iter()
                .map(|id| f64::from(row[*id as usize]))
                .collect();
            let sum: f64 = row.iter().map(|logit| f64::from(*logit).exp()).sum();
            worst = worst
                .max(largest_difference(&found, &numbers(&position["logits"])))
                .max((sum.ln() - position["logsumexp"].as_f64().unwrap()).abs());
            assert_eq!(argmax(row), position["argmax"].as_u64().unwrap() as u32);
        }
        let expected = ids(&prompt["greedy"]);
        assert_eq!(
            greedy(&decoder, &tokens, expected.len()),
            expected,
            "{}",
            prompt["name"]
        );
    }
    println!("largest difference of a logit: {worst:e}");
    assert!(worst < 1e-3, "{worst:e}");
}

fn run(decoder: &Decoder, tokens: &[u32]) -> Logits {
    let mut cache = decoder.new_cache();
    let chunk = Chunk {
        tokens,
        cache: &mut cache,
        want: Want::All,
    };
    decoder.forward(&mut [chunk]).unwrap().remove(0)
}

fn greedy(decoder: &Decoder, prompt: &[u32], len: usize) -> Vec<u32> {
    let mut cache = decoder.new_cache();
    let (mut tokens, mut answer) = (prompt.to_vec(), Vec::new());
    while answer.len() < len {
        let chunk = Chunk {
            tokens: &tokens,
            cache: &mut cache,
            want: Want::Last,
        };
        let logits = decoder.forward(&mut [chunk]).unwrap();
        tokens = vec![argmax(logits[0].row(0))];
        answer.push(tokens[0]);
    }
    answer
}

fn argmax(row: &[f32]) -> u32 {
    let best = row
        .iter()
        .enumerate()
        .max_by(|a, b| a.1.total_cmp(b.1))
        .unwrap();
    best.0 as u32
}

fn largest_difference(a: &[f64], b: &[f64]) -> f64 {
    assert_eq!(a.len(), b.len());
    a.iter()
        .zip(b)
        .map(|(a, b)| (a - b).abs())
        .fold(0.0, f64::max)
}

/// A golden file.
fn golden(name: &str) -> Value {
    let path = format!("{}/../../tests/golden/{name}", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
    serde_json::from_str(&text).unwrap()
}

/// A list of token ids.
fn ids(value: &Value) -> Vec<u32> {
    value
        .as_array()
        .unwrap()
        .iter()
        .map(|id| id.as_u64().unwrap() as u32)
        .collect()
}

/// A list of numbers.
fn numbers(value: &Value) -> Vec<f64> {
    value
        .as_array()
        .unwrap()
        .iter()
        .map(|x| x.as_f64().unwrap())
        .collect()
}
