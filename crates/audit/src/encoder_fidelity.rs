//! Fidelity of encoders: how near the decrypted answers of F_k are to those of F, on the same texts.

use equicrypt_cipher::Outputs;
use equicrypt_engine::{Encoder, Part, Text};
use equicrypt_spec::{Manifest, Profile, Task};
use serde::Serialize;

use crate::Error;
use crate::fidelity::{argmax, log_sum_exp};

/// Two encoders on the same texts.
#[derive(Debug, Clone, Serialize)]
pub struct EncoderFidelity {
    /// Texts compared.
    pub texts: usize,
    /// Tokens in them.
    pub tokens: usize,
    /// What was compared: `sentence embeddings`, `token vectors`, `labels of texts`, `labels of tokens` or `masked tokens`.
    pub compared: &'static str,
    /// How many vectors: one for each text, or for each token.
    pub vectors: usize,
    /// The smallest cosine of a vector with the plain one.
    pub min_cosine: f64,
    /// max over vectors of max_i |x_i - y_i|, over the largest number of any plain vector.
    pub max_relative_difference: f64,
    /// Of labels and masked tokens: the share of vectors with the same likeliest one.
    pub agreement: Option<f64>,
    /// Of labels: the largest difference of a probability.
    pub max_probability_difference: Option<f64>,
    /// Of masked tokens: the mean KL(p || p_enc), in nats.
    pub mean_kl: Option<f64>,
}

/// What a comparison must satisfy.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct EncoderLimits {
    /// Smallest cosine.
    pub min_cosine: f64,
    /// Smallest share of equal labels or likeliest tokens.
    pub agreement: f64,
    /// Largest difference of a probability.
    pub max_probability_difference: f64,
    /// Largest mean KL, in nats.
    pub mean_kl: f64,
}

/// Texts of many kinds and languages, short and long, empty ones among them, for comparisons of two models.
#[must_use]
pub fn encoder_texts() -> Vec<String> {
    // The file is a part of this program; its test reads it.
    serde_json::from_str(include_str!("texts.json")).unwrap_or_default()
}

/// Runs `texts` through both models: token ids, and the types of the tokens.
pub fn compare_encoders(
    plain: &Encoder,
    encrypted: &Encoder,
    outputs: &Outputs,
    texts: &[(Vec<u32>, Vec<u32>)],
) -> Result<EncoderFidelity, Error> {
    let config = plain.config();
    let sizes = [config.vocab_size, encrypted.config().vocab_size];
    let vocabulary = outputs.vocabulary();
    if sizes != [vocabulary.plain_size(), vocabulary.size()] {
        return Err(Error::Vocabulary {
            plain: sizes[0],
            encrypted: sizes[1],
        });
    }
    if texts.is_empty() {
        return Err(Error::NoPrompts);
    }
    let (part, compared) = match config.task {
        Task::Features if config.sentence.is_some() => (Part::Answer, "sentence embeddings"),
        Task::Features | Task::NextToken => (Part::TokenVectors, "token vectors"),
        Task::SequenceLabels => (Part::Answer, "labels of texts"),
        Task::TokenLabels => (Part::Answer, "labels of tokens"),
        Task::MaskedToken => (Part::Answer, "masked tokens"),
    };
    let mut sums = Sums::default();
    for texts in texts.chunks(TOGETHER) {
        let cipher = (texts.iter())
            .map(|(tokens, types)| Ok((outputs.vocabulary().encrypt(tokens)?, types)))
            .collect::<Result<Vec<_>, Error>>()?;
        let ours: Vec<Text<'_>> = (texts.iter())
            .map(|(tokens, token_types)| Text {
                tokens,
                token_types,
            })
            .collect();
        let theirs: Vec<Text<'_>> = (cipher.iter())
            .map(|(tokens, token_types)| Text {
                tokens: tokens.as_slice(),
                token_types,
            })
            .collect();
        let ours = plain.forward(&ours, part)?;
        let theirs = encrypted.forward(&theirs, part)?;
        for (ours, theirs) in ours.iter().zip(&theirs) {
            let (plain, values) = (ours.to_f64(), theirs.to_f64());
            let rows = values.chunks_exact(theirs.width().max(1));
            for (plain, row) in plain.chunks_exact(ours.width().max(1)).zip(rows) {
                let decrypted = match (part, config.task) {
                    (Part::TokenVectors, _) => outputs.token_vector(row)?,
                    (_, Task::Features) => outputs.sentence(row)?,
                    (_, Task::MaskedToken) => outputs.tokens(row)?,
                    _ => outputs.labels(row)?,
                };
                sums.add(plain, &decrypted, config);
            }
        }
    }
    let vectors = sums.vectors.max(1) as f64;
    let has_choice = config.task.has_labels() || config.task == Task::MaskedToken;
    Ok(EncoderFidelity {
        texts: texts.len(),
        tokens: texts.iter().map(|(tokens, _)| tokens.len()).sum(),
        compared,
        vectors: sums.vectors,
        min_cosine: sums.min_cosine,
        max_relative_difference: sums.max_difference / sums.largest.max(f64::MIN_POSITIVE),
        agreement: has_choice.then(|| sums.same_choice as f64 / vectors),
        max_probability_difference: (config.task.has_labels()).then_some(sums.max_probability),
        mean_kl: (config.task == Task::MaskedToken).then(|| sums.kl / vectors),
    })
}

impl EncoderLimits {
    /// What the profile and dtype of a manifest promise in an engine that computes in f32; noise promises nothing.
    #[must_use]
    pub fn of(manifest: &Manifest) -> Self {
        let rounds = (manifest.profile == Profile::Rotate || manifest.rotates_output)
            && !matches!(manifest.dtype.as_str(), "F32" | "F64");
        if manifest.noise > 0.0 {
            Self {
                min_cosine: -1.0,
                agreement: 0.0,
                max_probability_difference: 1.0,
                mean_kl: f64::INFINITY,
            }
        } else if rounds {
            Self {
                min_cosine: 0.999,
                agreement: 0.98,
                max_probability_difference: 0.05,
                mean_kl: 1e-3,
            }
        } else {
            Self {
                min_cosine: 0.999_999,
                agreement: 1.0,
                max_probability_difference: 1e-5,
                mean_kl: 1e-5,
            }
        }
    }

    /// Whether `fidelity` satisfies every limit.
    #[must_use]
    pub fn hold(&self, fidelity: &EncoderFidelity) -> bool {
        fidelity.min_cosine >= self.min_cosine
            && fidelity
                .agreement
                .is_none_or(|share| share >= self.agreement)
            && (fidelity.max_probability_difference)
                .is_none_or(|most| most <= self.max_probability_difference)
            && fidelity.mean_kl.is_none_or(|kl| kl <= self.mean_kl)
    }
}

struct Sums {
    vectors: usize,
    min_cosine: f64,
    max_difference: f64,
    largest: f64,
    same_choice: usize,
    max_probability: f64,
    kl: f64,
}

impl Default for Sums {
    fn default() -> Self {
        Self {
            vectors: 0,
            min_cosine: 1.0,
            max_difference: 0.0,
            largest: 0.0,
            same_choice: 0,
            max_probability: 0.0,
            kl: 0.0,
        }
    }
}

impl Sums {
    fn add(&mut self, plain: &[f64], found: &[f64], config: &equicrypt_spec::ModelConfig) {
        self.vectors += 1;
        let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
        let lengths = (dot(plain, plain) * dot(found, found)).sqrt();
        // One number has no angle.
        if plain.len() > 1 {
            self.min_cosine = self.min_cosine.min(dot(plain, found) / lengths);
        }
        for (a, b) in plain.iter().zip(found) {
            self.max_difference = self.max_difference.max((a - b).abs());
            self.largest = self.largest.max(a.abs());
        }
        self.same_choice += usize::from(argmax(plain) == argmax(found));
        if config.task == Task::MaskedToken {
            let (norm, norm_found) = (log_sum_exp(plain), log_sum_exp(found));
            let pairs = plain.iter().zip(found);
            self.kl += pairs
                .map(|(a, b)| (a - norm).exp() * ((a - norm) - (b - norm_found)))
                .sum::<f64>();
        }
        if config.task.has_labels() {
            let (mut a, mut b) = (plain.to_vec(), found.to_vec());
            config.label_activation().apply(&mut a);
            config.label_activation().apply(&mut b);
            let differences = a.iter().zip(&b).map(|(a, b)| (a - b).abs());
            self.max_probability = differences.fold(self.max_probability, f64::max);
        }
    }
}

/// Texts in one pass.
const TOGETHER: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_200_different_texts() {
        let texts = encoder_texts();
        assert_eq!(texts.len(), 200);
        let different: std::collections::HashSet<_> = texts.iter().collect();
        assert_eq!(different.len(), 200);
    }
}
