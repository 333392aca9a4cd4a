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
/// products of its last hidden states for x, (x, x), ..., which an isometry keeps.
///
/// It holds against any rewrite that keeps the function of a public model.
pub(super) fn study<'a>(public: &'a Weights, choices: &'a [u32]) -> Result<Attacker<'a>, Error> {
    let known = fingerprints(public, choices)?;
    Ok(Box::new(move |seen| {
        let prints = fingerprints(seen.weights, seen.asked)?;
        let named = nearest::calibrated(&prints, &known);
        Ok(named
            .into_iter()
            .map(|place| choices[place as usize])
            .collect())
    }))
}

fn fingerprints(weights: &Weights, ids: &[u32]) -> Result<Matrix, Error> {
    let rows: Vec<u32> = match weights.shuffled() {
        Some(shuffled) => ids.iter().map(|id| shuffled[*id as usize]).collect(),
        None => ids.to_vec(),
    };
    match weights.config().task.is_of_encoder() {
        true => of_encoder(weights, &rows),
        false => of_decoder(weights, &rows),
    }
}

fn of_decoder(weights: &Weights, ids: &[u32]) -> Result<Matrix, Error> {
    let model = Decoder::load(weights.checkpoint(), Precision::F32)?;
    let largest = LARGEST.min(weights.config().vocab_size);
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
                out.copy_from_slice(&largest_log_probabilities(logits[row].row(place), largest));
            }
        }));
    }
    Ok(Matrix::stacked(blocks).unwrap_or_else(|| Matrix::new(columns, Vec::new())))
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
