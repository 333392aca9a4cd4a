mod bert;
mod deepseek;
mod distilbert;
mod encoder_parts;
mod gemma;
mod gpt;
mod llama;
mod modernbert;
mod mpnet;
mod olmo2;
mod parts;
mod phi3;

use std::collections::HashMap;

use crate::{
    Axis, AxisId, ConfigTable, Error, Expansion, Group, Kind, ModelConfig, Op, Profile, Role,
    RopeLayout, Row, Task, When,
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
    &bert::BERT,
    &distilbert::DISTILBERT,
    &bert::ROBERTA,
    &bert::XLM_ROBERTA,
    &mpnet::MPNET,
    &modernbert::MODERNBERT,
];

/// A model family: which tensors it has, along which axes, and which operations act on those axes.
#[derive(Debug)]
pub struct Architecture {
    /// `model_type` in `config.json`.
    pub model_type: &'static str,
    /// The class in `architectures` of `config.json`; of an encoder, what the names of its classes begin with.
    pub class: &'static str,
    /// The tensors, in groups that several tables share, in the order in which they are stored.
    pub(crate) rows: &'static [&'static [Row]],
    /// The operations between the linear layers, and where each one occurs.
    pub(crate) ops: &'static [&'static [(When, Op)]],
    /// How `config.json` is read.
    pub(crate) config: ConfigTable,
    /// What the names of published checkpoints may lack, and those of an encoder's body alone do.
    pub(crate) optional_prefix: &'static str,
    /// What names end with, and what they end with in other published checkpoints.
    pub(crate) renamed: &'static [(&'static str, &'static str)],
    /// What the names of tensors begin with that no answer of the tables depends on.
    pub(crate) ignored: &'static [&'static str],
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

    /// Whether its models are encoders.
    #[must_use]
    pub fn is_encoder(&self) -> bool {
        self.config.encoder.is_some()
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

    /// This axis in `layer`; in the whole model where a tensor that is not of a layer has it.
    #[must_use]
    pub fn axis_at(&self, axis: Axis, layer: Option<usize>) -> AxisId {
        let is_global = self
            .rows()
            .filter(|row| !row.is_per_layer())
            .flat_map(|row| row.kind.sides())
            .any(|side| side.factors().iter().any(|factor| factor.axis == axis));
        axis.at(layer.filter(|_| !is_global))
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
            let bare = self.is_bare(config);
            experts.into_iter().map(move |expert| TensorSpec {
                name: match row.tensor_name(layer, expert) {
                    name if bare => self.without_prefix(&name).to_owned(),
                    name => name,
                },
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
    /// unless it is optional, and nothing else but buffers that hold no weights and what only another head of the same body
    /// reads. Returns the table's tensors, under the names of the checkpoint.
    pub fn check<'a>(
        &self,
        config: &ModelConfig,
        header: impl IntoIterator<Item = (&'a str, &'a [usize])>,
    ) -> Result<Vec<TensorSpec>, Error> {
        let mut found: HashMap<&str, &[usize]> = header.into_iter().collect();
        let mut tensors = Vec::new();
        for tensor in self.tensors(config) {
            let name = self.found_name(&tensor.name, |name| found.contains_key(name));
            let name = name.unwrap_or_else(|| tensor.name.clone());
            match found.remove(name.as_str()) {
                Some(shape) if shape == tensor.shape => tensors.push(TensorSpec { name, ..tensor }),
                Some(shape) => {
                    return Err(Error::Shape {
                        name,
                        expected: tensor.shape,
                        found: shape.to_vec(),
                    });
                }
                None if tensor.row.optional => {}
                None => {
                    return Err(Error::MissingTensor {
                        name: tensor.name,
                        model_type: self.model_type,
                        shape: tensor.shape,
                    });
                }
            }
        }
        let unknown = found.keys().filter(|name| !self.is_left_out(name, config));
        match unknown.min() {
            Some(name) => Err(Error::UnknownTensor {
                name: (*name).to_owned(),
                model_type: self.model_type,
            }),
            None => Ok(tensors),
        }
    }

    /// The name under which a tensor of the table stands in a checkpoint, with or without the prefix, and as this or that
    /// tool spells it.
    fn found_name(&self, name: &str, exists: impl Fn(&str) -> bool) -> Option<String> {
        let bare = self.without_prefix(name);
        let full = format!("{}{bare}", self.optional_prefix);
        let mut names = [name, bare, &full].into_iter();
        names.find_map(|name| self.spellings(name).find(|name| exists(name)))
    }

    /// A tensor's name as this or that tool spells it.
    fn spellings(&self, name: &str) -> impl Iterator<Item = String> {
        let others = self.renamed.iter().filter_map(move |(usual, other)| {
            Some(format!("{}{other}", name.strip_suffix(usual)?))
        });
        std::iter::once(name.to_owned()).chain(others)
    }

    /// Whether a tensor that the table does not name may be left out: a buffer, or something that only another head reads.
    fn is_left_out(&self, name: &str, config: &ModelConfig) -> bool {
        let is_of_other_head = || {
            let bare = self.without_prefix(name);
            self.rows().any(|row| {
                config.task.is_of_encoder()
                    && !row.when.holds(config, None)
                    && row.when.of_any_task().holds(config, None)
                    && (self.spellings(self.without_prefix(row.name))).any(|name| name == bare)
            })
        };
        BUFFERS.iter().any(|suffix| name.ends_with(suffix))
            || self.ignored.iter().any(|prefix| name.starts_with(prefix))
            || is_of_other_head()
    }

    /// Whether the names of this model lack the prefix.
    fn is_bare(&self, config: &ModelConfig) -> bool {
        config.task == Task::Features
    }

    fn without_prefix<'a>(&self, name: &'a str) -> &'a str {
        name.strip_prefix(self.optional_prefix).unwrap_or(name)
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
    "embeddings.position_ids",
    ".attn.bias",
    ".attn.masked_bias",
    ".attention.bias",
    ".attention.masked_bias",
    ".rotary_emb.inv_freq",
];

#[cfg(test)]
mod tests;
