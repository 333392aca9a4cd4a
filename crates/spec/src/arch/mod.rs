mod deepseek;
mod gemma;
mod gpt;
mod llama;
mod olmo2;
mod parts;
mod phi3;

use std::collections::HashMap;

use crate::{
    Axis, ConfigTable, Error, Expansion, Group, Kind, ModelConfig, Op, Profile, Role, RopeLayout,
    Row, When,
};

/// Every supported architecture.
pub static ARCHITECTURES: &[&Architecture] = &[
    &llama::LLAMA,
    &llama::MISTRAL,
    &llama::QWEN2,
    &llama::QWEN3,
    &llama::SMOLLM3,
    &llama::GEMMA,
    &llama::MIXTRAL,
    &llama::QWEN2_MOE,
    &llama::QWEN3_MOE,
    &gemma::GEMMA2,
    &gemma::GEMMA3,
    &olmo2::OLMO2,
    &phi3::PHI3,
    &gpt::GPT2,
    &gpt::GPT_NEOX,
    &deepseek::DEEPSEEK_V2,
    &deepseek::DEEPSEEK_V3,
];

/// A model family: which tensors it has, along which axes, and which operations act on those axes.
#[derive(Debug)]
pub struct Architecture {
    /// `model_type` in `config.json`.
    pub model_type: &'static str,
    /// The class in `architectures` of `config.json`.
    pub class: &'static str,
    /// The tensors, in groups that several tables share, in the order in which they are stored.
    pub(crate) rows: &'static [&'static [Row]],
    /// The operations between the linear layers, and where each one occurs.
    pub(crate) ops: &'static [&'static [(When, Op)]],
    /// How `config.json` is read.
    pub(crate) config: ConfigTable,
    /// What the names of published checkpoints may lack.
    pub(crate) optional_prefix: &'static str,
}

/// A row of the table, at one layer and for one expert of one configuration.
#[derive(Debug, Clone)]
pub struct TensorSpec {
    /// The tensor's name.
    pub name: String,
    /// The row it comes from.
    pub row: &'static Row,
    /// The layer, for a row that each layer has.
    pub layer: Option<usize>,
    /// The expert, for a row that each expert has.
    pub expert: Option<usize>,
    /// From the configuration.
    pub shape: Vec<usize>,
}

/// What tells a tensor of a model from the others, whatever it is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TensorKey {
    /// What it is for.
    pub role: Role,
    /// Its layer.
    pub layer: Option<usize>,
    /// Its expert.
    pub expert: Option<usize>,
}

impl TensorSpec {
    /// What it is for, and where.
    #[must_use]
    pub fn key(&self) -> TensorKey {
        TensorKey {
            role: self.row.role,
            layer: self.layer,
            expert: self.expert,
        }
    }
}

impl Architecture {
    /// The table for a `model_type`.
    pub fn find(model_type: &str) -> Result<&'static Self, Error> {
        ARCHITECTURES
            .iter()
            .copied()
            .find(|arch| arch.model_type == model_type)
            .ok_or_else(|| {
                let supported: Vec<_> = ARCHITECTURES.iter().map(|arch| arch.model_type).collect();
                Error::Architecture {
                    found: model_type.to_owned(),
                    supported: supported.join(", "),
                }
            })
    }

    /// The tensors' rows, whatever the configuration.
    pub fn rows(&self) -> impl Iterator<Item = &'static Row> + use<> {
        self.rows.iter().flat_map(|group| group.iter())
    }

    /// The operations that a model of this configuration has in any layer.
    pub fn ops(&self, config: &ModelConfig) -> impl Iterator<Item = Op> {
        let all = self.ops.iter().flat_map(|group| group.iter());
        all.filter(|(when, _)| when.holds(config, None))
            .map(|(_, op)| *op)
    }

    /// The legal group of an axis: the meet of what the operations on it permit.
    #[must_use]
    pub fn legal_group(&self, axis: Axis, config: &ModelConfig, folded: bool) -> Group {
        self.ops(config)
            .filter(|op| op.axis() == axis)
            .fold(Group::UNRESTRICTED, |group, op| {
                group.meet(op.permits(folded))
            })
    }

    /// Whether `profile` folds the gains of the norms on `axis`: where that makes the legal group larger.
    #[must_use]
    pub fn folds(&self, axis: Axis, config: &ModelConfig, profile: Profile) -> bool {
        profile.folds_gains()
            && self.legal_group(axis, config, true) != self.legal_group(axis, config, false)
    }

    /// The part of the legal group of an axis that `profile` draws secrets from.
    #[must_use]
    pub fn group(&self, axis: Axis, config: &ModelConfig, profile: Profile) -> Group {
        profile.restrict(self.legal_group(axis, config, self.folds(axis, config, profile)))
    }

    /// Whether `profile` folds this row's gain into what reads it.
    #[must_use]
    pub fn folds_gain(&self, row: &Row, config: &ModelConfig, profile: Profile) -> bool {
        match row.kind {
            Kind::Gain { axis, folds_into } => {
                !folds_into.is_empty()
                    && (axis.factors().iter()).all(|f| self.folds(f.axis, config, profile))
            }
            _ => false,
        }
    }

    /// The row of the gain that `profile` folds into the linear layer with this role.
    #[must_use]
    pub fn gain_folded_into(
        &self,
        role: Role,
        config: &ModelConfig,
        profile: Profile,
    ) -> Option<&'static Row> {
        self.rows().find(|row| {
            matches!(row.kind, Kind::Gain { folds_into, .. } if folds_into.contains(&role))
                && self.folds_gain(row, config, profile)
        })
    }

    /// The axes that the tensors of a model of this configuration have, without those that are empty.
    #[must_use]
    pub fn axes(&self, config: &ModelConfig) -> Vec<Axis> {
        let used: Vec<Axis> = self
            .rows()
            .filter(|row| row.when.holds(config, None))
            .flat_map(|row| row.kind.sides())
            .flat_map(|side| side.factors())
            .map(|factor| factor.axis)
            .collect();
        let exists = |axis: &Axis| used.contains(axis) && axis.size(config) > 0;
        Axis::ALL.into_iter().filter(exists).collect()
    }

    /// The row for a role in a layer, if a model of this configuration has it there.
    #[must_use]
    pub fn row(
        &self,
        role: Role,
        config: &ModelConfig,
        layer: Option<usize>,
    ) -> Option<&'static Row> {
        self.rows()
            .find(|row| row.role == role && row.when.holds(config, layer))
    }

    /// Every tensor of a model of this configuration: rows outside the layers where the table has them, the rows of
    /// layer 0, of layer 1, and so on in between; for each expert where it has its own.
    #[must_use]
    pub fn tensors(&self, config: &ModelConfig) -> Vec<TensorSpec> {
        let before = self.rows().take_while(|row| !row.is_per_layer());
        let after = self
            .rows()
            .skip_while(|row| !row.is_per_layer())
            .filter(|row| !row.is_per_layer());
        let at = |row: &'static Row, layer| {
            let experts = match &config.experts {
                Some(experts) if row.is_per_expert() => (0..experts.count).map(Some).collect(),
                _ => vec![None],
            };
            let experts = if row.when.holds(config, layer) {
                experts
            } else {
                Vec::new()
            };
            experts.into_iter().map(move |expert| TensorSpec {
                name: row.tensor_name(layer, expert),
                row,
                layer,
                expert,
                shape: row
                    .kind
                    .sides()
                    .iter()
                    .map(|side| side.size(config))
                    .collect(),
            })
        };
        let layers = (0..config.layers).flat_map(|layer| {
            let rows = self.rows().filter(|row| row.is_per_layer());
            rows.flat_map(move |row| at(row, Some(layer)))
        });
        before
            .flat_map(|row| at(row, None))
            .chain(layers)
            .chain(after.flat_map(|row| at(row, None)))
            .collect()
    }

    /// Compares the table with a checkpoint's header, both ways: every tensor of the table must be there with its shape,
    /// and nothing else but buffers that hold no weights. Returns the table's tensors, under the names of the checkpoint.
    pub fn check<'a>(
        &self,
        config: &ModelConfig,
        header: impl IntoIterator<Item = (&'a str, &'a [usize])>,
    ) -> Result<Vec<TensorSpec>, Error> {
        let mut found: HashMap<&str, &[usize]> = header.into_iter().collect();
        let mut tensors = self.tensors(config);
        let prefix = self.optional_prefix;
        if !prefix.is_empty() && !found.keys().any(|name| name.starts_with(prefix)) {
            for tensor in &mut tensors {
                if let Some(short) = tensor.name.strip_prefix(prefix) {
                    tensor.name = short.to_owned();
                }
            }
        }
        for tensor in &tensors {
            match found.remove(tensor.name.as_str()) {
                Some(shape) if shape == tensor.shape => {}
                Some(shape) => {
                    return Err(Error::Shape {
                        name: tensor.name.clone(),
                        expected: tensor.shape.clone(),
                        found: shape.to_vec(),
                    });
                }
                None => {
                    return Err(Error::MissingTensor {
                        name: tensor.name.clone(),
                        model_type: self.model_type,
                        shape: tensor.shape.clone(),
                    });
                }
            }
        }
        let is_buffer = |name: &str| BUFFERS.iter().any(|suffix| name.ends_with(suffix));
        match found.keys().filter(|name| !is_buffer(name)).min() {
            Some(name) => Err(Error::UnknownTensor {
                name: (*name).to_owned(),
                model_type: self.model_type,
            }),
            None => Ok(tensors),
        }
    }

    /// Whether a model may have a wider residual stream.
    #[must_use]
    pub fn expansion(&self) -> Expansion {
        self.config.expansion
    }

    /// Which coordinates form a plane on an axis that RoPE turns.
    #[must_use]
    pub fn rope_layout(&self, axis: Axis, config: &ModelConfig) -> Option<RopeLayout> {
        self.ops(config).find_map(|op| match op {
            Op::Rope {
                axis: turned,
                layout,
            } if turned == axis => Some(layout),
            _ => None,
        })
    }
}

/// What old checkpoints store beside the weights: masks and frequencies that follow from the configuration.
const BUFFERS: &[&str] = &[
    ".attn.bias",
    ".attn.masked_bias",
    ".attention.bias",
    ".attention.masked_bias",
    ".rotary_emb.inv_freq",
];

#[cfg(test)]
mod tests {
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
}
