use super::Facts;
use crate::Error;
use crate::gguf::MetadataValue;
use crate::gguf_arch::config::MAX_SIZE;
use crate::gguf_arch::{Absent, Entry, Field, GgufArch, Rope, When, Window};
use crate::import::metadata::{Metadata, USE_FOLDER};

impl Facts {
    /// Refuses every key of the architecture that is not known here: a key that is not understood
    /// may change what the model computes.
    pub(crate) fn from_metadata(arch: &GgufArch, metadata: &Metadata<'_>) -> Result<Facts, Error> {
        let name = arch.name;
        for key in metadata.keys() {
            if let Some(field) = key.strip_prefix(name).and_then(|key| key.strip_prefix('.'))
                && !arch.knows_key(field)
            {
                return Err(
                    metadata.unsupported(format!("metadata {key:?} is not understood"), USE_FOLDER)
                );
            }
        }
        let tensors = &metadata.header().tensors;
        let has = |name: &str| tensors.iter().any(|tensor| tensor.name == name);
        let embedding = arch.embedding().gguf;
        let embedding = tensors
            .iter()
            .find(|tensor| tensor.name == embedding)
            .ok_or_else(|| metadata.broken(format!("tensor {embedding:?} is missing")))?;
        let mut facts = Facts::empty(embedding.shape.first().copied().unwrap_or(0));
        facts.tied = !has("output.weight");
        let first_of = |when: When| {
            let row = arch.rows().find(|row| row.when == when);
            row.is_some_and(|row| has(&row.gguf.replace("{}", "0")))
        };
        for entry in arch.entries {
            match entry {
                Entry::Size(param) => {
                    let key = format!("{name}.{}", param.key);
                    let size = match (metadata.optional_size(&key)?, param.absent) {
                        (Some(size), _) => size,
                        (None, Absent::Of(field)) => facts.size(field),
                        (None, _) => metadata.size(&key)?,
                    };
                    let vague = matches!(param.field, Field::Heads | Field::KvHeads);
                    if size as u64 > MAX_SIZE || size == 0 && !vague {
                        return Err(metadata.broken(format!("{key} is {size}")));
                    }
                    if param.field == Field::Layers && size > tensors.len() {
                        return Err(metadata.broken(format!(
                            "{key} is {size}, but there are {} tensors",
                            tensors.len()
                        )));
                    }
                    facts.sizes.insert(param.field, size);
                }
                Entry::Number(param) => {
                    let key = format!("{name}.{}", param.key);
                    let number = metadata.optional_number(&key)?;
                    match (number, param.absent) {
                        (None, Absent::Omitted) => {}
                        (number, _) => {
                            let number = number.map_or_else(|| metadata.number(&key), Ok)?;
                            facts.numbers.insert(param.field, number);
                        }
                    }
                }
                Entry::Flag(param) => {
                    let key = format!("{name}.{}", param.key);
                    let flag = metadata
                        .optional_bool(&key)?
                        .ok_or_else(|| metadata.broken(format!("metadata {key:?} is missing")))?;
                    facts.flags.insert(param.field, flag);
                }
                Entry::AttentionBias => facts.attention_bias = first_of(When::AttentionBias),
                Entry::MlpBias => facts.mlp_bias = first_of(When::MlpBias),
                Entry::Window(window) => {
                    let key = format!("{name}.attention.sliding_window");
                    facts.window = metadata.optional_size(&key)?.filter(|window| *window > 0);
                    if matches!(window, Window::Alternating { .. }) && facts.window.is_none() {
                        return Err(metadata.broken(format!("metadata {key:?} is missing")));
                    }
                }
                _ => {}
            }
        }
        facts
            .check_counts()
            .map_err(|problem| metadata.broken(problem))?;
        facts.head_dim = facts.head_dim_of_metadata(arch, metadata)?;
        if let Some(rules) = arch.rope_rules() {
            let context = facts.size(Field::Context);
            let rope = Rope::from_metadata(rules, metadata, name, facts.head_dim, context)?;
            facts.rope = Some(rope);
        }
        Ok(facts)
    }

    /// Every metadata key of the architecture.
    pub(crate) fn metadata(&self, arch: &GgufArch) -> Vec<(String, MetadataValue)> {
        let size = |value: usize| MetadataValue::Unsigned(value as u64);
        let mut keys = Vec::new();
        let mut put = |key: &str, value| keys.push((format!("{}.{key}", arch.name), value));
        for entry in arch.entries {
            match entry {
                Entry::Size(param) if param.field == Field::Context => {
                    put(param.key, size(self.context(arch)));
                }
                Entry::Size(param) => put(param.key, size(self.size(param.field))),
                Entry::Number(param) => {
                    if let Some(number) = self.numbers.get(&param.field) {
                        put(param.key, MetadataValue::F32(*number as f32));
                    }
                }
                Entry::Flag(param) => {
                    let flag = self.flags.get(&param.field).copied().unwrap_or(false);
                    put(param.key, MetadataValue::Bool(flag));
                }
                Entry::HeadDim => {
                    put("attention.key_length", size(self.head_dim));
                    put("attention.value_length", size(self.head_dim));
                }
                Entry::Rope(_) => {
                    let rope = self.rope.iter().flat_map(Rope::metadata);
                    rope.for_each(|(key, value)| put(key, value));
                }
                Entry::Window(Window::Alternating { .. } | Window::Ignored { stated: true }) => {
                    put("attention.sliding_window", size(self.window.unwrap_or(0)));
                }
                _ => {}
            }
        }
        keys
    }

    fn head_dim_of_metadata(
        &self,
        arch: &GgufArch,
        metadata: &Metadata<'_>,
    ) -> Result<usize, Error> {
        let (hidden, heads) = (self.size(Field::Hidden), self.size(Field::Heads));
        let name = arch.name;
        let head_dim = match metadata.optional_size(&format!("{name}.attention.key_length"))? {
            Some(head_dim) => head_dim,
            None if hidden.is_multiple_of(heads) => hidden / heads,
            None => {
                return Err(metadata.broken(format!(
                    "{name}.embedding_length {hidden} is not a multiple of {heads} heads"
                )));
            }
        };
        let key = format!("{name}.attention.value_length");
        let value = metadata.optional_size(&key)?.unwrap_or(head_dim);
        let uneven = !arch.states_head_dim() && head_dim.checked_mul(heads) != Some(hidden);
        if value != head_dim || uneven {
            return Err(metadata.unsupported(
                format!("{key} is {value}, but {heads} heads have {head_dim} values"),
                USE_FOLDER,
            ));
        }
        if head_dim as u64 > MAX_SIZE {
            return Err(metadata.broken(format!("heads have {head_dim} values")));
        }
        Ok(head_dim)
    }
}

impl GgufArch {
    /// Whether a key behind the architecture's name is understood.
    fn knows_key(&self, key: &str) -> bool {
        COMMON_KEYS.contains(&key)
            || self.entries.iter().any(|entry| match entry {
                Entry::Size(param) | Entry::Number(param) | Entry::Flag(param) => param.key == key,
                Entry::Rope(_) => key.starts_with("rope.") && ROPE_KEYS.contains(&key),
                Entry::Window(Window::Ignored { stated: false }) => false,
                Entry::Window(_) => key == "attention.sliding_window",
                _ => false,
            })
    }
}

/// The number of experts is read before a table is chosen.
const COMMON_KEYS: [&str; 5] = [
    "vocab_size",
    "attention.key_length",
    "attention.value_length",
    "expert_count",
    "expert_used_count",
];
const ROPE_KEYS: [&str; 9] = [
    "rope.freq_base",
    "rope.freq_base_swa",
    "rope.dimension_count",
    "rope.scaling.type",
    "rope.scaling.factor",
    "rope.scaling.original_context_length",
    "rope.scaling.attn_factor",
    "rope.scaling.finetuned",
    "rope.scale_linear",
];
