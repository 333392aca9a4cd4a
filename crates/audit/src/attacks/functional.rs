use equicrypt_engine::{Chunk, Decoder, Encoder, Part, Precision, Text, Want};

use crate::Error;
use crate::evidence::{Attacker, Guesses};
use crate::matrix::{Matrix, dot};
use crate::nearest::{self, Standard};
use crate::weights::Weights;

/// The sorted next-token log-probabilities of the prompt (x, x, x) are the same for the cipher id of x as for x itself, whatever
/// the rewrite, because it keeps the function and only renames the answers. Both models are run on such prompts; each cipher id
/// is taken for the plain id with the nearest fingerprint, after each side's numbers were brought to mean 0 and variance 1 if
/// they are not equal as they are: that is a monotone calibration against noise. An encoder's fingerprint are the inner
/// products of its last hidden states for x, (x, x), ..., which an isometry keeps.
///
/// It holds against any rewrite that keeps the function of a public model.
pub(super) fn study(public: &Weights) -> Result<Attacker<'_>, Error> {
    // The choices come with the first copy and are the same for all.
    let known: std::cell::RefCell<Option<(Vec<u32>, Matrix)>> = std::cell::RefCell::default();
    Ok(Box::new(move |seen| {
        let mut known = known.borrow_mut();
        let known = match &mut *known {
            Some(known) if known.0 == seen.choices => known,
            known => known.insert((seen.choices.to_vec(), fingerprints(public, seen.choices)?)),
        };
        let prints = fingerprints(seen.weights, seen.asked)?;
        let mut named = nearest::by_distance(prints.clone(), &known.1);
        if distance(&prints, &known.1, &named) > EXACT {
            let ours = Standard::of(&known.1).bring(known.1.clone());
            named = nearest::by_distance(Standard::of(&prints).bring(prints), &ours);
        }
        Ok(named
            .into_iter()
            .map(|place| seen.choices[place as usize])
            .collect())
    }))
}

/// The median over the rows of the root mean square difference from their matches.
fn distance(prints: &Matrix, known: &Matrix, named: &Guesses) -> f64 {
    let distance = |(row, place): (usize, &u32)| {
        let pairs = prints.row(row).iter().zip(known.row(*place as usize));
        let squares: f64 = pairs.map(|(a, b)| f64::from(a - b).powi(2)).sum();
        (squares / prints.columns() as f64).sqrt()
    };
    let mut all: Vec<f64> = named.iter().enumerate().map(distance).collect();
    all.sort_by(f64::total_cmp);
    all.get(all.len() / 2).copied().unwrap_or(0.0)
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
    let columns = LARGEST.min(weights.config().vocab_size);
    let mut blocks = Vec::new();
    for ids in ids.chunks(TOGETHER) {
        let prompts: Vec<[u32; 3]> = ids.iter().map(|id| [*id; 3]).collect();
        let mut caches: Vec<_> = prompts.iter().map(|_| model.new_cache()).collect();
        let mut chunks: Vec<Chunk<'_>> = (prompts.iter().zip(&mut caches))
            .map(|(tokens, cache)| Chunk {
                tokens,
                cache,
                want: Want::Last,
            })
            .collect();
        let logits = model.forward(&mut chunks)?;
        blocks.push(Matrix::from_rows(ids.len(), columns, |row, out| {
            out.copy_from_slice(&largest_log_probabilities(logits[row].row(0), columns));
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
/// Fingerprints as near as this need no calibration.
const EXACT: f64 = 1e-3;
