//! What an architecture is called, here in `config.json`, there in GGUF: one table for both ways.
//!
//! [`ARCHS`] lists, for each architecture that llama.cpp names, the fields of `config.json` with
//! their metadata keys, what llama.cpp takes for granted, and the tensors with what happens to them
//! on the way. [`Facts`] is what either side says; [`pairs`] what tensors follow from it; and
//! [`convert`] moves them. Import and export are thin layers over these four.
//!
//! The facts are llama.cpp's, build 11434: `src/llama-arch.cpp` (names), `src/llama-model.cpp`
//! (shared keys, the two layouts of rotary pairs), `src/models/*.cpp` (shapes, assumptions) and
//! `conversion/*.py` (what changes in a tensor), in <https://github.com/ggml-org/llama.cpp>.

mod config;
mod convert;
mod facts;
mod moves;
mod rope;
mod table;
mod tensors;

pub(crate) use config::{Config, SERVE_FOLDER};
pub(crate) use convert::convert;
pub(crate) use facts::Facts;
pub(crate) use moves::{Move, export_moves, import_moves};
pub(crate) use rope::Rope;
pub(crate) use table::ARCHS;
pub(crate) use tensors::{Pair, ignorable, pairs, prefix_of};

use rope::RopeRules;

/// One architecture.
pub(crate) struct GgufArch {
    /// `general.architecture`, and the prefix of the architecture's metadata keys.
    pub(crate) name: &'static str,
    /// `model_type` and `architectures` of `config.json`; the first is what an import writes.
    pub(crate) model_types: &'static [(&'static str, &'static str)],
    /// `config.json` after `vocab_size`, in the order of an imported file.
    pub(crate) entries: &'static [Entry],
    pub(crate) head: Head,
    /// Tensors in Hugging Face's order, but for the head, which comes last.
    pub(crate) tensors: &'static [&'static [Row]],
    /// What Hugging Face's names may begin with, or may not.
    pub(crate) optional_prefix: &'static str,
}

impl GgufArch {
    /// The table for a `model_type` of `config.json`.
    pub(crate) fn of_model_type(model_type: &str) -> Option<&'static GgufArch> {
        ARCHS.iter().find(|arch| {
            let mut known = arch.model_types.iter();
            known.any(|(known, _)| *known == model_type)
        })
    }

    /// The table for a `general.architecture`, with experts or without.
    pub(crate) fn of_gguf(name: &str, experts: bool) -> Option<&'static GgufArch> {
        ARCHS
            .iter()
            .find(|arch| arch.name == name && arch.has(Field::Experts) == experts)
    }

    pub(crate) fn has(&self, field: Field) -> bool {
        self.entries.iter().any(|entry| match entry {
            Entry::Size(param) | Entry::Number(param) | Entry::Flag(param) => param.field == field,
            _ => false,
        })
    }

    pub(crate) fn rows(&self) -> impl Iterator<Item = &'static Row> + use<> {
        self.tensors.iter().copied().flatten()
    }

    /// The names of the embedding on both sides.
    pub(crate) fn embedding(&self) -> &'static Row {
        // A test holds the table to it.
        &self.tensors[0][0]
    }
}

/// One field of `config.json`, or a few that belong together.
pub(crate) enum Entry {
    /// A positive integer.
    Size(Param),
    /// A positive number; GGUF has it in f32.
    Number(Param),
    /// A truth value with a metadata key.
    Flag(Param),
    /// `head_dim`, by default `hidden_size / num_attention_heads`. Without this entry a head must
    /// have that size.
    HeadDim,
    /// Whether the attention projections have biases: in GGUF, whether the tensors are there.
    AttentionBias,
    /// Whether the MLP projections have biases.
    MlpBias,
    /// What llama.cpp computes, whatever `config.json` says.
    Fixed {
        name: &'static str,
        /// The first is what an import writes.
        values: &'static [Const],
        /// Whether a model class without the field means the same.
        absent: bool,
    },
    /// Written by an import; without meaning for the function.
    Filler(&'static str, Const),
    /// Rotary position embedding.
    Rope(RopeRules),
    /// Sliding windows.
    Window(Window),
    /// `query_pre_attn_scalar`: the square of the divisor of scores. llama.cpp takes `head_dim`,
    /// or, in a model of this many layers, `hidden_size / num_attention_heads`.
    ScoreScale { wide_at_layers: usize },
    /// `no_rope_layers`: every n-th layer has no rotary embedding.
    NoRopeEvery(usize),
    /// `tie_word_embeddings`, with what an absent field means.
    Tied(bool),
}

/// A field of `config.json` with its metadata key.
pub(crate) struct Param {
    pub(crate) field: Field,
    /// All are read, the first is written.
    pub(crate) config: &'static [&'static str],
    /// Behind the architecture's name and a dot.
    pub(crate) key: &'static str,
    pub(crate) absent: Absent,
}

/// What it means that a field is absent or null.
#[derive(Clone, Copy)]
pub(crate) enum Absent {
    Refused,
    /// Another field's value, on both sides.
    Of(Field),
    /// In `config.json`, four times another field's value; in GGUF it is refused.
    FourTimes(Field),
    /// In `config.json`, this number; in GGUF it is refused.
    Number(f64),
    /// In `config.json`, this truth value; in GGUF it is refused.
    Flag(bool),
    /// The key is absent too.
    Omitted,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Field {
    Context,
    Hidden,
    Layers,
    Ffn,
    Heads,
    KvHeads,
    Experts,
    ExpertsUsed,
    ExpertFfn,
    SharedFfn,
    NormEps,
    ScoreCap,
    LogitCap,
    Parallel,
}

/// A JSON constant.
#[derive(Clone, Copy)]
pub(crate) enum Const {
    Null,
    Flag(bool),
    Size(usize),
    Number(f64),
    Text(&'static str),
    EmptyList,
}

/// Sliding windows: what llama.cpp does about `sliding_window`.
#[derive(Clone, Copy)]
pub(crate) enum Window {
    /// Nothing. A model with a window is exported with a context as long as the window: within
    /// it, both are the same function. The key is only stated where older versions demand it.
    Ignored { stated: bool },
    /// Every layer has one but each `period`-th.
    Alternating { period: usize },
}

/// `output.weight`, and the head's name in Hugging Face's files.
#[derive(Clone, Copy)]
pub(crate) struct Head {
    pub(crate) hf: &'static str,
    pub(crate) tied: TiedHead,
}

/// What llama.cpp expects of a model whose head is its embedding.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum TiedHead {
    /// No `output.weight`.
    Left,
    /// A copy of the embedding as `output.weight`.
    Copied,
    /// No `output.weight`, and no model whose head is another.
    Always,
}

/// One tensor, or one of each layer (`{}` in the names), or one of each expert (`{e}`).
#[derive(Clone, Copy)]
pub(crate) struct Row {
    pub(crate) hf: &'static str,
    pub(crate) gguf: &'static str,
    /// Hugging Face's shape, of one expert.
    pub(crate) shape: &'static [Dim],
    pub(crate) how: How,
    pub(crate) when: When,
}

/// What happens to a tensor on the way from Hugging Face to GGUF.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum How {
    /// Nothing.
    Same,
    /// The two halves of each head's rows are interleaved: llama.cpp pairs rows 2i and 2i + 1 of
    /// these architectures where Hugging Face pairs i and i + D/2.
    Interleave,
    /// 1 is added: Gemma's norms multiply by `1 + w`, llama.cpp's by the stored gain.
    PlusOne,
    /// Rows become columns: GPT-2's projections are stored input first.
    Transpose,
    /// The experts' tensors become one of three axes, expert first.
    Stack,
    /// Rows `(head, q|k|v, i)` become rows `(q|k|v, head, i)`.
    SplitQkv,
}

/// Which models have a tensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum When {
    Always,
    AttentionBias,
    MlpBias,
}

/// A size that follows from the facts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dim {
    One,
    Vocab,
    Field(Field),
    /// head_dim.
    Head,
    /// heads x head_dim.
    Q,
    /// kv_heads x head_dim.
    Kv,
    /// Q + 2 Kv.
    Qkv,
    /// 2 x the MLP's width.
    TwoFfn,
}

#[cfg(test)]
mod tests;
