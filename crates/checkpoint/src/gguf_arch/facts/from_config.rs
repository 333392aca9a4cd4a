use serde_json::{Map, Value, json};

use super::Facts;
use crate::Error;
use crate::gguf_arch::{
    Absent, Config, Const, Entry, Field, GgufArch, Param, Rope, TiedHead, Window,
};

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
            facts.read_entry(entry, config)?;
        }
        facts.head_dim = facts.head_dim_of_config(arch, config)?;
        for entry in arch.entries {
            facts.read_dependent_entry(entry, config)?;
        }
        facts.check_layer_types(arch, config)?;
        if arch.head.tied == TiedHead::Always && !facts.tied {
            return Err(config.unsupported(
                "its head is not its embedding, which llama.cpp takes for granted".to_owned(),
            ));
        }
        facts
            .check_counts()
            .map_err(|problem| config.problem(problem))?;
        Ok(facts)
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

    fn read_entry(&mut self, entry: &Entry, config: &Config<'_>) -> Result<(), Error> {
        match entry {
            Entry::Size(param) => {
                let size = self.size_of_config(param, config)?;
                self.sizes.insert(param.field, size);
            }
            Entry::Number(param) => {
                let name = param.config[0];
                let number = match (config.number(name)?, param.absent) {
                    (Some(number), _) | (None, Absent::Number(number)) => number,
                    (None, Absent::Omitted) => return Ok(()),
                    (None, _) => return Err(config.wrong(name, "a positive number")),
                };
                self.numbers.insert(param.field, number);
            }
            Entry::Flag(param) => {
                let default = matches!(param.absent, Absent::Flag(true));
                let flag = config.flag(param.config[0])?.unwrap_or(default);
                self.flags.insert(param.field, flag);
            }
            Entry::Fixed {
                name,
                values,
                absent,
            } => check_fixed(name, values, *absent, config)?,
            Entry::AttentionBias => {
                self.attention_bias = config.flag("attention_bias")?.unwrap_or(false);
            }
            Entry::MlpBias => self.mlp_bias = config.flag("mlp_bias")?.unwrap_or(false),
            Entry::Tied(default) => {
                self.tied = config.flag("tie_word_embeddings")?.unwrap_or(*default);
            }
            Entry::Window(window) => {
                self.window = config.size("sliding_window")?;
                if matches!(window, Window::Alternating { .. }) && self.window.is_none() {
                    return Err(config.wrong("sliding_window", "a positive integer"));
                }
            }
            Entry::HeadDim
            | Entry::Filler(..)
            | Entry::Rope(_)
            | Entry::ScoreScale { .. }
            | Entry::NoRopeEvery(_) => {}
        }
        Ok(())
    }

    /// What needs the sizes.
    fn read_dependent_entry(&mut self, entry: &Entry, config: &Config<'_>) -> Result<(), Error> {
        match entry {
            Entry::Rope(rules) => {
                let context = self.size(Field::Context);
                let rope = Rope::from_config(rules, config, self.head_dim, context)?;
                self.rope = Some(rope);
            }
            Entry::ScoreScale { wide_at_layers } => {
                let expected = self.score_scale(*wide_at_layers);
                let found = config.number("query_pre_attn_scalar")?.unwrap_or(256.0);
                if found != expected as f64 {
                    return Err(config.unsupported(format!(
                        "query_pre_attn_scalar is {found}, and llama.cpp computes {expected}"
                    )));
                }
            }
            Entry::NoRopeEvery(period) => {
                let turns = |layer: usize| json!(u8::from(!layer.is_multiple_of(*period)));
                let expected: Vec<Value> = (1..=self.size(Field::Layers)).map(turns).collect();
                let interval = config.size("no_rope_layer_interval")?.unwrap_or(*period);
                let same = match config.list("no_rope_layers")? {
                    Some(list) => list == expected,
                    None => interval == *period,
                };
                if !same {
                    return Err(config.unsupported(format!(
                        "llama.cpp leaves out the rotary embedding in each {period}th layer, and \
                         no_rope_layers says otherwise"
                    )));
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn size_of_config(&self, param: &Param, config: &Config<'_>) -> Result<usize, Error> {
        for name in param.config {
            if let Some(size) = config.size(name)? {
                return Ok(size);
            }
        }
        let other = match param.absent {
            Absent::Of(field) => self.sizes.get(&field).copied(),
            Absent::FourTimes(field) => self.sizes.get(&field).map(|size| 4 * size),
            _ => None,
        };
        other.ok_or_else(|| config.wrong(param.config[0], "a positive integer"))
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
}

/// The field says what llama.cpp computes anyway.
fn check_fixed(
    name: &str,
    values: &[Const],
    absent: bool,
    config: &Config<'_>,
) -> Result<(), Error> {
    let found = config.value(name).unwrap_or(&Value::Null);
    let meant = values.iter().any(|value| value.json() == *found);
    if meant || absent && found.is_null() {
        return Ok(());
    }
    let expected = values.first().copied().unwrap_or(Const::Null).json();
    Err(config.unsupported(format!(
        "{name} is {found}, and llama.cpp computes {expected}"
    )))
}
