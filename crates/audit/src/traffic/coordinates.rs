//! Where ids stand in a language, whatever they are called.

use faer::Mat;
use rayon::prelude::*;

use super::bigrams::Bigrams;
use super::corpus::Corpus;
use crate::algebra::{eigen, gram, map};
use crate::matrix::Matrix;

/// Singular vectors of the shares B of pairs of ids, brought to `A = D_r^-1/2 B D_c^-1/2` with `D = share + m t`, and then to
/// `D^-1/2 U` and `D^-1/2 V`: a row an id, a column a singular value.
///
/// An id that is split into m homophones, each for 1 in m of its occurrences, gives m rows that are the row of the id, and the same
/// singular values, if the m of D is 1 for each homophone and m for the id: frequencies may be flattened, these coordinates
/// are not. The summand t keeps rare ids from having singular values of their own.
///
/// Source: correspondence analysis (Benzécri 1973); the regulariser after Chaudhuri, Chung, Tsiatas (2012).
pub(super) struct Coordinates {
    /// By what stands behind.
    pub(super) left: Matrix,
    /// By what stands before.
    pub(super) right: Matrix,
    /// Largest first; the first belongs to frequency alone, nearly.
    pub(super) singular: Vec<f32>,
    /// The share of each id.
    pub(super) share: Vec<f64>,
}

impl Coordinates {
    /// Of a text in which id i stands for `homophones[i]` ids; the end of messages comes last. None of a text without pairs.
    pub(super) fn of(text: &Corpus, homophones: &[u32]) -> Option<Self> {
        let bigrams = Bigrams::count(text, homophones.len(), WEIGHTS);
        let [rows, columns] = bigrams.sums();
        let all: f64 = rows.iter().sum();
        let widths = homophones.iter().map(|m| f64::from(*m)).chain([1.0]);
        let widths: Vec<f64> = widths.collect();
        let damped = |sums: &[f64]| -> Vec<f64> {
            let sums = sums.iter().zip(&widths);
            sums.map(|(sum, m)| (sum / all + m * SMALL).sqrt().recip())
                .collect()
        };
        let (of_rows, of_columns) = (damped(&rows), damped(&columns));
        let shares: Vec<f64> = of_rows.iter().map(|factor| factor / all).collect();
        let scaled = bigrams.scaled(&shares, &of_columns);
        let [mut left, mut right, singular] = singular(&scaled)?;
        scale_rows(&mut left, &of_rows);
        scale_rows(&mut right, &of_columns);
        Some(Self {
            left,
            right,
            singular: singular.row(0).to_vec(),
            share: rows.iter().map(|sum| sum / all).collect(),
        })
    }

    /// How many there are.
    pub(super) fn dimensions(&self) -> usize {
        self.singular.len()
    }
}

/// The largest [`DIMENSIONS`] singular values, with their vectors, by subspace iteration (Halko, Martinsson, Tropp 2011).
fn singular(a: &Bigrams) -> Option<[Matrix; 3]> {
    let transposed = a.transposed();
    let width = (DIMENSIONS + SPARE).min(a.size());
    let start = Matrix::from_rows(a.size(), width, |row, out| {
        let mut state = row as u64;
        out.iter_mut().for_each(|value| *value = noise(&mut state));
    });
    let mut basis = orthonormal(&a.times(&start))?;
    for _ in 0..ITERATIONS {
        let behind = orthonormal(&transposed.times(&basis))?;
        basis = orthonormal(&a.times(&behind))?;
    }
    let behind = transposed.times(&basis);
    let (squares, vectors) = eigen(&gram(&behind))?;
    let kept = squares
        .iter()
        .take(DIMENSIONS)
        .take_while(|square| **square > 1e-9 * squares[0])
        .count();
    let values: Vec<f64> = squares[..kept].iter().map(|square| square.sqrt()).collect();
    let turned = Mat::from_fn(width, kept, |i, j| vectors[(i, j)]);
    let right = Mat::from_fn(width, kept, |i, j| vectors[(i, j)] / values[j]);
    let values = values.iter().map(|value| *value as f32).collect();
    (kept > 0).then(|| {
        [
            map(&basis, turned.as_ref()),
            map(&behind, right.as_ref()),
            Matrix::new(kept, values),
        ]
    })
}

/// Y (Y^T Y)^-1/2, without directions that are not there.
fn orthonormal(y: &Matrix) -> Option<Matrix> {
    let (squares, vectors) = eigen(&gram(y))?;
    let largest = squares.first().copied().filter(|square| *square > 0.0)?;
    let kept = squares
        .iter()
        .filter(|square| **square > 1e-10 * largest)
        .count();
    let x = Mat::from_fn(squares.len(), kept, |i, j| {
        vectors[(i, j)] / squares[j].sqrt()
    });
    Some(map(y, x.as_ref()))
}

/// Multiplies each row by its factor.
fn scale_rows(rows: &mut Matrix, factors: &[f64]) {
    let each = rows.each_row_mut().zip(factors);
    each.for_each(|(row, factor)| row.iter_mut().for_each(|value| *value *= *factor as f32));
}

/// Numbers that nobody chose, the same each time (SplitMix64, Steele, Lea, Flood 2014).
fn noise(state: &mut u64) -> f32 {
    *state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let mut mixed = *state;
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    ((mixed ^ (mixed >> 31)) >> 40) as f32 / (1u64 << 23) as f32 - 1.0
}

/// What neighbours count, and those next to them.
const WEIGHTS: &[f32] = &[1.0, 0.5];
/// The share that is added to each homophone's.
const SMALL: f64 = 1e-4;
const DIMENSIONS: usize = 25;
/// Directions that are iterated besides, for accuracy.
const SPARE: usize = 10;
const ITERATIONS: usize = 12;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn homophones_stand_where_their_id_stands() {
        // A language of 40 words; ids 40.. are second and third homophones of the first 20.
        let mut state = 7;
        let mut word = 0usize;
        let (mut plain, mut cipher) = (Corpus::default(), Corpus::default());
        for _ in 0..400 {
            let (mut message, mut sent) = (Vec::new(), Vec::new());
            for _ in 0..100 {
                let step = (noise(&mut state) + 1.0) * 3.0;
                word = (word * 7 + step as usize) % 40;
                let homophone = ((noise(&mut state) + 1.0) * 1.5) as u32;
                message.push(word as u32);
                sent.push(if word < 20 {
                    word as u32 + [0, 40, 60][homophone.min(2) as usize]
                } else {
                    word as u32
                });
            }
            plain.push(&message);
            cipher.push(&sent);
        }
        let widths: Vec<u32> = (0..40).map(|word| if word < 20 { 3 } else { 1 }).collect();
        let one = Coordinates::of(&plain, &widths).unwrap();
        let many = Coordinates::of(&cipher, &[1; 80]).unwrap();
        for place in 0..3 {
            let (a, b) = (one.singular[place], many.singular[place]);
            assert!((a - b).abs() < 0.03, "{a} {b}");
        }
        // The second coordinate, up to its sign.
        let of = |coordinates: &Coordinates, id: usize| coordinates.left.row(id)[1];
        let sign = (of(&one, 40) * of(&many, 80)).signum();
        let far: f32 = (0..20)
            .map(|word| (of(&one, word) - sign * of(&many, word + 60)).abs())
            .sum();
        let size: f32 = (0..20).map(|word| of(&one, word).abs()).sum();
        assert!(far < 0.4 * size, "{far} of {size}");
    }
}
