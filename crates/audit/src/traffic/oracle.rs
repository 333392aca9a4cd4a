//! Reading on until a language model likes what it reads.

use std::collections::{HashMap, HashSet};

use super::cooccurrence::{Reading, read};
use super::language::Language;
use super::{Log, Prior};
use crate::Error;
use crate::evidence::{Guesses, NO_GUESS};

/// `cooccurrence` leaves a few likely plain ids for each cipher id; a language model has the last word. In turns: the model
/// reads some decrypted messages; each of their ids is asked whether another of its choices would have been likelier where it
/// stands,
///
/// `gain(c, v) = sum_places (ln p(v | before) - ln p(guess | before)) + ln P(v) - ln P(guess)`,
///
/// with P of the neighbours; v's owner takes the guess of c in exchange, so each step is a transposition; those that promise most
/// are made together, and kept if the messages have become likelier.
///
/// Source: the objective is Nesa's (Zhang, Baseline Attacks against Equivariant Encryption: hill-climbing over transpositions
/// by the model's likelihood); to begin with statistics, and to let the model propose, is ours.
pub(super) fn attack(prior: &Prior<'_>, log: &Log<'_>) -> Result<Guesses, Error> {
    let reading = read(prior, log);
    let Some(model) = prior.language else {
        return Ok(reading.guesses);
    };
    let sample = Sample::of(log);
    let mut guesses = reading.guesses.clone();
    let mut best = sample.judge(model, &guesses, &reading)?;
    let mut together = TOGETHER;
    for _ in 0..PASSES {
        let steps = proposals(&best.gains, &guesses, together);
        if steps.is_empty() {
            break;
        }
        let mut tried = guesses.clone();
        for (cipher, plain) in &steps {
            exchange(&mut tried, *cipher, *plain, prior.homophones, log);
        }
        let judged = sample.judge(model, &tried, &reading)?;
        if judged.likelihood > best.likelihood {
            (guesses, best) = (tried, judged);
        } else if steps.len() == 1 {
            // This one is no good.
            best.gains.remove(&steps[0].0);
        } else {
            together = (steps.len() / 4).max(1);
        }
    }
    Ok(guesses)
}

/// Nesa's first baseline: secret vocabularies drawn blindly, the likeliest kept.
pub(super) fn random_search(prior: &Prior<'_>, log: &Log<'_>) -> Result<Guesses, Error> {
    let (mut state, nothing) = (SEED, Reading::nothing(log));
    let mut guesses = random(prior, log, &mut state);
    let Some(model) = prior.language else {
        return Ok(guesses);
    };
    let sample = Sample::of(log);
    let mut likelihood = sample.judge(model, &guesses, &nothing)?.likelihood;
    for _ in 0..PASSES {
        let tried = random(prior, log, &mut state);
        let judged = sample.judge(model, &tried, &nothing)?.likelihood;
        if judged > likelihood {
            (guesses, likelihood) = (tried, judged);
        }
    }
    Ok(guesses)
}

/// The second: from a blind one, transpositions drawn blindly, kept where the messages become likelier.
pub(super) fn hill_climb(prior: &Prior<'_>, log: &Log<'_>) -> Result<Guesses, Error> {
    let (mut state, nothing) = (SEED, Reading::nothing(log));
    let mut guesses = random(prior, log, &mut state);
    let Some(model) = prior.language else {
        return Ok(guesses);
    };
    let sample = Sample::of(log);
    let seen: Vec<u32> = sample.ids.iter().copied().collect();
    let mut likelihood = sample.judge(model, &guesses, &nothing)?.likelihood;
    for _ in 0..PASSES {
        let mut tried = guesses.clone();
        for _ in 0..=seen.len() / 100 {
            let one = seen[below(&mut state, seen.len())];
            let other = below(&mut state, tried.len());
            tried.swap(one as usize, other);
        }
        let judged = sample.judge(model, &tried, &nothing)?.likelihood;
        if judged > likelihood {
            (guesses, likelihood) = (tried, judged);
        }
    }
    Ok(guesses)
}

/// Messages that the model reads.
struct Sample {
    messages: Vec<Vec<u32>>,
    ids: std::collections::BTreeSet<u32>,
}

/// What the model says of a reading.
struct Judged {
    /// The sum of ln p over the sample's tokens.
    likelihood: f64,
    /// For each id of the sample, its other choices and what they promise.
    gains: HashMap<u32, Vec<(u32, f64)>>,
}

impl Sample {
    fn of(log: &Log<'_>) -> Self {
        let mut left = SAMPLE;
        let mut messages = Vec::new();
        for message in log.traffic.messages() {
            let take = message.len().min(left).min(LONGEST);
            if take > 1 {
                messages.push(message[..take].to_vec());
            }
            left -= take;
            if left == 0 {
                break;
            }
        }
        let ids = messages.iter().flatten().copied().collect();
        Self { messages, ids }
    }

    fn judge(
        &self,
        model: &dyn Language,
        guesses: &Guesses,
        reading: &Reading,
    ) -> Result<Judged, Error> {
        let plain = |cipher: &u32| match guesses[*cipher as usize] {
            NO_GUESS => 0,
            plain => plain,
        };
        let texts: Vec<Vec<u32>> = (self.messages.iter())
            .map(|message| message.iter().map(plain).collect())
            .collect();
        let mut likelihood = 0.0;
        let mut gains: HashMap<u32, Vec<(u32, f64)>> = HashMap::new();
        for cipher in &self.ids {
            let guess = guesses[*cipher as usize];
            let choices = &reading.choices[*cipher as usize];
            let likely = |plain: u32| {
                let found = choices.iter().find(|(choice, _)| *choice == plain);
                f64::from(found.map_or(LEAST, |(_, p)| p.max(LEAST))).ln()
            };
            let others = choices.iter().filter(|(plain, _)| *plain != guess);
            let others = others.map(|(plain, _)| (*plain, likely(*plain) - likely(guess)));
            gains.insert(*cipher, others.collect());
        }
        model.read(&texts, &mut |text, place, logits| {
            let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            let sum: f64 = logits.iter().map(|l| f64::from((l - largest).exp())).sum();
            let of = |id: u32| {
                logits
                    .get(id as usize)
                    .map_or(f64::NEG_INFINITY, |l| f64::from(*l))
            };
            let here = of(texts[text][place]);
            likelihood += here - f64::from(largest) - sum.ln();
            let cipher = self.messages[text][place];
            for (choice, gain) in gains.get_mut(&cipher).into_iter().flatten() {
                *gain += of(*choice) - here;
            }
        })?;
        Ok(Judged { likelihood, gains })
    }
}

/// The exchanges that promise most, none of which touches another.
fn proposals(
    gains: &HashMap<u32, Vec<(u32, f64)>>,
    guesses: &Guesses,
    most: usize,
) -> Vec<(u32, u32)> {
    let all = gains.iter().flat_map(|(cipher, choices)| {
        choices
            .iter()
            .map(move |(plain, gain)| (*gain, *cipher, *plain))
    });
    let mut all: Vec<(f64, u32, u32)> = all.filter(|(gain, ..)| *gain > 0.0).collect();
    all.sort_by(|a, b| b.0.total_cmp(&a.0).then((a.1, a.2).cmp(&(b.1, b.2))));
    let mut touched = HashSet::new();
    let mut steps = Vec::new();
    for (_, cipher, plain) in all {
        let old = guesses[cipher as usize];
        if steps.len() < most && !touched.contains(&plain) && !touched.contains(&old) {
            touched.extend([plain, old]);
            steps.push((cipher, plain));
        }
    }
    steps
}

/// Gives `cipher` to `plain`; if all homophones of that are taken, the first that has one takes the old guess instead.
fn exchange(guesses: &mut Guesses, cipher: u32, plain: u32, homophones: &[u32], log: &Log<'_>) {
    let is_known = |id: usize| log.known.iter().any(|pair| pair.cipher as usize == id);
    if is_known(cipher as usize) {
        return;
    }
    let owners = (0..guesses.len()).filter(|id| guesses[*id] == plain && !is_known(*id));
    let owners: Vec<usize> = owners.collect();
    let old = std::mem::replace(&mut guesses[cipher as usize], plain);
    if owners.len() >= homophones[plain as usize] as usize
        && let Some(owner) = owners.first()
    {
        guesses[*owner] = old;
    }
}

/// A secret vocabulary as good as any other.
fn random(prior: &Prior<'_>, log: &Log<'_>, state: &mut u64) -> Guesses {
    let slots = (0u32..).zip(prior.homophones);
    let mut slots: Vec<u32> = slots
        .flat_map(|(id, count)| std::iter::repeat_n(id, *count as usize))
        .collect();
    slots.resize(log.cipher_ids, 0);
    for place in (1..slots.len()).rev() {
        slots.swap(place, below(state, place + 1));
    }
    slots
}

/// A number below `end` (xorshift64*).
fn below(state: &mut u64, end: usize) -> usize {
    *state ^= *state >> 12;
    *state ^= *state << 25;
    *state ^= *state >> 27;
    let random = state.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 32;
    ((random as u128 * end as u128) >> 32) as usize
}

const SEED: u64 = 0x9E37_79B9_7F4A_7C15;
/// Tokens that the model reads each time.
const SAMPLE: usize = 1_024;
/// The most of one message.
const LONGEST: usize = 256;
/// How often the model reads them.
const PASSES: usize = 24;
/// Exchanges tried at once.
const TOGETHER: usize = 64;
/// Probability of what neighbours did not bring up.
const LEAST: f32 = 1e-4;
