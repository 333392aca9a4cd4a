mod from_config;
mod from_metadata;

use std::collections::BTreeMap;

use super::{Dim, Entry, Field, GgufArch, Rope, RopeRules, Window};

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

    fn check_counts(&self) -> Result<(), String> {
        let heads = self.size(Field::Heads);
        let kv_heads = self.sizes.get(&Field::KvHeads).copied().unwrap_or(heads);
        if heads == 0 || kv_heads == 0 || !heads.is_multiple_of(kv_heads) {
            return Err(format!(
                "{heads} query heads cannot share {kv_heads} key-value heads"
            ));
        }
        let layers = self.size(Field::Layers);
        if layers > MAX_LAYERS {
            return Err(format!(
                "{layers} layers are more than llama.cpp's {MAX_LAYERS}"
            ));
        }
        let (experts, used) = (self.size(Field::Experts), self.size(Field::ExpertsUsed));
        if used > experts || experts > MAX_EXPERTS {
            return Err(format!(
                "{used} of {experts} experts are to be used, and llama.cpp knows {MAX_EXPERTS}"
            ));
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

    fn rope_rules(&self) -> Option<&RopeRules> {
        self.entries.iter().find_map(|entry| match entry {
            Entry::Rope(rules) => Some(rules),
            _ => None,
        })
    }
}

/// LLAMA_MAX_LAYERS and LLAMA_MAX_EXPERTS of llama.cpp's `src/llama-hparams.h`. They also bound
/// the names that a few bytes of a file can ask for.
const MAX_LAYERS: usize = 512;
const MAX_EXPERTS: usize = 1024;
