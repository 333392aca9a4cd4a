use std::collections::HashSet;

use serde_json::json;

use super::*;
use crate::{Family, Mix, Side};

#[test]
fn tables_are_well_formed() {
    for arch in ARCHITECTURES {
        let name = arch.model_type;
        for class in classes(arch) {
            let mut config = json(name);
            config["architectures"] = json!([class]);
            config["num_key_value_heads"] = json!(4);
            let config = ModelConfig::from_json(&config).unwrap();
            let tensors = arch.tensors(&config);
            let names: HashSet<_> = tensors.iter().map(|tensor| &tensor.name).collect();
            let keys: HashSet<_> = tensors.iter().map(TensorSpec::key).collect();
            assert_eq!(names.len(), tensors.len(), "{class}: a name twice");
            assert_eq!(keys.len(), tensors.len(), "{class}: a role twice");
        }
        let roles: HashSet<_> = arch.rows().map(|row| row.role).collect();
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

fn classes(arch: &Architecture) -> Vec<String> {
    match arch.config.encoder {
        Some(_) => Task::OF_ENCODERS
            .map(|(_, suffix)| format!("{}{suffix}", arch.class))
            .into(),
        None => vec![arch.class.to_owned()],
    }
}

fn json(model_type: &str) -> serde_json::Value {
    json!({
        "model_type": model_type, "vocab_size": 32, "hidden_size": 16, "num_hidden_layers": 2,
        "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 8, "intermediate_size": 24,
        "n_embd": 16, "n_layer": 2, "n_head": 4, "n_positions": 64, "sliding_window": null,
        "query_pre_attn_scalar": 8, "rotary_pct": 0.5, "dim": 16, "n_layers": 2, "n_heads": 4, "hidden_dim": 24,
        "qk_rope_head_dim": 4, "qk_nope_head_dim": 4, "v_head_dim": 4, "kv_lora_rank": 8,
        "q_lora_rank": null, "first_k_dense_replace": 1, "routed_scaling_factor": 1.0, "n_group": 1, "topk_group": 1, "num_local_experts": 4, "num_experts": 4, "n_routed_experts": 4,
        "num_experts_per_tok": 2, "moe_intermediate_size": 8, "shared_expert_intermediate_size": 8,
    })
}

fn config(model_type: &str) -> ModelConfig {
    ModelConfig::from_json(&json(model_type)).unwrap()
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
    assert_eq!(group("bert", Axis::Hidden), Group::PERMUTATION);
    assert_eq!(group("bert", Axis::Ffn), Group::PERMUTATION);
    assert_eq!(group("bert", Axis::QkPlain), Group::UNRESTRICTED);
    assert_eq!(group("bert", Axis::VDim), Group::ORTHOGONAL);
    assert_eq!(group("bert", Axis::Pooled), Group::SIGNED_PERMUTATION);
    assert_eq!(group("bert", Axis::Labels), Group::PERMUTATION);
    assert_eq!(group("bert", Axis::Sentence), Group::ORTHOGONAL);
    assert_eq!(group("distilbert", Axis::Pooled), Group::SCALED_PERMUTATION);
    assert_eq!(group("mpnet", Axis::Distances), Group::TRIVIAL);
    assert_eq!(group("modernbert", Axis::Hidden), Group::PERMUTATION);
    assert_eq!(group("modernbert", Axis::QkDim), Group::PAIR_ROTATION);
    assert_eq!(group("modernbert", Axis::Ffn), Group::MONOMIAL);
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

#[test]
fn an_axis_that_all_layers_share_has_one_secret() {
    let at = |model_type: &str, axis| config(model_type).architecture.axis_at(axis, Some(1)).layer;
    assert_eq!(at("bert", Axis::KvHeads), Some(1));
    assert_eq!(at("mpnet", Axis::KvHeads), None);
    assert_eq!(at("mpnet", Axis::Hidden), None);
    assert_eq!(at("llama", Axis::Ffn), Some(1));
}

#[test]
fn encoders_take_every_published_spelling_and_leave_other_heads_out() {
    let mut json = json("bert");
    json["architectures"] = json!(["BertForMaskedLM"]);
    let config = ModelConfig::from_json(&json).unwrap();
    let arch = config.architecture;
    let mut header: Vec<(String, Vec<usize>)> = (arch.tensors(&config).into_iter())
        .map(|t| {
            (
                t.name.replace("LayerNorm.weight", "LayerNorm.gamma"),
                t.shape,
            )
        })
        .collect();
    for (name, shape) in [
        ("cls.seq_relationship.weight", vec![2, 16]),
        ("bert.pooler.dense.weight", vec![16, 16]),
        ("bert.embeddings.position_ids", vec![1, 2048]),
    ] {
        header.push((name.into(), shape));
    }
    let check = |header: &[(String, Vec<usize>)]| {
        let header = header.iter().map(|(n, s)| (n.as_str(), s.as_slice()));
        arch.check(&config, header)
    };
    let found = check(&header).unwrap();
    assert!(
        found
            .iter()
            .any(|t| t.name == "bert.embeddings.LayerNorm.gamma")
    );
    assert_eq!(found.len(), arch.tensors(&config).len());
    header.push(("bert.adapter.weight".into(), vec![1]));
    assert!(check(&header).is_err());

    json["architectures"] = json!(["BertModel"]);
    let config = ModelConfig::from_json(&json).unwrap();
    let tensors = arch.tensors(&config);
    assert!(
        tensors
            .iter()
            .all(|tensor| !tensor.name.starts_with("bert."))
    );
    let without_pooler = tensors.iter().filter(|tensor| !tensor.row.optional);
    let header: Vec<_> = without_pooler
        .map(|t| (t.name.as_str(), t.shape.as_slice()))
        .collect();
    assert_eq!(
        arch.check(&config, header.clone()).unwrap().len(),
        tensors.len() - 2
    );
    assert!(arch.check(&config, header[1..].to_vec()).is_err());
}
