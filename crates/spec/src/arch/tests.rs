use std::collections::HashSet;

use serde_json::json;

use super::*;
use crate::{Family, Mix, Side};

#[test]
fn tables_are_well_formed() {
    for arch in ARCHITECTURES {
        let names: HashSet<_> = arch.rows().map(|row| row.name).collect();
        let roles: HashSet<_> = arch.rows().map(|row| row.role).collect();
        let name = arch.model_type;
        assert_eq!(names.len(), arch.rows().count(), "{name}: a name twice");
        assert_eq!(roles.len(), arch.rows().count(), "{name}: a role twice");
        let acted_on: HashSet<_> = (arch.ops.iter())
            .flat_map(|group| group.iter())
            .map(|(_, op)| op.axis())
            .collect();
        for row in arch.rows() {
            let sides = row.kind.sides();
            for factor in sides.iter().flat_map(|side| side.factors()) {
                let axis = factor.axis;
                assert!(acted_on.contains(&axis), "{name}: no op on {axis:?}");
            }
            if row.role != Role::QueryNorm && row.role != Role::KeyNorm {
                sides.iter().for_each(|side| nested(*side, &mut Vec::new()));
            }
            if let Kind::Gain { folds_into, .. } = row.kind {
                let is_read = |role: &Role| roles.contains(role);
                assert!(
                    folds_into.is_empty() || folds_into.iter().any(is_read),
                    "{}",
                    row.name
                );
            }
            if let Kind::NormBias { gain, .. } = row.kind {
                assert!(roles.contains(&gain), "{}", row.name);
            }
        }
    }
}

/// What an axis' secret depends on stands before it.
fn nested(side: Side, outer: &mut Vec<Axis>) {
    match side {
        Side::Of(factor) => {
            if let Family::Each(axis) = factor.axis.family() {
                assert!(outer.contains(&axis), "{:?} outside {axis:?}", factor.axis);
            }
        }
        Side::Sum(sides) => sides.iter().for_each(|side| nested(*side, outer)),
        Side::Product(sides) => {
            let depth = outer.len();
            for (place, side) in sides.iter().enumerate() {
                nested(*side, outer);
                match side {
                    Side::Of(factor) => outer.push(factor.axis),
                    _ => assert_eq!(place + 1, sides.len(), "a sum inside a product"),
                }
            }
            outer.truncate(depth);
        }
    }
}

fn config(model_type: &str) -> ModelConfig {
    ModelConfig::from_json(&json!({
        "model_type": model_type, "vocab_size": 32, "hidden_size": 16, "num_hidden_layers": 2,
        "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 8, "intermediate_size": 24,
        "n_embd": 16, "n_layer": 2, "n_head": 4, "n_positions": 64, "sliding_window": null,
        "query_pre_attn_scalar": 8,
    }))
    .unwrap()
}

#[test]
fn groups_follow_from_operations() {
    let group = |model_type: &str, axis| {
        let config = config(model_type);
        config.architecture.group(axis, &config, Profile::Rotate)
    };
    assert_eq!(group("llama", Axis::Vocab), Group::PERMUTATION);
    assert_eq!(group("llama", Axis::Hidden), Group::ORTHOGONAL);
    assert_eq!(group("llama", Axis::Ffn), Group::MONOMIAL);
    assert_eq!(group("llama", Axis::QkDim), Group::PAIR_ROTATION);
    assert_eq!(group("llama", Axis::VDim), Group::ORTHOGONAL);
    assert_eq!(group("gemma2", Axis::Hidden), Group::SIGNED_PERMUTATION);
    assert_eq!(group("olmo2", Axis::Hidden), Group::SIGNED_PERMUTATION);
    assert_eq!(group("gpt2", Axis::Hidden), Group::MEAN_KEEPING);
    assert_eq!(group("gpt2", Axis::Ffn), Group::PERMUTATION);
    assert_eq!(group("gpt2", Axis::QkPlain), Group::UNRESTRICTED);
    assert_eq!(group("gpt2", Axis::Positions), Group::TRIVIAL);
    let signs = group("qwen3", Axis::QkDim);
    assert_eq!(
        (signs.mix, signs.sign),
        (Mix::Trivial, crate::SignPart::Pair)
    );
    let config = config("llama");
    let permute = config
        .architecture
        .group(Axis::Hidden, &config, Profile::Permute);
    assert_eq!(permute, Group::SIGNED_PERMUTATION);
}

#[test]
fn gains_are_folded_where_that_makes_the_group_larger() {
    for (model_type, folds) in [("llama", true), ("gpt2", true), ("gemma3_text", false)] {
        let config = config(model_type);
        let arch = config.architecture;
        let folded = |profile| {
            arch.gain_folded_into(Role::Head, &config, profile)
                .is_some()
        };
        assert_eq!(folded(Profile::Rotate), folds, "{model_type}");
        assert!(!folded(Profile::Permute), "{model_type}");
    }
}

#[test]
fn names_without_the_usual_prefix_and_buffers_are_known() {
    let config = config("gpt2");
    let arch = config.architecture;
    let tensors = arch.tensors(&config);
    let mut short: Vec<(String, Vec<usize>)> = tensors
        .iter()
        .map(|t| (t.name.replacen("transformer.", "", 1), t.shape.clone()))
        .collect();
    short.push(("h.0.attn.bias".into(), vec![1, 1, 64, 64]));
    let header = |tensors: &[(String, Vec<usize>)]| {
        let header = tensors.iter().map(|(n, s)| (n.as_str(), s.as_slice()));
        arch.check(&config, header)
            .map(|tensors| tensors[0].name.clone())
    };
    assert_eq!(header(&short).unwrap(), "wte.weight");
    short.push(("h.0.attn.new".into(), vec![1]));
    let message = header(&short).unwrap_err().to_string();
    assert!(message.contains("h.0.attn.new"), "{message}");
}

#[test]
fn unknown_architectures_are_refused_by_name() {
    let message = Architecture::find("mamba").unwrap_err().to_string();
    assert!(
        message.contains("mamba") && message.contains("llama"),
        "{message}"
    );
}
