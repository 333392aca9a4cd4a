use std::path::{Path, PathBuf};

use equicrypt_engine::{Decoder, Precision};
use serde_json::{Value, json};

use super::*;
use crate::{Fidelity, Renaming, compare};

/// Every part that has an exact counterpart; noise and the shuffling of RoPE planes have none.
const EXACT: AloePri = AloePri {
    alpha_e: 0.0,
    alpha_h: 0.0,
    lambda: 0.3,
    h: 8,
    beta: 1,
    gamma: 1e3,
    orthogonal_values: false,
};

fn llama(kv_heads: usize, tied: bool) -> Value {
    json!({
        "model_type": "llama", "hidden_act": "silu", "vocab_size": 61, "hidden_size": 24,
        "intermediate_size": 40, "num_hidden_layers": 2, "num_attention_heads": 4,
        "num_key_value_heads": kv_heads, "head_dim": 8, "max_position_embeddings": 64,
        "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "tie_word_embeddings": tied,
    })
}

fn with(mut config: Value, field: &str, value: Value) -> Value {
    config[field] = value;
    config
}

/// A random model, its gains around `gain`.
fn model(dir: &Path, config: &Value, gain: f64) -> PathBuf {
    let dir = dir.join("original");
    std::fs::create_dir(&dir).unwrap();
    let parsed = ModelConfig::from_json(config).unwrap();
    let specs = parsed.architecture.tensors(&parsed);
    let headers: Vec<_> = (specs.iter())
        .map(|spec| equicrypt_checkpoint::TensorHeader::new(&spec.name, Dtype::F64, &spec.shape))
        .collect();
    let writer = CheckpointWriter::create(&dir, &headers).unwrap();
    let mut rng = Draws::new(&[9; 32], Part::Base);
    for spec in &specs {
        let is_gain = matches!(spec.row.kind, equicrypt_spec::Kind::Gain { .. });
        let width = spec.shape.last().copied().unwrap_or(1) as f64;
        let values: Vec<f64> = (0..spec.shape.iter().product())
            .map(|_| match is_gain {
                true => gain * (0.6 + 0.8 * rng.uniform()),
                false => (2.0 * rng.uniform() - 1.0) * 2.0 / width.sqrt(),
            })
            .collect();
        let mut bytes = vec![0; values.len() * 8];
        Dtype::F64.encode_f64(&values, &mut bytes);
        writer.write(&spec.name, 0, &bytes).unwrap();
    }
    writer.finish().unwrap();
    write_json(&dir.join("config.json"), config).unwrap();
    dir
}

fn load(dir: &Path) -> Decoder {
    Decoder::load(&Checkpoint::open(dir).unwrap(), Precision::F64).unwrap()
}

fn fidelity(scheme: &AloePri, config: &Value, gain: f64) -> Fidelity {
    let scratch = tempfile::tempdir().unwrap();
    let original = model(scratch.path(), config, gain);
    let out = scratch.path().join("out");
    let secret = scheme.encrypt(&original, &out, None, [1; 32]).unwrap();
    let prompts: Vec<Vec<u32>> = (0..3u32)
        .map(|start| (0..20).map(|i| (start * 17 + i * i * 7) % 61).collect())
        .collect();
    compare(&load(&original), &load(&out), &secret, &prompts, 4).unwrap()
}

/// With an epsilon far above any mean square, RMSNorm is linear and kappa exact: then every other part must be as well.
#[test]
fn all_but_the_norm_is_exact() {
    let qwen2 = with(llama(2, true), "model_type", json!("qwen2"));
    let biases = with(llama(2, false), "attention_bias", json!(true));
    let configs = [
        llama(2, true),
        llama(4, false),
        llama(1, true),
        with(biases, "mlp_bias", json!(true)),
        with(qwen2, "use_sliding_window", json!(false)),
        with(
            with(llama(2, false), "model_type", json!("mistral")),
            "sliding_window",
            json!(16),
        ),
    ];
    for config in configs {
        let linear = with(config, "rms_norm_eps", json!(1e14));
        for (h, lambda, orthogonal_values) in [(8, 0.3, false), (0, 0.3, true), (32, 1.0, false)] {
            let scheme = AloePri {
                h,
                lambda,
                orthogonal_values,
                ..EXACT
            };
            let found = fidelity(&scheme, &linear, 1e7);
            assert!(found.max_logit_difference < 1e-8, "{linear}: {found:?}");
            assert_eq!(found.greedy_match_lengths, [4; 3]);
        }
    }
}

/// Without expansion and with lambda = 0 the key matrix is orthogonal, and the norm exact too.
#[test]
fn an_orthogonal_key_matrix_keeps_the_norm() {
    let scheme = AloePri {
        h: 0,
        lambda: 0.0,
        ..EXACT
    };
    let found = fidelity(&scheme, &llama(2, true), 1.0);
    assert!(found.max_logit_difference < 1e-9, "{found:?}");
}

#[test]
fn the_published_norm_is_near_and_noise_is_not() {
    let without = fidelity(&EXACT, &llama(2, true), 1.0);
    assert!(
        without.mean_kl > 1e-6 && without.mean_kl < 0.1,
        "{without:?}"
    );
    for noise in [
        AloePri {
            alpha_e: 1.0,
            ..EXACT
        },
        AloePri {
            alpha_h: 1.0,
            ..EXACT
        },
    ] {
        let found = fidelity(&noise, &llama(2, true), 1.0);
        assert!(
            found.mean_kl > 3.0 * without.mean_kl,
            "{found:?} {without:?}"
        );
    }
}

#[test]
fn shuffled_planes_change_the_scores() {
    let linear = with(llama(2, true), "rms_norm_eps", json!(1e14));
    let shuffled = AloePri {
        beta: 4,
        gamma: 0.0,
        ..EXACT
    };
    let found = fidelity(&shuffled, &linear, 1e7);
    assert!(found.max_logit_difference > 1e-3, "{found:?}");
}

#[test]
fn the_folder_has_the_expanded_shapes_and_the_seed_decides() {
    let scratch = tempfile::tempdir().unwrap();
    let original = model(scratch.path(), &llama(2, true), 1.0);
    let made = |name: &str, seed: u8, dtype| {
        let out = scratch.path().join(name);
        let scheme = AloePri {
            h: 8,
            ..AloePri::default()
        };
        let secret = scheme.encrypt(&original, &out, dtype, [seed; 32]).unwrap();
        let weights = std::fs::read(out.join("model.safetensors")).unwrap();
        (out, secret, weights)
    };
    let (out, secret, weights) = made("a", 1, Some(Dtype::Bf16));
    let checkpoint = Checkpoint::open(&out).unwrap();
    let config = checkpoint.model_config().unwrap();
    assert_eq!((config.hidden_size, config.head_dim), (40, 8));
    assert!(!config.tied_head && config.eos.is_empty());
    let shape = |name: &str| checkpoint.tensor(name).unwrap().shape.clone();
    assert_eq!(shape("model.embed_tokens.weight"), [61, 40]);
    assert_eq!(shape("lm_head.weight"), [61, 40]);
    assert_eq!(shape("model.layers.1.self_attn.o_proj.weight"), [40, 32]);
    let gain = checkpoint.read_f32("model.norm.weight").unwrap();
    assert!(gain.iter().all(|g| *g == gain[0] && *g > 0.5 && *g < 1.5));
    assert!(
        checkpoint
            .tensors()
            .all(|tensor| tensor.dtype == Dtype::Bf16)
    );
    let names: Vec<_> = (std::fs::read_dir(&out).unwrap())
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    assert_eq!(names.len(), 3, "{names:?}");

    let mut ids = secret.plain_of().to_vec();
    assert_eq!(
        secret
            .to_plain(&secret.to_cipher(&[3, 60]).unwrap())
            .unwrap(),
        [3, 60]
    );
    assert!(secret.to_cipher(&[61]).is_err() && ids[..4] != [0, 1, 2, 3]);
    ids.sort_unstable();
    assert_eq!(ids, (0..61).collect::<Vec<u32>>());

    let (_, same_secret, same) = made("b", 1, Some(Dtype::Bf16));
    assert!(same == weights && same_secret.plain_of() == secret.plain_of());
    let (_, other_secret, other) = made("c", 2, Some(Dtype::Bf16));
    assert!(other != weights && other_secret.plain_of() != secret.plain_of());
}

#[test]
fn what_the_paper_does_not_cover_is_refused_and_nothing_is_left() {
    let scratch = tempfile::tempdir().unwrap();
    let qwen3 = with(llama(2, true), "model_type", json!("qwen3"));
    let original = model(scratch.path(), &qwen3, 1.0);
    let out = scratch.path().join("out");
    let message = |scheme: AloePri| {
        let error = scheme
            .encrypt(&original, &out, None, [1; 32])
            .err()
            .unwrap();
        assert!(!out.exists());
        error.to_string()
    };
    let refused = message(EXACT);
    assert!(
        refused.contains("llama, mistral, qwen2") && refused.contains("qwen3"),
        "{refused}"
    );
    assert!(message(AloePri { h: 7, ..EXACT }).contains("h: expected an even number"));
    assert!(
        message(AloePri {
            lambda: f64::NAN,
            ..EXACT
        })
        .contains("lambda")
    );
    assert!(
        message(AloePri {
            alpha_e: -1.0,
            ..EXACT
        })
        .contains("alpha_e")
    );
}
