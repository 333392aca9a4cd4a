//! Fidelity: how near the decrypted output of F_k is to the output of F, on the same prompts.

use equicrypt_cipher::Vocabulary;
use equicrypt_engine::{Chunk, Decoder, KvCache, Want};
use equicrypt_spec::{Manifest, Profile};
use serde::Serialize;

use crate::Error;

/// Two models on the same texts: each prompt followed by the plain model's greedy answer. A context that several texts begin
/// with, such as a chat template's, is counted once.
#[derive(Debug, Clone, Serialize)]
pub struct Fidelity {
    /// Prompts compared.
    pub prompts: usize,
    /// Positions compared.
    pub positions: usize,
    /// max over positions and ids of |l_enc(pi(i)) - l(i)|.
    pub max_logit_difference: f64,
    /// Mean over positions of KL(p || p_enc), in nats.
    pub mean_kl: f64,
    /// Share of positions with the same likeliest id.
    pub top1_agreement: f64,
    /// exp of the mean negative log-likelihood of the prompts' own tokens, plain model.
    pub perplexity_plain: f64,
    /// The same, encrypted model.
    pub perplexity_encrypted: f64,
    /// New tokens of each greedy answer.
    pub greedy_tokens: usize,
    /// For each prompt, how many of them are equal before the first difference.
    pub greedy_match_lengths: Vec<usize>,
}

/// What a comparison must satisfy.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Limits {
    /// Largest mean KL, in nats.
    pub mean_kl: f64,
    /// Smallest top-1 agreement.
    pub top1_agreement: f64,
    /// Whether greedy answers must be equal to the end.
    pub greedy_identical: bool,
}

/// A secret renaming of ids, one-to-one but for homophones: an owner's vocabulary, or that of a scheme an audit compares with.
pub trait Renaming {
    /// How many ids the renamed model has.
    fn size(&self) -> usize;

    /// How many plain ids there are.
    fn plain_size(&self) -> usize {
        self.size()
    }

    /// Plain ids to the model's own. Fails on an id outside.
    fn to_cipher(&self, plain: &[u32]) -> Result<Vec<u32>, Error>;

    /// The model's ids to plain ones. Fails on an id outside.
    fn to_plain(&self, cipher: &[u32]) -> Result<Vec<u32>, Error>;
}

impl Renaming for Vocabulary {
    fn size(&self) -> usize {
        Vocabulary::size(self)
    }

    fn plain_size(&self) -> usize {
        Vocabulary::plain_size(self)
    }

    fn to_cipher(&self, plain: &[u32]) -> Result<Vec<u32>, Error> {
        Ok(self.encrypt(plain)?.as_slice().to_vec())
    }

    fn to_plain(&self, cipher: &[u32]) -> Result<Vec<u32>, Error> {
        Ok(self.decrypt(cipher)?)
    }
}

/// Runs `prompts` (plain ids, at least two each) through both models, and `greedy_tokens` of greedy answer to each.
pub fn compare(
    plain: &Decoder,
    encrypted: &Decoder,
    vocabulary: &impl Renaming,
    prompts: &[Vec<u32>],
    greedy_tokens: usize,
) -> Result<Fidelity, Error> {
    let size = plain.config().vocab_size;
    if encrypted.config().vocab_size != vocabulary.size() || vocabulary.plain_size() != size {
        return Err(Error::Vocabulary {
            plain: size,
            encrypted: encrypted.config().vocab_size,
        });
    }
    if prompts.iter().all(|prompt| prompt.len() < 2) {
        return Err(Error::NoPrompts);
    }
    let every_id: Vec<u32> = (0..size as u32).collect();
    let cipher_of = vocabulary.to_cipher(&every_id)?;

    let cipher_prompts: Vec<Vec<u32>> = prompts
        .iter()
        .map(|prompt| vocabulary.to_cipher(prompt))
        .collect::<Result<_, _>>()?;
    let ours = greedy(plain, prompts, greedy_tokens)?;
    let theirs = greedy(encrypted, &cipher_prompts, greedy_tokens)?;
    let mut sums = Sums::default();
    let mut seen: Vec<Vec<u32>> = Vec::new();
    for (prompt, answer) in prompts
        .iter()
        .zip(&ours)
        .filter(|(prompt, _)| prompt.len() >= 2)
    {
        let known = seen
            .iter()
            .map(|earlier| common_prefix(earlier, prompt))
            .max()
            .unwrap_or(0);
        // The last id's successor is not compared, and might not fit the context.
        let answer = answer.split_last().map_or(&[][..], |(_, before)| before);
        let text = [prompt.as_slice(), answer].concat();
        let plain = all_logits(plain, &text)?;
        let theirs = all_logits(encrypted, &vocabulary.to_cipher(&text)?)?;
        for (position, (plain, theirs)) in plain.iter().zip(&theirs).enumerate().skip(known) {
            let theirs: Vec<f64> = cipher_of
                .iter()
                .map(|cipher| theirs[*cipher as usize])
                .collect();
            sums.add(plain, &theirs, prompt.get(position + 1).copied());
        }
        seen.push(text);
    }

    let matches = ours.iter().zip(&theirs).map(|(ours, theirs)| {
        let theirs = vocabulary.to_plain(theirs)?;
        Ok(ours.iter().zip(&theirs).take_while(|(a, b)| a == b).count())
    });

    let positions = sums.positions.max(1) as f64;
    let tokens = sums.predicted.max(1) as f64;
    Ok(Fidelity {
        prompts: prompts.len(),
        positions: sums.positions,
        max_logit_difference: sums.max_difference,
        mean_kl: sums.kl / positions,
        top1_agreement: sums.same_top as f64 / positions,
        perplexity_plain: (sums.surprise_plain / tokens).exp(),
        perplexity_encrypted: (sums.surprise_encrypted / tokens).exp(),
        greedy_tokens,
        greedy_match_lengths: matches.collect::<Result<_, Error>>()?,
    })
}

impl Limits {
    /// What the profile and dtype of a manifest promise in an engine that computes in f32. `permute` moves values and
    /// `rotate` in f32 or f64 rounds far below the logits' resolution; `rotate` in 16 bits rounds every weight once. Noise
    /// promises nothing: it has no limits.
    #[must_use]
    pub fn of(manifest: &Manifest) -> Self {
        let rounds = manifest.profile == Profile::Rotate
            && !matches!(manifest.dtype.as_str(), "F32" | "F64");
        if manifest.noise > 0.0 {
            Self {
                mean_kl: f64::INFINITY,
                top1_agreement: 0.0,
                greedy_identical: false,
            }
        } else if rounds {
            Self {
                mean_kl: 1e-3,
                top1_agreement: 0.98,
                greedy_identical: false,
            }
        } else {
            Self {
                mean_kl: 1e-5,
                top1_agreement: 1.0,
                greedy_identical: true,
            }
        }
    }

    /// Whether `fidelity` satisfies every limit.
    #[must_use]
    pub fn hold(&self, fidelity: &Fidelity) -> bool {
        let identical = fidelity
            .greedy_match_lengths
            .iter()
            .all(|length| *length == fidelity.greedy_tokens);
        fidelity.mean_kl <= self.mean_kl
            && fidelity.top1_agreement >= self.top1_agreement
            && (identical || !self.greedy_identical)
    }
}

#[derive(Default)]
struct Sums {
    positions: usize,
    predicted: usize,
    max_difference: f64,
    kl: f64,
    same_top: usize,
    surprise_plain: f64,
    surprise_encrypted: f64,
}

impl Sums {
    fn add(&mut self, plain: &[f64], encrypted: &[f64], next: Option<u32>) {
        let difference = plain.iter().zip(encrypted).map(|(a, b)| (a - b).abs());
        self.max_difference = difference.fold(self.max_difference, f64::max);
        let (norm, norm_encrypted) = (log_sum_exp(plain), log_sum_exp(encrypted));
        self.kl += plain
            .iter()
            .zip(encrypted)
            .map(|(a, b)| (a - norm).exp() * ((a - norm) - (b - norm_encrypted)))
            .sum::<f64>();
        self.same_top += usize::from(argmax(plain) == argmax(encrypted));
        self.positions += 1;
        if let Some(next) = next.map(|id| id as usize).filter(|id| *id < plain.len()) {
            self.surprise_plain += norm - plain[next];
            self.surprise_encrypted += norm_encrypted - encrypted[next];
            self.predicted += 1;
        }
    }
}

fn all_logits(model: &Decoder, prompt: &[u32]) -> Result<Vec<Vec<f64>>, Error> {
    let mut cache = model.new_cache();
    let chunk = Chunk {
        tokens: prompt,
        cache: &mut cache,
        want: Want::All,
    };
    let logits = model.forward(&mut [chunk])?;
    Ok(logits
        .iter()
        .flat_map(|l| (0..l.rows()).map(|row| l.row_f64(row)))
        .collect())
}

/// Greedy answers of exactly `count` ids to all prompts, in one batch.
fn greedy(model: &Decoder, prompts: &[Vec<u32>], count: usize) -> Result<Vec<Vec<u32>>, Error> {
    let mut caches: Vec<KvCache> = prompts.iter().map(|_| model.new_cache()).collect();
    let mut answers: Vec<Vec<u32>> = vec![Vec::with_capacity(count); prompts.len()];
    for step in 0..count {
        let news = prompts
            .iter()
            .zip(&answers)
            .map(|(prompt, answer)| match answer.last() {
                Some(last) if step > 0 => vec![*last],
                _ => prompt.clone(),
            });
        let news: Vec<Vec<u32>> = news.collect();
        let mut chunks: Vec<Chunk<'_>> = news
            .iter()
            .zip(&mut caches)
            .map(|(tokens, cache)| Chunk {
                tokens,
                cache,
                want: Want::Last,
            })
            .collect();
        let logits = model.forward(&mut chunks)?;
        for (answer, logits) in answers.iter_mut().zip(&logits) {
            answer.push(argmax(&logits.row_f64(0)) as u32);
        }
    }
    Ok(answers)
}

fn common_prefix(a: &[u32], b: &[u32]) -> usize {
    a.iter().zip(b).take_while(|(a, b)| a == b).count()
}

pub(crate) fn log_sum_exp(values: &[f64]) -> f64 {
    let max = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    max + values.iter().map(|v| (v - max).exp()).sum::<f64>().ln()
}

pub(crate) fn argmax(values: &[f64]) -> usize {
    let better = |best: (usize, f64), next: (usize, f64)| if next.1 > best.1 { next } else { best };
    values
        .iter()
        .copied()
        .enumerate()
        .fold((0, f64::NEG_INFINITY), better)
        .0
}
