//! What an audit says: one verdict an attack, in numbers.

use equicrypt_spec::Profile;
use serde::Serialize;

use crate::{EncoderFidelity, Fidelity};

/// Who attacks: what is held besides the encrypted checkpoint and the traffic, which a host always has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Adversary {
    /// A host that has the original checkpoint, which anybody can download.
    BaseModelHost,
    /// The same, who also knows what some of the traffic says.
    KnownPlaintextHost,
    /// A reader of activations, KV caches or embeddings who has the original checkpoint.
    CacheReader,
    /// A reader of cipher ids alone who knows or chooses a part of some prompts.
    KnownPlaintextReader,
    /// A reader of cipher ids alone who knows text of another kind in the same language.
    LogReader,
    /// The same who knows text on the same matters from other sources.
    DomainLogReader,
    /// The same who knows other text from the same source.
    SourceLogReader,
}

/// What one attack recovered, each share in 0..=1 and the mean over the keys.
#[derive(Debug, Clone, Serialize)]
pub struct Verdict {
    /// Its name in the table of attacks.
    pub attack: &'static str,
    /// Whose attack it is.
    pub adversary: Adversary,
    /// Right guesses / token types asked for, special tokens left out.
    pub recovered_types: f64,
    /// Occurrences in the held-out text whose type was guessed right / occurrences, special tokens left out.
    pub recovered_occurrences: f64,
    /// Right guesses among the special tokens; none if the model has none.
    pub recovered_special: Option<f64>,
    /// What guessing blindly recovers.
    pub chance: f64,
    /// `recovered_types` of the same attack on a copy that only has a secret vocabulary.
    pub control: f64,
    /// Largest minus smallest `recovered_types` of the keys.
    pub spread: f64,
    /// How many keys.
    pub keys: usize,
    /// Time for one key.
    pub seconds: f64,
    /// What is recovered with growing effort; empty unless the attack has a knob. The shares above are its last point's.
    pub curve: Vec<Point>,
    /// What the curve's `effort` counts, such as "known pairs".
    pub effort: Option<&'static str>,
}

/// One point of a curve.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Point {
    /// How much of what [`Verdict::effort`] names.
    pub effort: f64,
    /// As in [`Verdict`].
    pub recovered_types: f64,
    /// As in [`Verdict`].
    pub recovered_occurrences: f64,
    /// The score of a public challenge, of attacks on logs: +10 for each cipher id seen and named rightly, -1 for each named
    /// wrongly.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub contest: Option<f64>,
}

/// Fidelity of either kind of model.
#[derive(Debug, Clone, Serialize)]
#[serde(untagged)]
pub enum MeasuredFidelity {
    /// Of a decoder.
    Decoder(Fidelity),
    /// Of an encoder.
    Encoder(EncoderFidelity),
}

/// One way to encrypt a model, and what became of it.
#[derive(Debug, Clone, Serialize)]
pub struct Audited {
    /// The name of the model: its folder's.
    pub model: String,
    /// The way in words, such as "rotate, noise 0.25" or "AloePri, alpha_e 1, alpha_h 0.2, lambda 0.3, h 128".
    pub scheme: String,
    /// `model_type` of the original.
    pub architecture: String,
    /// equicrypt's profile; none for a scheme of others.
    pub profile: Option<Profile>,
    /// Standard deviations of noise on embedding and head, in those of the tensors.
    pub noise: f64,
    /// The weights' dtype.
    pub dtype: String,
    /// Token types of the model.
    pub vocab_size: usize,
    /// Tokens of the held-out text.
    pub text_tokens: usize,
    /// How near the outputs are.
    pub fidelity: Option<MeasuredFidelity>,
    /// One an attack.
    pub verdicts: Vec<Verdict>,
}
