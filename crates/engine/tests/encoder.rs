//! What a text is answered does not depend on the others, wherever blocks of tokens end; sentence embeddings are what their
//! formulas say; a model runs in the engine of its kind only.
#![allow(clippy::unwrap_used, reason = "a test that fails may panic")]

use equicrypt_engine::{Decoder, Encoder, Error, Part, Precision, Text, Vectors};
use equicrypt_spec::{ModelConfig, Pooling, Role, SentenceDense, SentenceHead, Task, TensorSpec};
use serde_json::{Value, json};

#[allow(dead_code, reason = "the decoders' tests use the rest")]
mod tiny;

/// The body of a model with distances, positions that are not all counted, and heads of an odd size.
fn mpnet() -> Value {
    json!({
        "architectures": ["MPNetForMaskedLM"], "model_type": "mpnet", "vocab_size": 53, "hidden_size": 35,
        "num_hidden_layers": 2, "num_attention_heads": 5, "intermediate_size": 61,
        "max_position_embeddings": 330, "hidden_act": "gelu",
    })
}

/// With windows, RoPE, norms before the blocks and a gate.
fn modernbert() -> Value {
    json!({
        "architectures": ["ModernBertForTokenClassification"], "model_type": "modernbert", "vocab_size": 53,
        "hidden_size": 40, "num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 29,
        "max_position_embeddings": 330, "local_attention": 40, "hidden_activation": "gelu", "num_labels": 3,
    })
}

fn bert() -> Value {
    json!({
        "architectures": ["BertModel"], "model_type": "bert", "vocab_size": 53, "hidden_size": 20,
        "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 24,
        "max_position_embeddings": 90, "type_vocab_size": 2,
    })
}

fn encoder(config: ModelConfig, precision: Precision) -> Encoder {
    Encoder::from_tensors(config, precision, &mut |tensor| Ok(tiny::values(tensor))).unwrap()
}

fn tokens(len: usize, seed: usize) -> Vec<u32> {
    let id = |i: usize| ((i * 17 + i * i * 3 + seed * 29) % 53) as u32;
    (0..len).map(id).collect()
}

fn run(encoder: &Encoder, texts: &[Vec<u32>], part: Part) -> Vec<Vectors> {
    let text = |tokens| Text {
        tokens,
        token_types: &[],
    };
    let texts: Vec<Text<'_>> = texts.iter().map(|tokens| text(tokens)).collect();
    encoder.forward(&texts, part).unwrap()
}

#[test]
fn texts_of_any_lengths_do_not_touch_each_other() {
    let lengths = [3, 64, 65, 1, 128, 311, 17, 48, 96, 7];
    let texts: Vec<Vec<u32>> = (0..).zip(lengths).map(|(i, n)| tokens(n, i)).collect();
    for config in [mpnet(), modernbert(), bert()] {
        let config = ModelConfig::from_json(&config).unwrap();
        let fits = |tokens: &&Vec<u32>| tokens.len() <= config.exact_context();
        let fit: Vec<Vec<u32>> = texts.iter().filter(fits).cloned().collect();
        for precision in [Precision::F32, Precision::F64] {
            let encoder = encoder(config.clone(), precision);
            let part = match config.task {
                Task::Features => Part::Pooled,
                _ => Part::Answer,
            };
            let together = run(&encoder, &fit, part);
            for (text, together) in fit.iter().zip(&together) {
                let alone = run(&encoder, std::slice::from_ref(text), part);
                assert_eq!(alone[0], *together, "{} tokens", text.len());
            }
        }
    }
}

#[test]
fn other_names_change_nothing_else() {
    // 7 and 53 have no common factor.
    let id_of: Vec<u32> = (0..53).map(|name| (name * 7 + 5) % 53).collect();
    let name_of = |id: &u32| id_of.iter().position(|other| other == id).unwrap() as u32;
    let texts = [tokens(9, 1), tokens(4, 2)];
    let names = texts
        .each_ref()
        .map(|text| text.iter().map(name_of).collect());
    for config in [mpnet(), modernbert()] {
        let config = ModelConfig::from_json(&config).unwrap();
        for precision in [Precision::F32, Precision::F64] {
            let plain = run(&encoder(config.clone(), precision), &texts, Part::Answer);
            let renamed = encoder(config.clone(), precision).renamed(id_of.clone());
            let renamed = run(&renamed.unwrap(), &names, Part::Answer);
            for (plain, renamed) in plain.iter().zip(&renamed) {
                if config.task != Task::MaskedToken {
                    assert_eq!(plain, renamed);
                    continue;
                }
                let (plain, renamed) = (plain.to_f64(), renamed.to_f64());
                for (plain, renamed) in plain.chunks(53).zip(renamed.chunks(53)) {
                    let by_name: Vec<f64> = id_of.iter().map(|id| plain[*id as usize]).collect();
                    assert_eq!(renamed, by_name);
                }
            }
        }
        let bad = encoder(config, Precision::F32).renamed((0..52).collect());
        assert!(matches!(bad.err(), Some(Error::Names { id: 52, .. })));
    }
}

#[test]
fn both_precisions_agree_on_long_texts() {
    for config in [mpnet(), modernbert()] {
        let config = ModelConfig::from_json(&config).unwrap();
        let text = [tokens(300, 5)];
        let [single, double] = [Precision::F32, Precision::F64]
            .map(|precision| run(&encoder(config.clone(), precision), &text, Part::Answer));
        let worst = (single[0].to_f64().iter().zip(double[0].to_f64()))
            .map(|(a, b)| (a - b).abs())
            .fold(0.0, f64::max);
        assert!(worst < 1e-4 && worst > 0.0, "{worst:e}");
    }
}

#[test]
fn a_token_sees_what_comes_later() {
    for config in [mpnet(), modernbert()] {
        let config = ModelConfig::from_json(&config).unwrap();
        let encoder = encoder(config, Precision::F64);
        let long = tokens(300, 2);
        let whole = run(&encoder, std::slice::from_ref(&long), Part::TokenVectors).remove(0);
        let half = run(&encoder, &[long[..150].to_vec()], Part::TokenVectors).remove(0);
        let first = |vectors: &Vectors| vectors.to_f64()[..vectors.width()].to_vec();
        assert_ne!(first(&whole), first(&half));
    }
}

#[test]
fn sentence_embeddings_are_what_their_formulas_say() {
    let poolings = [
        Pooling::First,
        Pooling::Max,
        Pooling::Mean,
        Pooling::MeanSqrt,
        Pooling::WeightedMean,
        Pooling::Last,
    ];
    let dense = |bias, tanh| SentenceDense {
        input: 20,
        bias,
        tanh,
    };
    for pooling in poolings {
        for (dense, normalize) in [
            (None, false),
            (None, true),
            (Some(dense(true, true)), true),
            (Some(dense(false, false)), false),
        ] {
            let head = SentenceHead {
                pooling,
                width: if dense.is_some() { 9 } else { 0 },
                dense,
                normalize,
            };
            compare(head);
        }
    }
}

fn compare(head: SentenceHead) {
    let body = ModelConfig::from_json(&bert()).unwrap();
    let config = body.with_sentence(head.clone()).unwrap();
    let tensors = config.architecture.tensors(&config);
    let values = |role: Role| {
        let found = tensors.iter().find(|tensor| tensor.row.role == role);
        found.map(tiny::values)
    };
    let encoder = encoder(config.clone(), Precision::F64);
    let texts = [tokens(11, 1), tokens(1, 2), tokens(64, 3)];
    let hidden = run(&encoder, &texts, Part::TokenVectors);
    for (found, hidden) in run(&encoder, &texts, Part::Answer).iter().zip(&hidden) {
        let (all, width) = (hidden.to_f64(), hidden.width());
        let n = hidden.rows() as f64;
        let column = |c: usize| all.iter().skip(c).step_by(width).copied();
        let pooled: Vec<f64> = (0..width)
            .map(|c| match head.pooling {
                Pooling::First => all[c],
                Pooling::Last => all[all.len() - width + c],
                Pooling::Max => column(c).fold(f64::NEG_INFINITY, f64::max),
                Pooling::Mean => column(c).sum::<f64>() / n,
                Pooling::MeanSqrt => column(c).sum::<f64>() / n.sqrt(),
                Pooling::WeightedMean => {
                    let weighted = column(c).zip(1..).map(|(x, i)| x * f64::from(i));
                    weighted.sum::<f64>() / (n * (n + 1.0) / 2.0)
                }
            })
            .collect();
        let mut expected = match values(Role::SentenceDense) {
            None => pooled,
            Some(weights) => {
                let bias = values(Role::SentenceDenseBias).unwrap_or(vec![0.0; head.width]);
                let sums = weights.chunks(width).zip(bias).map(|(row, bias)| {
                    let products = row.iter().zip(&pooled).map(|(w, x)| w * x);
                    products.sum::<f64>() + bias
                });
                let tanh = head.dense.as_ref().is_some_and(|dense| dense.tanh);
                sums.map(|x| if tanh { x.tanh() } else { x }).collect()
            }
        };
        if head.normalize {
            let length = expected.iter().map(|x| x * x).sum::<f64>().sqrt();
            expected.iter_mut().for_each(|x| *x /= length);
        }
        assert_eq!((found.rows(), found.width()), (1, expected.len()));
        for (found, expected) in found.to_f64().iter().zip(&expected) {
            assert!(
                (found - expected).abs() < 1e-12,
                "{head:?}: {found} {expected}"
            );
        }
    }
}

#[test]
fn a_model_runs_in_the_engine_of_its_kind_only() {
    let llama = json!({
        "model_type": "llama", "vocab_size": 40, "hidden_size": 24, "intermediate_size": 36,
        "num_hidden_layers": 1, "num_attention_heads": 4, "max_position_embeddings": 32,
    });
    let llama = ModelConfig::from_json(&llama).unwrap();
    let mut read = |tensor: &TensorSpec| Ok(tiny::values(tensor));
    let refused = Encoder::from_tensors(llama, Precision::F32, &mut read);
    assert!(matches!(refused.err(), Some(Error::NoEncoder { .. })));
    let mut modernbert = modernbert();
    for class in ["ModernBertModel", "ModernBertForMaskedLM"] {
        modernbert["architectures"] = json!([class]);
        let config = ModelConfig::from_json(&modernbert).unwrap();
        let refused = Decoder::from_tensors(config, Precision::F32, &mut read);
        assert!(matches!(refused.err(), Some(Error::NoDecoder { .. })));
    }
}

#[test]
fn tensors_of_the_wrong_size_are_refused_by_name() {
    let config = ModelConfig::from_json(&bert()).unwrap();
    for tensor in config.architecture.tensors(&config) {
        let mut short = |other: &TensorSpec| {
            let mut values = tiny::values(other);
            if other.name == tensor.name {
                values.pop();
            }
            Ok(values)
        };
        let error = Encoder::from_tensors(config.clone(), Precision::F32, &mut short).err();
        assert!(
            matches!(&error, Some(Error::TensorLength { name, .. }) if *name == tensor.name),
            "{}",
            tensor.name
        );
    }
}
