use crate::Error;
use crate::evidence::{Attacker, Guesses};
use crate::matrix::Matrix;
use crate::nearest;
use crate::weights::{Weights, responses};

/// E' W'^T = P E W^T Q for the gates W of one MLP, with the permutations P of tokens and Q of neurons: what acts on the hidden
/// axis cancels inside the product. Sorted, each row of it is a fingerprint of its token; several layers vote.
///
/// Source: AloePri, arXiv 2603.01499, Table 8, where products of weights are matched so.
pub(super) fn study(public: &Weights) -> Result<Attacker<'_>, Error> {
    let embedding = public.embedding()?;
    let mut known = Vec::new();
    for layer in public.some_layers(LAYERS) {
        if let Some(gates) = public.gates(layer)? {
            known.push((layer, fingerprints(embedding, &gates)));
        }
    }
    Ok(Box::new(move |seen| {
        let rows = seen.weights.embedding()?.gather(seen.asked);
        let mut votes = Vec::new();
        for (layer, known) in &known {
            if let Some(gates) = seen.weights.gates(*layer)? {
                votes.push(nearest::calibrated(&fingerprints(&rows, &gates), known));
            }
        }
        Ok(most_votes(&votes, seen.asked.len()))
    }))
}

/// Order statistics of each row of E W^T.
fn fingerprints(embedding: &Matrix, gates: &Matrix) -> Matrix {
    let columns = STATISTICS.min(gates.rows());
    let all: Vec<u32> = (0..embedding.rows() as u32).collect();
    let blocks = all.chunks(BLOCK).map(|block| {
        let products = responses(&embedding.gather(block), gates);
        Matrix::from_rows(block.len(), columns, |row, out| {
            let mut values = products.row(row).to_vec();
            values.sort_unstable_by(f32::total_cmp);
            super::resample(&values, out);
        })
    });
    Matrix::stacked(blocks.collect()).unwrap_or_else(|| Matrix::new(columns, Vec::new()))
}

fn most_votes(votes: &[Guesses], asked: usize) -> Guesses {
    let winner = |place: usize| {
        let count = |guess: u32| votes.iter().filter(|vote| vote[place] == guess).count();
        let guesses = votes.iter().rev().map(|vote| vote[place]);
        guesses.max_by_key(|guess| count(*guess))
    };
    (0..asked)
        .map(|place| winner(place).unwrap_or(crate::evidence::NO_GUESS))
        .collect()
}

const LAYERS: usize = 3;
const STATISTICS: usize = 128;
/// Tokens whose products are held at once.
const BLOCK: usize = 4096;
