//! Every architecture under both profiles in f64, and what must break it.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use std::path::{Path, PathBuf};

use equicrypt_checkpoint::{Checkpoint, Dtype};
use equicrypt_cipher::{Options, Vocabulary, encrypt};
use equicrypt_spec::{ARCHITECTURES, Axis, Group, Mix, ModelConfig, Profile};
use serde_json::Value;
use support::{
    difference, difference_with, encrypted, golden_configs, key, options, random_model, tampered,
};

const TOLERANCE: f64 = 1e-9;
const BROKEN: f64 = 1e-3;

#[test]
fn every_architecture_is_equivariant() {
    for (seed, (name, config)) in golden_configs().into_iter().enumerate() {
        let dir = tempfile::tempdir().unwrap();
        let plain = random_model(&dir.path().join("plain"), &config, Dtype::F64, seed as u64);
        for profile in [Profile::Permute, Profile::Rotate] {
            let out = dir.path().join(profile.name());
            let vocabulary = encrypted(&plain, &out, &key(seed as u8), profile);
            let difference = difference(&plain, &out, &vocabulary, seed as u64);
            assert!(difference < TOLERANCE, "{name} {profile:?}: {difference:e}");
        }
    }
}

/// In 16 bits too, permute loses nothing: the f64 engine sees the same function.
#[test]
fn permute_is_exact_in_16_bits() {
    for (seed, (name, config)) in first_of_each().into_iter().enumerate() {
        let dir = tempfile::tempdir().unwrap();
        for dtype in [Dtype::Bf16, Dtype::F16] {
            let plain = dir.path().join(format!("plain-{}", dtype.name()));
            let plain = random_model(&plain, &config, dtype, seed as u64);
            let out = dir.path().join(dtype.name());
            let vocabulary = encrypted(&plain, &out, &key(7), Profile::Permute);
            let difference = difference(&plain, &out, &vocabulary, seed as u64);
            assert!(difference < TOLERANCE, "{name} {dtype:?}: {difference:e}");
        }
    }
}

/// A group that is not within the legal one breaks the model, on every axis whose operations could tell: the tables
/// forbid nothing that would have been harmless, and the tests above would have seen what they wrongly allow.
#[test]
fn every_illegal_group_breaks() {
    let groups = [
        Group::PERMUTATION,
        Group::SIGNED_PERMUTATION,
        Group::MONOMIAL,
        Group::PAIR_ROTATION,
        Group::MEAN_KEEPING,
        Group::ORTHOGONAL,
        Group::UNRESTRICTED,
    ];
    let axes = [
        Axis::Positions,
        Axis::Hidden,
        Axis::Ffn,
        Axis::QkDim,
        Axis::QkShared,
        Axis::QueryLatent,
        Axis::KvLatent,
        Axis::ExpertFfn,
        Axis::SharedFfn,
    ];
    let mut broken = 0;
    for (name, json) in first_of_each() {
        let dir = tempfile::tempdir().unwrap();
        let plain = random_model(&dir.path().join("plain"), &json, Dtype::F64, 3);
        let config = ModelConfig::from_json(&json).unwrap();
        let arch = config.architecture;
        for axis in axes.into_iter().filter(|a| arch.axes(&config).contains(a)) {
            let legal = arch.group(axis, &config, Profile::Rotate);
            for group in groups.into_iter().filter(|group| !group.is_within(legal)) {
                // A random member of an illegal group may by chance be legal, on the smallest axes.
                let worst = [3, 4, 5]
                    .map(|byte| difference_with(&plain, axis, group, Profile::Rotate, &key(byte)));
                let worst = worst.into_iter().fold(0.0, f64::max);
                assert!(worst > BROKEN, "{name} {axis:?} {group:?}: {worst:e}");
                broken += 1;
            }
        }
    }
    assert!(broken > 4 * ARCHITECTURES.len(), "only {broken} tried");
}

#[test]
fn rotations_over_unfolded_gains_break() {
    for (name, json) in first_of_each() {
        let dir = tempfile::tempdir().unwrap();
        let plain = random_model(&dir.path().join("plain"), &json, Dtype::F64, 3);
        let (profile, key) = (Profile::Permute, key(3));
        for group in [Group::ORTHOGONAL, Group::MEAN_KEEPING] {
            let difference = difference_with(&plain, Axis::Hidden, group, profile, &key);
            assert!(difference > BROKEN, "{name} {group:?}: {difference:e}");
        }
    }
}

#[test]
fn experts_that_move_without_their_router_break() {
    let mut tried = 0;
    for (name, json) in first_of_each() {
        let config = ModelConfig::from_json(&json).unwrap();
        let Some(experts) = &config.experts else {
            continue;
        };
        let dir = tempfile::tempdir().unwrap();
        let plain = random_model(&dir.path().join("plain"), &json, Dtype::F64, 3);
        let out = dir.path().join("encrypted");
        let vocabulary = encrypted(&plain, &out, &key(3), Profile::Rotate);
        let moved = dir.path().join("moved");
        let count = experts.count;
        tampered(&out, &moved, &mut |tensor, values| {
            if tensor.ends_with("gate.weight") && values.len() == count * config.hidden_size {
                values.rotate_left(config.hidden_size);
            }
        });
        let difference = difference(&plain, &moved, &vocabulary, 3);
        assert!(difference > BROKEN, "{name}: {difference:e}");
        tried += 1;
    }
    assert!(tried >= 5);
}

#[test]
fn gains_of_queries_and_keys_must_follow_their_heads() {
    let (_, json) = first_of_each()
        .into_iter()
        .find(|(name, _)| name.starts_with("olmo2"))
        .unwrap();
    let config = ModelConfig::from_json(&json).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let plain = random_model(&dir.path().join("plain"), &json, Dtype::F64, 3);
    let out = dir.path().join("encrypted");
    let vocabulary = encrypted(&plain, &out, &key(3), Profile::Permute);
    let moved = dir.path().join("moved");
    tampered(&out, &moved, &mut |tensor, values| {
        if tensor.ends_with("q_norm.weight") {
            values.rotate_left(config.head_dim);
        }
    });
    assert!(difference(&plain, &out, &vocabulary, 3) < TOLERANCE);
    assert!(difference(&plain, &moved, &vocabulary, 3) > BROKEN);
}

/// x' = Q [x, 0]: exact wherever it is allowed, and refused with the reason elsewhere.
#[test]
fn a_wider_residual_stream_changes_nothing() {
    let (mut widened, mut refused) = (0, 0);
    for (name, json) in golden_configs() {
        let config = ModelConfig::from_json(&json).unwrap();
        let dir = tempfile::tempdir().unwrap();
        let plain = random_model(&dir.path().join("plain"), &json, Dtype::F64, 3);
        let group = config
            .architecture
            .group(Axis::Hidden, &config, Profile::Rotate);
        match expanded(&plain, &dir.path().join("wide"), 2 * config.heads) {
            Ok((out, vocabulary)) => {
                assert_eq!(group.mix, Mix::Orthogonal);
                let encrypted = Checkpoint::open(&out).unwrap();
                let target = ModelConfig::from_json(encrypted.config()).unwrap();
                assert_eq!(target.hidden_size, config.hidden_size + 2 * config.heads);
                let difference = difference(&plain, &out, &vocabulary, 3);
                assert!(difference < TOLERANCE, "{name}: {difference:e}");
                widened += 1;
            }
            Err(reason) => {
                assert!(reason.starts_with("--expand: "), "{name}: {reason}");
                refused += 1;
            }
        }
    }
    assert!(widened > 10 && refused > 5, "{widened} {refused}");
}

fn expanded(plain: &Path, out: &Path, coordinates: usize) -> Result<(PathBuf, Vocabulary), String> {
    let source = Checkpoint::open(plain).unwrap();
    let wide = Options {
        expand: coordinates,
        ..options(Profile::Rotate)
    };
    let key = key(9);
    let summary = encrypt(&source, out, &key, &wide, &|_| ()).map_err(|error| error.to_string())?;
    let vocabulary = Vocabulary::open(&key, &summary.manifest).unwrap();
    Ok((out.to_owned(), vocabulary))
}

#[test]
fn what_is_written_is_read_the_same() {
    for (name, json) in golden_configs() {
        let config = ModelConfig::from_json(&json).unwrap();
        let written = config.to_json("bfloat16");
        let again = ModelConfig::from_json(&written).unwrap();
        assert_eq!(again.to_json("bfloat16"), written, "{name}");
        let function = |config: &ModelConfig| {
            let names = config.architecture.tensors(config);
            let shapes: Vec<_> = names.into_iter().map(|t| (t.name, t.shape)).collect();
            (
                shapes,
                format!("{:?}", config.layer_kinds),
                config.ropes.clone(),
                config.experts.clone(),
                (config.attention_cap, config.logit_cap),
                (config.activation, config.norm_epsilon.to_bits()),
            )
        };
        assert_eq!(function(&again), function(&config), "{name}");
    }
}

/// One configuration of each architecture.
fn first_of_each() -> Vec<(String, Value)> {
    let mut seen = Vec::new();
    let mut configs = golden_configs();
    configs.retain(|(_, config)| {
        let model_type = config["model_type"].clone();
        let new = !seen.contains(&model_type);
        seen.push(model_type);
        new
    });
    let decoders = ARCHITECTURES.iter().filter(|arch| !arch.is_encoder());
    assert_eq!(configs.len(), decoders.count());
    configs
}
