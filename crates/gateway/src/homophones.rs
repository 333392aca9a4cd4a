//! Answers of a model in which plain ids have several cipher ids: how they are drawn exactly, and how log-probabilities are
//! read. Every homophone of id i has its logit l_i.

use std::collections::{BTreeMap, BTreeSet};

use equicrypt_spec::wire::TokenLogprob;

use crate::{Bias, Error, Sampling, Session};

/// What makes a host draw plain ids as the plain model does.
///
/// ```text
/// Greedy   nothing: homophones have equal logits, and which of them comes does not matter
/// Split    l_i - T ln m_i: at temperature T each homophone has the probability p_i / m_i
/// One      the lowest homophone of each id stays, and the others get -100: exact whatever ranks,
///          filters or penalises ids, but the others never appear in answers
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Correction {
    Greedy,
    Split,
    One,
}

impl Correction {
    /// What this way to draw needs.
    pub(crate) fn of(sampling: &Sampling) -> Self {
        let penalises = sampling.presence_penalty != 0.0 || sampling.frequency_penalty != 0.0;
        let greedy = sampling.temperature < GREEDY_BELOW;
        let filters = sampling.top_p < 1.0 || sampling.top_k > 0 || sampling.min_p > 0.0;
        match (penalises, greedy, filters) {
            (false, true, _) => Self::Greedy,
            (false, false, false) => Self::Split,
            _ => Self::One,
        }
    }
}

impl Session {
    /// The same sampling of plain ids, as a host is told it: with `bias` (plain ids and what is added to their logits) and what
    /// homophones need in place of its own bias. Without homophones that is the bias alone.
    ///
    /// # Errors
    /// On an id outside the vocabulary; and with homophones on what no host can then do exactly: a repetition penalty,
    /// which would fall on one of several homophones of an id of the prompt, and a temperature above 4, at which -100 is
    /// not nothing.
    pub fn sampling(&self, bias: &[(u32, f64)], sampling: Sampling) -> Result<Sampling, Error> {
        let vocabulary = self.vocabulary();
        let wanted: BTreeMap<u32, f64> = bias.iter().copied().collect();
        let mut plain: BTreeSet<u32> = wanted.keys().copied().collect();
        let correction = Correction::of(&sampling);
        if vocabulary.has_homophones() {
            check(&sampling)?;
            if correction != Correction::Greedy {
                plain.extend(vocabulary.homophonic_classes().map(|(id, _)| id));
            }
        }
        // In ascending order: no order tells which ids are homophones of each other.
        let ids = vocabulary.encrypt_to_all(&plain.into_iter().collect::<Vec<_>>())?;
        let plain = vocabulary.decrypt(ids.as_slice())?;
        let (mut places, mut values) = (Vec::new(), Vec::new());
        for (place, (cipher, plain)) in ids.as_slice().iter().zip(plain).enumerate() {
            let class = vocabulary.class(plain).unwrap_or_default();
            let wanted = wanted.get(&plain).copied();
            let value = match correction {
                Correction::One if class.first() != Some(cipher) => Some(LOWEST),
                Correction::Split if class.len() > 1 => {
                    let share = sampling.temperature * (class.len() as f64).ln();
                    // Whoever forbids an id asks for the lowest bias that there is.
                    Some(wanted.map_or(-share, |bias| (bias - share).max(LOWEST.min(bias))))
                }
                _ => wanted,
            };
            if let Some(value) = value {
                places.push(place);
                values.push(value);
            }
        }
        Ok(Sampling {
            bias: Bias::new(ids.select(&places), values),
            ..sampling
        })
    }

    /// Log-probabilities of plain ids at one place: of the drawn one, and of those that a host names, the likeliest first.
    /// `biased`: whether this host computes them behind the correction and the temperature, rather than from the model's own
    /// logits.
    ///
    /// From its own logits a host gives q_i = exp(l_i) / Z' with `Z' = sum m_k exp(l_k)`, and what is wanted is exp(l_i) / Z with
    /// `Z = sum exp(l_k)`. Named classes add q_k to Z / Z'; of the rest R of all probability it is known that it adds R / m for
    /// some m between 1 and the largest class. It is taken to be spread evenly, so that the result is off by less than
    /// ln((S + R) / (S + R / max m)) with `S = sum q_k`, and exact where R is 0.
    pub(crate) fn plain_logprobs(
        &self,
        entry: &TokenLogprob,
        correction: Correction,
        biased: bool,
    ) -> Result<(f64, Vec<(u32, f64)>), Error> {
        let vocabulary = self.vocabulary();
        let named = || std::iter::once(entry).chain(&entry.top_logprobs);
        let cipher: Vec<u32> = named().map(|named| named.token_id).collect();
        let plain = self.decrypt(&cipher)?;
        let values: Vec<f64> = named().map(|named| named.logprob).collect();
        if !vocabulary.has_homophones() {
            let top = plain.into_iter().zip(values).skip(1);
            return Ok((entry.logprob, sorted(top.collect())));
        }
        let mut best: BTreeMap<u32, f64> = BTreeMap::new();
        for (id, value) in plain.iter().zip(values) {
            let known = best.entry(*id).or_insert(value);
            *known = known.max(value);
        }
        let size = |id: &u32| vocabulary.class(*id).map_or(1, <[u32]>::len);
        match (biased, correction) {
            (true, Correction::One) => {}
            (true, Correction::Split) => {
                let add = |(id, value): (&u32, &mut f64)| *value += (size(id) as f64).ln();
                best.iter_mut().for_each(add);
            }
            _ => {
                let sum: f64 = best.values().map(|q| q.exp()).sum();
                let mass: f64 = best.iter().map(|(id, q)| size(id) as f64 * q.exp()).sum();
                let ids = vocabulary.size() - best.keys().map(size).sum::<usize>();
                let classes = vocabulary.plain_size() - best.len();
                let rest = (1.0 - mass).max(0.0) * classes as f64 / ids.max(1) as f64;
                let norm = (sum + rest).ln();
                best.values_mut().for_each(|value| *value -= norm);
            }
        }
        best.values_mut().for_each(|value| *value = value.min(0.0));
        let drawn = plain.first().and_then(|id| best.get(id)).copied();
        let top: BTreeSet<u32> = plain.into_iter().skip(1).collect();
        best.retain(|id, _| top.contains(id));
        Ok((
            drawn.unwrap_or(entry.logprob),
            sorted(best.into_iter().collect()),
        ))
    }
}

fn check(sampling: &Sampling) -> Result<(), Error> {
    if sampling.repetition_penalty != 1.0 {
        return Err(Error::Option {
            option: "repetition_penalty",
            expected: "1, because ids of this model have homophones, and a host would penalise one of several",
            found: sampling.repetition_penalty.to_string(),
        });
    }
    if sampling.temperature > MOST_TEMPERATURE {
        return Err(Error::Option {
            option: "temperature",
            expected: "at most 4, because ids of this model have homophones",
            found: sampling.temperature.to_string(),
        });
    }
    Ok(())
}

/// The likeliest first.
fn sorted(mut top: Vec<(u32, f64)>) -> Vec<(u32, f64)> {
    top.sort_by(|a, b| b.1.total_cmp(&a.1));
    top
}

/// Where vLLM and equicrypt's server begin to draw.
const GREEDY_BELOW: f64 = 1e-5;
/// The lowest bias that OpenAI's API and vLLM know.
const LOWEST: f64 = -100.0;
/// An id that a bias of -100 takes out has exp(-25) = 1.4e-11 of its probability left.
const MOST_TEMPERATURE: f64 = 4.0;

#[cfg(test)]
mod tests;
