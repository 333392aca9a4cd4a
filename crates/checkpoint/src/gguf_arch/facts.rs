use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::config::MAX_SIZE;
use super::{Absent, Config, Const, Dim, Entry, Field, GgufArch, Rope, TiedHead, When, Window};
use crate::Error;
use crate::gguf::MetadataValue;
use crate::import::metadata::{Metadata, USE_FOLDER};

/// What `config.json` or GGUF metadata say of a model.
#[derive(Debug)]
pub(crate) struct Facts {
    sizes: BTreeMap<Field, usize>,
    numbers: BTreeMap<Field, f64>,
    flags: BTreeMap<Field, bool>,
    pub(crate) vocab: usize,
    pub(crate) head_dim: usize,
    pub(crate) attention_bias: bool,
    pub(crate) mlp_bias: bool,
    /// Whether the head is the embedding.
    pub(crate) tied: bool,
    pub(crate) rope: Option<Rope>,
    window: Option<usize>,
}

impl Facts {
    /// # Errors
    /// [`Error::Json`] if a field is missing or has an impossible value;
    /// [`Error::UnsupportedExport`] if llama.cpp would compute something else.
    pub(crate) fn from_config(arch: &GgufArch, config: &Config<'_>) -> Result<Facts, Error> {
        if config.value("quantization_config").is_some() {
            return Err(config.unsupported("its weights are quantised already".to_owned()));
        }
        let vocab = config.size("vocab_size")?;
        let vocab = vocab.ok_or_else(|| config.wrong("vocab_size", "a positive integer"))?;
        let mut facts = Facts::empty(vocab);
        for entry in arch.entries {
            match entry {
                Entry::Size(param) => {
                    let mut found = None;
                    for name in param.config {
                        found = match found {
                            None => config.size(name)?,
                            found => found,
                        };
                    }
                    let found = found.or(match param.absent {
                        Absent::Of(field) => facts.sizes.get(&field).copied(),
                        Absent::FourTimes(field) => facts.sizes.get(&field).map(|size| 4 * size),
                        _ => None,
                    });
                    let size =
                        found.ok_or_else(|| config.wrong(param.config[0], "a positive integer"))?;
                    facts.sizes.insert(param.field, size);
                }
                Entry::Number(param) => {
                    let found = config.number(param.config[0])?.or(match param.absent {
                        Absent::Number(number) => Some(number),
                        _ => None,
                    });
                    match (found, param.absent) {
                        (Some(number), _) => {
                            facts.numbers.insert(param.field, number);
                        }
                        (None, Absent::Omitted) => {}
                        (None, _) => {
                            return Err(config.wrong(param.config[0], "a positive number"));
                        }
                    }
                }
                Entry::Flag(param) => {
                    let default = matches!(param.absent, Absent::Flag(true));
                    let flag = config.flag(param.config[0])?.unwrap_or(default);
                    facts.flags.insert(param.field, flag);
                }
                Entry::Fixed {
                    name,
                    values,
                    absent,
                } => {
                    let null = Value::Null;
                    let found = config.value(name).unwrap_or(&null);
                    let meant = values.iter().any(|value| value.json() == *found);
                    if !(meant || *absent && found.is_null()) {
                        let expected = values[0].json();
                        return Err(config.unsupported(format!(
                            "{name} is {found}, and llama.cpp computes {expected}"
                        )));
                    }
                }
                Entry::AttentionBias => {
                    facts.attention_bias = config.flag("attention_bias")?.unwrap_or(false);
                }
                Entry::MlpBias => facts.mlp_bias = config.flag("mlp_bias")?.unwrap_or(false),
                Entry::Tied(default) => {
                    facts.tied = config.flag("tie_word_embeddings")?.unwrap_or(*default);
                }
                _ => {}
            }
        }
        facts.head_dim = facts.head_dim_of_config(arch, config)?;
        for entry in arch.entries {
            match entry {
                Entry::Rope(rules) => {
                    let context = facts.size(Field::Context);
                    let rope = Rope::from_config(rules, config, facts.head_dim, context)?;
                    facts.rope = Some(rope);
                }
                Entry::Window(Window::Ignored { .. }) => {
                    facts.window = config.size("sliding_window")?;
                }
                Entry::Window(Window::Alternating { .. }) => {
                    let window = config.size("sliding_window")?;
                    facts.window = Some(
                        window
                            .ok_or_else(|| config.wrong("sliding_window", "a positive integer"))?,
                    );
                }
                Entry::ScoreScale { wide_at_layers } => {
                    let expected = facts.score_scale(*wide_at_layers);
                    let found = config.number("query_pre_attn_scalar")?.unwrap_or(256.0);
                    if found != expected as f64 {
                        return Err(config.unsupported(format!(
                            "query_pre_attn_scalar is {found}, and llama.cpp computes {expected}"
                        )));
                    }
                }
                Entry::NoRopeEvery(period) => {
                    let layers = facts.size(Field::Layers);
                    let expected: Vec<Value> = (1..=layers)
                        .map(|layer| json!(u8::from(layer % period != 0)))
                        .collect();
                    let interval = config.size("no_rope_layer_interval")?.unwrap_or(*period);
                    let same = match config.list("no_rope_layers")? {
                        Some(list) => list == expected,
                        None => interval == *period,
                    };
                    if !same {
                        return Err(config.unsupported(format!(
                            "llama.cpp leaves out the rotary embedding in each {period}th layer, \
                             and no_rope_layers says otherwise"
                        )));
                    }
                }
                _ => {}
            }
        }
        facts.check_layer_types(arch, config)?;
        let always = arch.head.tied == TiedHead::Always;
        if always && !facts.tied {
            return Err(config.unsupported(
                "its head is not its embedding, which llama.cpp takes for granted".to_owned(),
            ));
        }
        facts
            .check_heads()
            .map_err(|problem| config.problem(problem))?;
        Ok(facts)
    }

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
            .check_heads()
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

    /// Appends the fields after `vocab_size` to `config.json`.
    pub(crate) fn write_config(&self, arch: &GgufArch, config: &mut Map<String, Value>) {
        for entry in arch.entries {
            let mut put = |name: &str, value: Value| config.insert(name.to_owned(), value);
            match entry {
                Entry::Size(param) => {
                    put(param.config[0], json!(self.size(param.field)));
                }
                Entry::Number(param) => {
                    put(param.config[0], json!(self.numbers.get(&param.field)));
                }
                Entry::Flag(param) => {
                    put(param.config[0], json!(self.flags.get(&param.field)));
                }
                Entry::HeadDim => {
                    put("head_dim", json!(self.head_dim));
                }
                Entry::AttentionBias => {
                    put("attention_bias", json!(self.attention_bias));
                }
                Entry::MlpBias => {
                    put("mlp_bias", json!(self.mlp_bias));
                }
                Entry::Fixed { name, values, .. } => {
                    put(name, values.first().copied().unwrap_or(Const::Null).json());
                }
                Entry::Filler(name, value) => {
                    put(name, value.json());
                }
                Entry::Rope(rules) => {
                    if let Some(rope) = &self.rope {
                        rope.write_config(rules, config);
                    }
                }
                Entry::Window(Window::Ignored { stated: false }) => {}
                Entry::Window(Window::Ignored { stated: true }) => {
                    put("sliding_window", json!(self.window));
                }
                Entry::Window(Window::Alternating { period }) => {
                    put("sliding_window", json!(self.window));
                    put("layer_types", json!(self.layer_types(Some(*period))));
                }
                Entry::ScoreScale { wide_at_layers } => {
                    let scale = self.score_scale(*wide_at_layers);
                    put("query_pre_attn_scalar", json!(scale));
                }
                Entry::NoRopeEvery(period) => {
                    put("no_rope_layer_interval", json!(period));
                }
                Entry::Tied(_) => {
                    put("tie_word_embeddings", json!(self.tied));
                }
            }
        }
    }

    /// A size of the table; 0 if the architecture has no such field.
    pub(crate) fn size(&self, field: Field) -> usize {
        self.sizes.get(&field).copied().unwrap_or(0)
    }

    /// `None` if it does not fit.
    pub(super) fn dim(&self, dim: Dim) -> Option<usize> {
        let q = self.size(Field::Heads).checked_mul(self.head_dim);
        let kv_heads = match self.size(Field::KvHeads) {
            0 => self.size(Field::Heads),
            kv_heads => kv_heads,
        };
        let kv = kv_heads.checked_mul(self.head_dim);
        match dim {
            Dim::One => Some(1),
            Dim::Vocab => Some(self.vocab),
            Dim::Field(field) => Some(self.size(field)),
            Dim::Head => Some(self.head_dim),
            Dim::Q => q,
            Dim::Kv => kv,
            Dim::Qkv => q?.checked_add(kv?.checked_mul(2)?),
            Dim::TwoFfn => self.size(Field::Ffn).checked_mul(2),
        }
    }

    /// The context within which llama.cpp computes the model.
    fn context(&self, arch: &GgufArch) -> usize {
        let ignored = |entry: &Entry| matches!(entry, Entry::Window(Window::Ignored { .. }));
        let context = self.size(Field::Context);
        match self.window {
            Some(window) if arch.entries.iter().any(ignored) => context.min(window),
            _ => context,
        }
    }

    fn score_scale(&self, wide_at_layers: usize) -> usize {
        if self.size(Field::Layers) == wide_at_layers {
            self.size(Field::Hidden) / self.size(Field::Heads).max(1)
        } else {
            self.head_dim
        }
    }

    fn layer_types(&self, period: Option<usize>) -> Vec<&'static str> {
        let full = |layer: usize| period.is_none_or(|period| layer.is_multiple_of(period));
        (1..=self.size(Field::Layers))
            .map(|layer| match full(layer) {
                true => "full_attention",
                false => "sliding_attention",
            })
            .collect()
    }

    fn check_layer_types(&self, arch: &GgufArch, config: &Config<'_>) -> Result<(), Error> {
        let period = arch.entries.iter().find_map(|entry| match entry {
            Entry::Window(Window::Alternating { period }) => Some(*period),
            _ => None,
        });
        let mut same = match config.list("layer_types")? {
            None => true,
            // A window in every layer is a window, of which a shorter context takes care.
            Some(list) if period.is_none() && self.window.is_some() => {
                list.iter().all(|kind| kind.is_string())
            }
            Some(list) => {
                let expected: Vec<Value> = self
                    .layer_types(period)
                    .into_iter()
                    .map(Value::from)
                    .collect();
                list == expected
            }
        };
        if let Some(period) = period {
            for name in ["sliding_window_pattern", "_sliding_window_pattern"] {
                same &= config.size(name)?.is_none_or(|found| found == period);
            }
        }
        if same {
            return Ok(());
        }
        Err(config.unsupported(match period {
            Some(period) => format!("not just each {period}th layer is without a sliding window"),
            None => "some layers have a sliding window".to_owned(),
        }))
    }

    fn head_dim_of_config(&self, arch: &GgufArch, config: &Config<'_>) -> Result<usize, Error> {
        let (hidden, heads) = (self.size(Field::Hidden), self.size(Field::Heads));
        let share = hidden
            .is_multiple_of(heads)
            .then_some(hidden / heads.max(1));
        let stated = config.size("head_dim")?;
        match (stated, share) {
            (Some(head_dim), share) if arch.states_head_dim() || share == Some(head_dim) => {
                Ok(head_dim)
            }
            (Some(head_dim), _) => Err(config.unsupported(format!(
                "head_dim is {head_dim}, and llama.cpp takes {hidden} / {heads} for granted"
            ))),
            (None, Some(share)) => Ok(share),
            (None, None) => Err(config.problem(format!(
                "{heads} heads do not divide a hidden size of {hidden}"
            ))),
        }
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

    fn check_heads(&self) -> Result<(), String> {
        let heads = self.size(Field::Heads);
        let kv_heads = self.sizes.get(&Field::KvHeads).copied().unwrap_or(heads);
        if heads == 0 || kv_heads == 0 || !heads.is_multiple_of(kv_heads) {
            return Err(format!(
                "{heads} query heads cannot share {kv_heads} key-value heads"
            ));
        }
        let (experts, used) = (self.size(Field::Experts), self.size(Field::ExpertsUsed));
        if used > experts {
            return Err(format!("{used} of {experts} experts cannot be used"));
        }
        Ok(())
    }

    fn empty(vocab: usize) -> Facts {
        Facts {
            sizes: BTreeMap::new(),
            numbers: BTreeMap::new(),
            flags: BTreeMap::new(),
            vocab,
            head_dim: 0,
            attention_bias: false,
            mlp_bias: false,
            tied: false,
            rope: None,
            window: None,
        }
    }
}

impl GgufArch {
    fn states_head_dim(&self) -> bool {
        let states = |entry: &Entry| matches!(entry, Entry::HeadDim);
        self.entries.iter().any(states)
    }

    fn rope_rules(&self) -> Option<&super::RopeRules> {
        self.entries.iter().find_map(|entry| match entry {
            Entry::Rope(rules) => Some(rules),
            _ => None,
        })
    }

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
