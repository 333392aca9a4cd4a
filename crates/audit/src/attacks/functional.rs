use std::collections::HashSet;

use equicrypt_engine::{Chunk, Decoder, Encoder, Part, Precision, Text, Want};

use crate::Error;
use crate::evidence::Attacker;
use crate::matrix::{Matrix, dot};
use crate::nearest;
use crate::weights::Weights;

/// The sorted next-token log-probabilities of the prompts x, (x, x) and (x, x, x) are the same for the cipher id of x as for x itself, whatever
/// the rewrite, because it keeps the function and only renames the answers. Both models are run on such prompts; each cipher id
/// is taken for the plain id with the nearest fingerprint: as it is, or with each side's numbers brought to mean 0 and variance 1,
/// a monotone calibration against noise. An encoder's fingerprint are the inner
/// products of its last hidden states for x, (x, x), ..., which an isometry keeps. Homophones have equal rows, of which one is
/// enough.
///
/// It holds against any rewrite that keeps the function of a public model.
pub(super) fn study<'a>(public: &'a Weights, choices: &'a [u32]) -> Result<Attacker<'a>, Error> {
    let types = public.config().vocab_size;
    let known = fingerprints(public, choices, types)?;
    Ok(Box::new(move |seen| {
        let prints = fingerprints(seen.weights, seen.asked, types)?;
        let named = nearest::calibrated(&prints, &known);
        Ok(named
            .into_iter()
            .map(|place| choices[place as usize])
            .collect())
    }))
}

/// `types`: how many tokens the public model knows.
fn fingerprints(weights: &Weights, ids: &[u32], types: usize) -> Result<Matrix, Error> {
    let rows: Vec<u32> = match weights.shuffled() {
        Some(shuffled) => ids.iter().map(|id| shuffled[*id as usize]).collect(),
        None => ids.to_vec(),
    };
    match weights.config().task.is_of_encoder() {
        true => of_encoder(weights, &rows),
        false => of_decoder(weights, &rows, types),
    }
}

fn of_decoder(weights: &Weights, ids: &[u32], types: usize) -> Result<Matrix, Error> {
    let model = Decoder::load(weights.checkpoint(), Precision::F32)?;
    let one_of_each = one_of_each(weights, types)?;
    let largest = LARGEST.min(types);
    let columns = 3 * largest;
    let mut blocks = Vec::new();
    for ids in ids.chunks(TOGETHER) {
        let prompts: Vec<[u32; 3]> = ids.iter().map(|id| [*id; 3]).collect();
        let mut caches: Vec<_> = prompts.iter().map(|_| model.new_cache()).collect();
        let mut chunks: Vec<Chunk<'_>> = (prompts.iter().zip(&mut caches))
            .map(|(tokens, cache)| Chunk {
                tokens,
                cache,
                want: Want::All,
            })
            .collect();
        let logits = model.forward(&mut chunks)?;
        blocks.push(Matrix::from_rows(ids.len(), columns, |row, out| {
            for (place, out) in out.chunks_exact_mut(largest).enumerate() {
                let logits = logits[row].row(place);
                let one = one_of_each.as_ref();
                let one = one.map(|ids| ids.iter().map(|id| logits[*id]).collect::<Vec<_>>());
                let found = largest_log_probabilities(one.as_deref().unwrap_or(logits), largest);
                out.fill(f32::MIN);
                out[..found.len()].copy_from_slice(&found);
            }
        }));
    }
    Ok(Matrix::stacked(blocks).unwrap_or_else(|| Matrix::new(columns, Vec::new())))
}

/// The first of each group of equal rows, in a model with more ids than the public one.
fn one_of_each(weights: &Weights, types: usize) -> Result<Option<Vec<usize>>, Error> {
    if weights.config().vocab_size <= types {
        return Ok(None);
    }
    let mut rows = HashSet::new();
    let bits = |row: &[f32]| row.iter().map(|value| value.to_bits()).collect::<Vec<_>>();
    let embedding = weights.embedding()?;
    let new = (0..embedding.rows()).filter(|id| rows.insert(bits(embedding.row(*id))));
    Ok(Some(new.collect()))
}

/// The `count` largest log-probabilities, largest first.
fn largest_log_probabilities(logits: &[f32], count: usize) -> Vec<f32> {
    let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let sum: f64 = logits.iter().map(|l| f64::from(l - largest).exp()).sum();
    let mut sorted = logits.to_vec();
    if count < sorted.len() {
        sorted.select_nth_unstable_by(count - 1, |a, b| b.total_cmp(a));
    }
    sorted.truncate(count);
    sorted.sort_unstable_by(|a, b| b.total_cmp(a));
    let log_sum = sum.ln() as f32;
    sorted
        .into_iter()
        .map(|logit| logit - largest - log_sum)
        .collect()
}

fn of_encoder(weights: &Weights, ids: &[u32]) -> Result<Matrix, Error> {
    let model = Encoder::load(weights.checkpoint(), Precision::F32)?;
    let columns = LENGTHS * (LENGTHS + 1) / 2;
    let mut blocks = Vec::new();
    for ids in ids.chunks(TOGETHER) {
        let prompts: Vec<Vec<u32>> = ids
            .iter()
            .flat_map(|id| (1..=LENGTHS).map(|length| vec![*id; length]))
            .collect();
        let texts: Vec<Text<'_>> = (prompts.iter())
            .map(|tokens| Text {
                tokens,
                token_types: &[],
            })
            .collect();
        let answers = model.forward(&texts, Part::TokenVectors)?;
        let last: Vec<Vec<f32>> = (answers.iter())
            .map(|answer| {
                answer
                    .to_f32()
                    .split_off((answer.rows() - 1) * answer.width())
            })
            .collect();
        blocks.push(Matrix::from_rows(ids.len(), columns, |row, out| {
            let vectors = &last[row * LENGTHS..(row + 1) * LENGTHS];
            let pairs = (0..LENGTHS).flat_map(|i| (0..=i).map(move |j| (i, j)));
            for (out, (i, j)) in out.iter_mut().zip(pairs) {
                *out = dot(&vectors[i], &vectors[j]) as f32;
            }
        }));
    }
    Ok(Matrix::stacked(blocks).unwrap_or_else(|| Matrix::new(columns, Vec::new())))
}

/// Log-probabilities of a fingerprint.
const LARGEST: usize = 256;
/// Prompts of an encoder's fingerprint.
const LENGTHS: usize = 6;
/// Prompts in one pass.
const TOGETHER: usize = 64;
