//! decrypt_k(F_k(encrypt_k(p))) = F(p), in f64, through the engine's own forward pass: Llama in every shape,
//! dtype and profile. `architectures.rs` has the others.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use equicrypt_checkpoint::{Checkpoint, Dtype};
use equicrypt_cipher::{Options, Permit, encrypt};
use equicrypt_spec::{Axis, Group, ModelConfig, Profile};
use support::{GQA, SHAPES, difference, encrypted, key, options, random_model, tampered};

const TOLERANCE: f64 = 1e-9;
const BROKEN: f64 = 1e-2;

#[test]
fn every_shape_and_profile_is_equivariant() {
    for (seed, shape) in SHAPES.into_iter().enumerate() {
        for profile in [Profile::Permute, Profile::Rotate] {
            let dir = tempfile::tempdir().unwrap();
            let seed = seed as u64;
            let plain = random_model(&dir.path().join("plain"), &shape.config(), Dtype::F64, seed);
            let out = dir.path().join("encrypted");
            for key_byte in [1, 2] {
                let out = out.with_extension(key_byte.to_string());
                let vocabulary = encrypted(&plain, &out, &key(key_byte), profile);
                let difference = difference(&plain, &out, &vocabulary, seed);
                assert!(
                    difference < TOLERANCE,
                    "{shape:?} {profile:?}: {difference:e}"
                );
            }
        }
    }
}

#[test]
fn encrypted_weights_and_ids_are_not_the_plain_ones() {
    let dir = tempfile::tempdir().unwrap();
    let plain = random_model(&dir.path().join("plain"), &GQA.config(), Dtype::F64, 1);
    let out = dir.path().join("encrypted");
    let vocabulary = encrypted(&plain, &out, &key(1), Profile::Permute);
    let (plain, encrypted) = (
        Checkpoint::open(&plain).unwrap(),
        Checkpoint::open(&out).unwrap(),
    );
    for tensor in plain.tensors() {
        let (a, b) = (
            plain.read_f64(&tensor.name),
            encrypted.read_f64(&tensor.name),
        );
        let (a, b) = (a.unwrap(), b.unwrap());
        let same = a.iter().zip(&b).filter(|(a, b)| a == b).count();
        assert!(
            same * 5 < a.len(),
            "{}: {same} of {} values unmoved",
            tensor.name,
            a.len()
        );
    }
    let every: Vec<u32> = (0..61).collect();
    let cipher = vocabulary.encrypt(&every).unwrap();
    assert!(
        cipher
            .as_slice()
            .iter()
            .zip(&every)
            .filter(|(a, b)| a == b)
            .count()
            < 6
    );
}

/// In 16 bits too, permute loses nothing: the f64 engine sees the same function.
#[test]
fn permute_is_exact_in_every_dtype() {
    for dtype in [Dtype::Bf16, Dtype::F16, Dtype::F32] {
        let dir = tempfile::tempdir().unwrap();
        let plain = random_model(&dir.path().join("plain"), &GQA.config(), dtype, 5);
        let out = dir.path().join("encrypted");
        let vocabulary = encrypted(&plain, &out, &key(5), Profile::Permute);
        let difference = difference(&plain, &out, &vocabulary, 5);
        assert!(difference < TOLERANCE, "{dtype:?}: {difference:e}");
    }
}

#[test]
fn f16_gets_signs_and_no_scales() {
    for (dtype, scaled) in [(Dtype::F16, false), (Dtype::Bf16, true)] {
        let dir = tempfile::tempdir().unwrap();
        let plain = random_model(&dir.path().join("plain"), &GQA.config(), dtype, 6);
        let out = dir.path().join("encrypted");
        encrypted(&plain, &out, &key(6), Profile::Permute);
        let magnitudes = |dir: &std::path::Path| {
            let checkpoint = Checkpoint::open(dir).unwrap();
            let values = checkpoint
                .read_f64("model.layers.0.mlp.up_proj.weight")
                .unwrap();
            let mut bits: Vec<u64> = values.iter().map(|v| v.abs().to_bits()).collect();
            bits.sort_unstable();
            bits
        };
        assert_eq!(magnitudes(&plain) != magnitudes(&out), scaled, "{dtype:?}");
    }
}

#[test]
fn a_weight_beyond_f16_is_an_error_and_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let plain = random_model(&dir.path().join("plain"), &GQA.config(), Dtype::F32, 7);
    let large = dir.path().join("large");
    tampered(&plain, &large, &mut |name, values| {
        if name.ends_with("1.mlp.down_proj.weight") {
            values[7] = 1e5;
        }
    });
    let out = dir.path().join("encrypted");
    let narrow = Options {
        dtype: Some(Dtype::F16),
        ..options(Profile::Permute)
    };
    let source = Checkpoint::open(&large).unwrap();
    let error = encrypt(&source, &out, &key(7), &narrow, &|_| ())
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("1.mlp.down_proj.weight") && error.contains("F16"),
        "{error}"
    );
    assert_eq!(
        std::fs::read_dir(dir.path()).unwrap().count(),
        2,
        "plain and large, nothing else"
    );
}

fn difference_with(axis: Axis, group: Group, profile: Profile) -> f64 {
    let dir = tempfile::tempdir().unwrap();
    let plain = random_model(&dir.path().join("plain"), &GQA.config(), Dtype::F64, 3);
    support::difference_with(&plain, axis, group, profile, &key(3))
}

/// Without this the must-break tests below would prove nothing: the same road with legal groups changes nothing.
#[test]
fn legal_groups_pass_on_the_road_of_the_illegal_ones() {
    for (axis, group, profile) in [
        (Axis::Hidden, Group::SIGNED_PERMUTATION, Profile::Permute),
        (Axis::Hidden, Group::ORTHOGONAL, Profile::Rotate),
        (Axis::Ffn, Group::MONOMIAL, Profile::Rotate),
        (Axis::QkDim, Group::PAIR_ROTATION, Profile::Permute),
        (Axis::VDim, Group::ORTHOGONAL, Profile::Permute),
        (Axis::KvHeads, Group::PERMUTATION, Profile::Permute),
    ] {
        let difference = difference_with(axis, group, profile);
        assert!(difference < TOLERANCE, "{axis:?} {group:?}: {difference:e}");
    }
}

#[test]
fn a_rotation_under_silu_breaks() {
    assert!(difference_with(Axis::Ffn, Group::ORTHOGONAL, Profile::Rotate) > BROKEN);
}

#[test]
fn a_query_rotation_across_rope_planes_breaks() {
    assert!(difference_with(Axis::QkDim, Group::ORTHOGONAL, Profile::Rotate) > BROKEN);
    assert!(difference_with(Axis::QkDim, Group::PERMUTATION, Profile::Permute) > BROKEN);
}

#[test]
fn a_rotation_over_an_unfolded_gain_breaks() {
    assert!(difference_with(Axis::Hidden, Group::ORTHOGONAL, Profile::Permute) > BROKEN);
}

#[test]
fn a_scale_on_the_hidden_axis_breaks() {
    assert!(difference_with(Axis::Hidden, Group::MONOMIAL, Profile::Permute) > BROKEN);
}

#[test]
fn illegal_groups_cannot_be_had_by_the_ordinary_road() {
    let config = ModelConfig::from_json(&GQA.config()).unwrap();
    for (axis, group) in [
        (Axis::Ffn, Group::ORTHOGONAL),
        (Axis::QkDim, Group::ORTHOGONAL),
        (Axis::KvHeads, Group::SIGNED_PERMUTATION),
        (Axis::Vocab, Group::MONOMIAL),
    ] {
        assert!(
            Permit::for_group(&config, axis, Profile::Rotate, group).is_err(),
            "{axis:?}"
        );
    }
    assert!(Permit::for_group(&config, Axis::Hidden, Profile::Rotate, Group::ORTHOGONAL).is_ok());
    assert!(Permit::for_group(&config, Axis::Hidden, Profile::Permute, Group::ORTHOGONAL).is_err());
}

/// Exchanges query heads `a` and `b`, consistently in q_proj and o_proj.
fn difference_with_heads_exchanged(a: usize, b: usize) -> f64 {
    let dir = tempfile::tempdir().unwrap();
    let plain = random_model(&dir.path().join("plain"), &GQA.config(), Dtype::F64, 4);
    let out = dir.path().join("encrypted");
    let vocabulary = encrypted(&plain, &out, &key(4), Profile::Permute);
    let moved = dir.path().join("moved");
    let (hidden, head, width) = (24, 8, 4 * 8);
    tampered(&out, &moved, &mut |name, values| {
        if name.ends_with("q_proj.weight") {
            for i in 0..head * hidden {
                values.swap(a * head * hidden + i, b * head * hidden + i);
            }
        }
        if name.ends_with("o_proj.weight") {
            for row in values.chunks_exact_mut(width) {
                for i in 0..head {
                    row.swap(a * head + i, b * head + i);
                }
            }
        }
    });
    difference(&plain, &moved, &vocabulary, 4)
}

#[test]
fn query_heads_exchanged_across_kv_groups_break() {
    assert!(
        difference_with_heads_exchanged(0, 1) < TOLERANCE,
        "inside a group it is legal"
    );
    assert!(difference_with_heads_exchanged(0, 2) > BROKEN);
}
