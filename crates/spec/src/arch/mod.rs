mod llama;

use std::collections::HashMap;

use crate::{Activation, Axis, Error, Group, ModelConfig, Op, Role, RopeLayout, Row};

/// Every supported architecture.
pub static ARCHITECTURES: &[&Architecture] = &[&llama::LLAMA];

/// A model family: which tensors it has, along which axes, and which operations act on those axes.
#[derive(Debug)]
pub struct Architecture {
    /// `model_type` in `config.json`.
    pub model_type: &'static str,
    /// The class in `architectures` of `config.json`.
    pub class: &'static str,
    /// The tensors, in the order in which they are stored.
    pub rows: &'static [Row],
    /// The operations between the linear layers.
    pub ops: &'static [Op],
}

/// A row of the table, at one layer of one configuration.
#[derive(Debug, Clone)]
pub struct TensorSpec {
    /// The tensor's name.
    pub name: String,
    /// The row it comes from.
    pub row: &'static Row,
    /// The layer, for a row that each layer has.
    pub layer: Option<usize>,
    /// From the configuration.
    pub shape: Vec<usize>,
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

    /// The legal group of an axis: the meet of what the operations on it permit.
    #[must_use]
    pub fn legal_group(&self, axis: Axis, folded: bool) -> Group {
        self.ops
            .iter()
            .filter(|op| op.axis() == axis)
            .fold(Group::UNRESTRICTED, |group, op| {
                group.meet(op.permits(folded))
            })
    }

    /// The axes that this architecture's tensors have.
    #[must_use]
    pub fn axes(&self) -> Vec<Axis> {
        let used = |axis: &Axis| {
            self.rows
                .iter()
                .flat_map(|row| row.kind.sides())
                .any(|side| side.0.iter().any(|factor| factor.axis == *axis))
        };
        Axis::ALL.into_iter().filter(used).collect()
    }

    /// The row for a role, if this architecture has it.
    #[must_use]
    pub fn row(&self, role: Role) -> Option<&'static Row> {
        self.rows.iter().find(|row| row.role == role)
    }

    /// The name of the tensor that plays `role` in `layer`, if a model of this configuration has one.
    #[must_use]
    pub fn tensor_name(
        &self,
        role: Role,
        layer: Option<usize>,
        config: &ModelConfig,
    ) -> Option<String> {
        self.row(role)
            .filter(|row| row.when.holds(config))
            .map(|row| row.tensor_name(layer))
    }

    /// Every tensor of a model of this configuration: rows outside the layers where the table has them, the rows of
    /// layer 0, of layer 1, and so on in between.
    #[must_use]
    pub fn tensors(&self, config: &ModelConfig) -> Vec<TensorSpec> {
        let spec = |row: &'static Row, layer| TensorSpec {
            name: row.tensor_name(layer),
            row,
            layer,
            shape: row
                .kind
                .sides()
                .iter()
                .map(|side| side.size(config))
                .collect(),
        };
        let rows = || self.rows.iter().filter(|row| row.when.holds(config));
        let before = rows()
            .take_while(|row| !row.is_per_layer())
            .map(|row| spec(row, None));
        let layers = (0..config.layers).flat_map(|layer| {
            rows()
                .filter(|row| row.is_per_layer())
                .map(move |row| spec(row, Some(layer)))
        });
        let after = rows()
            .skip_while(|row| !row.is_per_layer())
            .filter(|row| !row.is_per_layer())
            .map(|row| spec(row, None));
        before.chain(layers).chain(after).collect()
    }

    /// Compares the table with a checkpoint's header, both ways: every tensor of the table must be there with its shape,
    /// and nothing else. Returns the table's tensors.
    pub fn check<'a>(
        &self,
        config: &ModelConfig,
        header: impl IntoIterator<Item = (&'a str, &'a [usize])>,
    ) -> Result<Vec<TensorSpec>, Error> {
        let mut found: HashMap<&str, &[usize]> = header.into_iter().collect();
        let tensors = self.tensors(config);
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
        match found.keys().min() {
            Some(name) => Err(Error::UnknownTensor {
                name: (*name).to_owned(),
                model_type: self.model_type,
            }),
            None => Ok(tensors),
        }
    }

    /// The non-linearity of the MLP.
    #[must_use]
    pub fn activation(&self) -> Option<Activation> {
        self.ops.iter().find_map(|op| match op {
            Op::Gate { activation, .. } => Some(*activation),
            _ => None,
        })
    }

    /// Which coordinates form a RoPE plane, if positions are rotary.
    #[must_use]
    pub fn rope_layout(&self) -> Option<RopeLayout> {
        self.ops.iter().find_map(|op| match op {
            Op::Rope { layout, .. } => Some(*layout),
            _ => None,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::{Kind, Mix};

    #[test]
    fn tables_are_well_formed() {
        for arch in ARCHITECTURES {
            let names: HashSet<_> = arch.rows.iter().map(|row| row.name).collect();
            let roles: HashSet<_> = arch.rows.iter().map(|row| row.role).collect();
            assert_eq!(
                names.len(),
                arch.rows.len(),
                "{}: a name twice",
                arch.model_type
            );
            assert_eq!(
                roles.len(),
                arch.rows.len(),
                "{}: a role twice",
                arch.model_type
            );
            for row in arch.rows {
                for side in row.kind.sides() {
                    for (place, factor) in side.0.iter().enumerate() {
                        let outer = factor.axis.varies_with();
                        let known = |axis| side.0[..place].iter().any(|f| f.axis == axis);
                        assert!(outer.is_none_or(known), "{}: {:?}", row.name, factor.axis);
                    }
                }
                if let Kind::Gain { folds_into, .. } = row.kind {
                    assert!(
                        folds_into.iter().all(|role| arch.row(*role).is_some()),
                        "{}",
                        row.name
                    );
                }
            }
            let acted_on: HashSet<_> = arch.ops.iter().map(|op| op.axis()).collect();
            for axis in arch.axes() {
                assert!(
                    acted_on.contains(&axis),
                    "{}: no op on {axis:?}",
                    arch.model_type
                );
            }
        }
    }

    #[test]
    fn llama_groups_follow_from_its_ops() {
        let llama = Architecture::find("llama").unwrap();
        assert_eq!(llama.legal_group(Axis::Vocab, true), Group::PERMUTATION);
        assert_eq!(llama.legal_group(Axis::Hidden, true), Group::ORTHOGONAL);
        assert_eq!(
            llama.legal_group(Axis::Hidden, false),
            Group::SIGNED_PERMUTATION
        );
        assert_eq!(llama.legal_group(Axis::Ffn, true), Group::MONOMIAL);
        assert_eq!(llama.legal_group(Axis::QkDim, true), Group::PAIR_ROTATION);
        assert_eq!(llama.legal_group(Axis::VDim, true), Group::ORTHOGONAL);
        assert_eq!(
            llama.legal_group(Axis::QkDim, true).monomial().mix,
            Mix::QuarterTurns
        );
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
