//! What a sequence gets does not depend on how its tokens are cut, on what else is in the pass, or on
//! what its cache went through.
#![allow(clippy::unwrap_used, reason = "a test that fails may panic")]

use equicrypt_checkpoint::gguf::GgmlType;
use equicrypt_engine::{
    Chunk, Decoder, Error, KvCache, Linear, LinearId, Linears, Precision, Rows, Values, Want,
};
use equicrypt_spec::{Kind, ModelConfig};
use proptest::prelude::*;
use serde_json::{Value, json};

mod tiny;

const PRECISIONS: [Precision; 4] = [
    Precision::F32,
    Precision::F64,
    Precision::Bf16,
    Precision::Q8_0,
];

fn config() -> Value {
    json!({
        "model_type": "llama", "vocab_size": 61, "hidden_size": 36, "intermediate_size": 50,
        "num_hidden_layers": 2, "num_attention_heads": 6, "num_key_value_heads": 3, "head_dim": 10,
        "max_position_embeddings": 90, "attention_bias": true, "mlp_bias": true,
        "tie_word_embeddings": true,
    })
}

fn tokens(len: usize, seed: u32) -> Vec<u32> {
    (0..len as u32)
        .map(|i| (i * 17 + i * i * 3 + seed * 29) % 61)
        .collect()
}

fn run(decoder: &Decoder, cache: &mut KvCache, tokens: &[u32], want: Want) -> Vec<Vec<f64>> {
    let logits = decoder
        .forward(&mut [Chunk {
            tokens,
            cache,
            want,
        }])
        .unwrap()
        .remove(0);
    (0..logits.rows()).map(|row| logits.row_f64(row)).collect()
}

fn whole(decoder: &Decoder, tokens: &[u32]) -> Vec<Vec<f64>> {
    run(decoder, &mut decoder.new_cache(), tokens, Want::All)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn any_cut_into_chunks_gives_the_same_bits(cuts in prop::collection::vec(1..30usize, 1..5)) {
        let tokens = tokens(cuts.iter().sum::<usize>().min(90), 1);
        for precision in PRECISIONS {
            let decoder = tiny::decoder(&config(), precision);
            let (mut cache, mut rest, mut rows) = (decoder.new_cache(), &tokens[..], vec![]);
            for cut in &cuts {
                let (chunk, later) = rest.split_at((*cut).min(rest.len()));
                if !chunk.is_empty() {
                    rows.extend(run(&decoder, &mut cache, chunk, Want::All));
                }
                rest = later;
            }
            prop_assert_eq!(cache.len(), tokens.len());
            prop_assert_eq!(rows, whole(&decoder, &tokens));
        }
    }

    #[test]
    fn sequences_in_one_pass_do_not_touch_each_other(
        lens in prop::collection::vec((0..40usize, 1..30usize), 1..7),
    ) {
        for precision in PRECISIONS {
            let decoder = tiny::decoder(&config(), precision);
            let sequences: Vec<_> = (0..).zip(&lens).map(|(i, (a, b))| tokens(a + b, i)).collect();
            let mut caches: Vec<_> = lens.iter().map(|_| decoder.new_cache()).collect();
            for ((tokens, cache), (cached, _)) in sequences.iter().zip(&mut caches).zip(&lens) {
                if *cached > 0 {
                    prop_assert!(run(&decoder, cache, &tokens[..*cached], Want::Nothing).is_empty());
                }
            }
            let wants = [Want::Last, Want::All, Want::Nothing];
            let mut chunks: Vec<_> = sequences.iter().zip(&mut caches).zip(&lens)
                .zip(wants.into_iter().cycle())
                .map(|(((tokens, cache), (cached, _)), want)| {
                    Chunk { tokens: &tokens[*cached..], cache, want }
                })
                .collect();
            let logits = decoder.forward(&mut chunks).unwrap();
            for ((tokens, logits), ((cached, new), want)) in
                sequences.iter().zip(logits).zip(lens.iter().zip(wants.into_iter().cycle()))
            {
                let skipped = match want {
                    Want::Last => cached + new - 1,
                    Want::All => *cached,
                    Want::Nothing => cached + new,
                };
                let found: Vec<_> = (0..logits.rows()).map(|row| logits.row_f64(row)).collect();
                prop_assert_eq!(&found, &whole(&decoder, tokens)[skipped..]);
            }
        }
    }

    #[test]
    fn truncated_and_forked_caches_forget_what_was_cut(
        first in 1..50usize, keep in 0..50usize, second in 1..30usize, third in 1..30usize,
    ) {
        for precision in PRECISIONS {
            let decoder = tiny::decoder(&config(), precision);
            let (start, keep) = (tokens(first, 2), keep.min(first));
            let mut original = decoder.new_cache();
            run(&decoder, &mut original, &start, Want::Nothing);
            let mut fork = original.fork();
            fork.truncate(keep);
            prop_assert_eq!((fork.len(), original.len()), (keep, first));
            for (cache, prefix, new) in [
                (&mut fork, &start[..keep], tokens(second, 3)),
                (&mut original, &start[..], tokens(third, 4)),
            ] {
                let found = run(&decoder, cache, &new, Want::All);
                let all = [prefix, &new].concat();
                prop_assert_eq!(&found, &whole(&decoder, &all)[prefix.len()..]);
            }
        }
    }
}

#[test]
fn bad_input_is_an_error_and_changes_nothing() {
    let decoder = tiny::decoder(&config(), Precision::F32);
    let mut cache = decoder.new_cache();
    run(&decoder, &mut cache, &tokens(5, 0), Want::Nothing);
    let mut refuse = |tokens: &[u32]| {
        let mut other = decoder.new_cache();
        let mut chunks = [
            Chunk {
                tokens: &[1, 2],
                cache: &mut other,
                want: Want::Last,
            },
            Chunk {
                tokens,
                cache: &mut cache,
                want: Want::Last,
            },
        ];
        let error = decoder.forward(&mut chunks).unwrap_err();
        assert_eq!((other.len(), cache.len()), (0, 5));
        error
    };
    assert!(matches!(refuse(&[]), Error::EmptyChunk));
    assert!(matches!(
        refuse(&[3, 61]),
        Error::TokenId {
            id: 61,
            vocab_size: 61
        }
    ));
    assert!(matches!(refuse(&[u32::MAX]), Error::TokenId { .. }));
    let long = refuse(&tokens(86, 0));
    assert!(matches!(
        long,
        Error::ContextLength {
            positions: 91,
            max_positions: 90
        }
    ));
    assert_eq!(decoder.forward(&mut []).unwrap().len(), 0);
}

#[test]
fn foreign_caches_are_refused() {
    let decoder = tiny::decoder(&config(), Precision::F32);
    let mut smaller = config();
    smaller["num_hidden_layers"] = json!(1);
    for mut cache in [
        tiny::decoder(&config(), Precision::F64).new_cache(),
        tiny::decoder(&smaller, Precision::F32).new_cache(),
    ] {
        let chunk = Chunk {
            tokens: &[1],
            cache: &mut cache,
            want: Want::Last,
        };
        assert!(matches!(
            decoder.forward(&mut [chunk]),
            Err(Error::ForeignCache)
        ));
    }
}

#[test]
fn tensors_of_the_wrong_size_are_refused_by_name() {
    let config = ModelConfig::from_json(&config()).unwrap();
    for victim in config.architecture.tensors(&config) {
        let short = Decoder::from_tensors(config.clone(), Precision::F64, &mut |tensor| {
            let mut values = tiny::values(tensor);
            if tensor.name == victim.name {
                values.pop();
            }
            Ok(values)
        });
        let message = short.err().unwrap().to_string();
        assert!(message.contains(&victim.name), "{message}");
    }
}

/// Takes the linear layers of another decoder's tensors, one row at a time.
struct Elsewhere(ModelConfig);

struct RowByRow {
    weights: Vec<Vec<f64>>,
    biases: Vec<f64>,
}

impl Linear for RowByRow {
    fn forward(&self, x: &Rows) -> Result<Rows, Error> {
        let Values::F64(values) = &x.values else {
            panic!("asked in another precision")
        };
        let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
        let y: Vec<f64> = values
            .chunks_exact(x.width)
            .flat_map(|x| {
                self.weights
                    .iter()
                    .zip(&self.biases)
                    .map(|(w, b)| dot(x, w) + b)
            })
            .collect();
        Ok(Rows {
            width: self.weights.len(),
            values: Values::F64(y),
        })
    }
}

impl Linears for Elsewhere {
    fn linear(&mut self, id: LinearId) -> Result<Box<dyn Linear>, Error> {
        use equicrypt_engine::Projection as P;
        use equicrypt_spec::Role as R;
        let (weights, biases): (&[R], &[R]) = match id.projection {
            P::QueryKeyValue => (
                &[R::Query, R::Key, R::Value],
                &[R::QueryBias, R::KeyBias, R::ValueBias],
            ),
            P::Output => (&[R::Output], &[R::OutputBias]),
            P::GateUp => (&[R::Gate, R::Up], &[R::GateBias, R::UpBias]),
            P::Down => (&[R::Down], &[R::DownBias]),
            other => panic!("a llama has no {other:?}"),
        };
        let tensors = self.0.architecture.tensors(&self.0);
        let find = |role: &R| {
            tensors
                .iter()
                .find(|t| t.row.role == *role && (t.layer == id.layer))
                .unwrap()
        };
        let weights: Vec<_> = weights.iter().map(find).collect();
        let weights: Vec<Vec<f64>> = weights
            .iter()
            .flat_map(|t| {
                tiny::values(t)
                    .chunks(t.shape[1])
                    .map(<[f64]>::to_vec)
                    .collect::<Vec<_>>()
            })
            .collect();
        let mut biases: Vec<_> = biases.iter().map(find).flat_map(tiny::values).collect();
        biases.resize(weights.len(), 0.0);
        Ok(Box::new(RowByRow { weights, biases }))
    }
}

#[test]
fn linear_layers_may_be_computed_elsewhere() {
    let here = tiny::decoder(&config(), Precision::F64);
    let config = here.config().clone();
    let mut asked = 0;
    let mut read = |tensor: &equicrypt_spec::TensorSpec| {
        asked += 1;
        Ok(tiny::values(tensor))
    };
    let mut linears = Elsewhere(config.clone());
    let elsewhere = Decoder::with_linears(config, Precision::F64, &mut read, &mut linears).unwrap();
    assert_eq!(
        asked,
        2 + 2 * 2,
        "the embedding, and the gains of two layers and of the end"
    );
    let tokens = tokens(40, 7);
    for (a, b) in whole(&here, &tokens)
        .iter()
        .flatten()
        .zip(whole(&elsewhere, &tokens).iter().flatten())
    {
        assert!((a - b).abs() < 1e-9, "{a} {b}");
    }
}

#[test]
fn rounded_weights_are_those_of_the_format_and_no_others() {
    let config = json!({
        "model_type": "llama", "vocab_size": 61, "hidden_size": 32, "intermediate_size": 64,
        "num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 16,
        "max_position_embeddings": 90,
    });
    let rounded = |precision: Precision| {
        let config = ModelConfig::from_json(&config).unwrap();
        Decoder::from_tensors(config, Precision::F32, &mut |tensor| {
            let values = tiny::values(tensor).into_iter().map(|value| value as f32);
            let values: Vec<f32> = values.collect();
            let is_kept = matches!(tensor.row.kind, Kind::Linear { .. });
            let values = match precision {
                Precision::Bf16 if is_kept => {
                    let round = |value: &f32| half::bf16::from_f32(*value).to_f32();
                    values.iter().map(round).collect()
                }
                Precision::Q8_0 if is_kept => {
                    let mut blocks = vec![0; values.len() / 32 * 34];
                    assert!(GgmlType::Q8_0.quantize(&values, &mut blocks));
                    let mut rounded = vec![0.0; values.len()];
                    GgmlType::Q8_0.dequantize(&blocks, &mut rounded);
                    rounded
                }
                _ => values,
            };
            Ok(values.into_iter().map(f64::from).collect())
        })
        .unwrap()
    };
    let tokens = tokens(40, 1);
    let exact = whole(&tiny::decoder(&config, Precision::F32), &tokens);
    for precision in [Precision::Bf16, Precision::Q8_0] {
        let found = whole(&tiny::decoder(&config, precision), &tokens);
        assert_eq!(found, whole(&rounded(precision), &tokens), "{precision:?}");
        assert_ne!(found, exact);
    }
}

#[test]
fn other_names_change_nothing_else() {
    let tokens = tokens(20, 3);
    let vocab = 61u32;
    // 7 and 61 have no common factor.
    let id_of: Vec<u32> = (0..vocab).map(|name| (name * 7 + 5) % vocab).collect();
    let name_of = |id: &u32| id_of.iter().position(|other| other == id).unwrap() as u32;
    for precision in [Precision::F32, Precision::F64] {
        let plain = whole(&tiny::decoder(&config(), precision), &tokens);
        let renamed = tiny::decoder(&config(), precision)
            .renamed(id_of.clone())
            .unwrap();
        let names: Vec<u32> = tokens.iter().map(name_of).collect();
        for (row, plain) in whole(&renamed, &names).iter().zip(&plain) {
            let by_name: Vec<f64> = id_of.iter().map(|id| plain[*id as usize]).collect();
            assert_eq!(row, &by_name);
        }
        let refused = renamed.forward(&mut [Chunk {
            tokens: &[vocab],
            cache: &mut renamed.new_cache(),
            want: Want::Last,
        }]);
        assert!(refused.is_err());
    }
    let bad = [vec![0; 61], (0..60).collect(), (1..62).collect(), vec![]];
    for id_of in bad {
        let renamed = tiny::decoder(&config(), Precision::F32).renamed(id_of);
        assert!(matches!(renamed.err(), Some(Error::Names { .. })));
    }
}
