//! Which ids stand behind which.

use rayon::prelude::*;

use super::corpus::Corpus;
use crate::matrix::Matrix;

/// Weighted counts of pairs of ids: a row the first of a pair, a column the second. The end of a message is an id of its own,
/// the last one.
pub(super) struct Bigrams {
    starts: Vec<usize>,
    columns: Vec<u32>,
    values: Vec<f32>,
}

impl Bigrams {
    /// Of `text` in `size` ids: neighbours count by the first of `weights`, next but one by the second, and so on.
    pub(super) fn count(text: &Corpus, size: usize, weights: &[f32]) -> Self {
        let end = size as u32;
        let mut stream = vec![end];
        for message in text.messages() {
            stream.extend(message.iter().map(|id| (*id).min(end)));
            stream.push(end);
        }
        let pairs = weights.iter().enumerate().flat_map(|(distance, weight)| {
            let behind = stream.iter().skip(distance + 1);
            let pairs = stream.iter().zip(behind);
            pairs.map(|(a, b)| (u64::from(*a) << 32 | u64::from(*b), *weight))
        });
        let mut pairs: Vec<(u64, f32)> = pairs.collect();
        pairs.par_sort_unstable_by_key(|(pair, _)| *pair);
        Self::of_sorted(size + 1, &pairs)
    }

    fn of_sorted(rows: usize, pairs: &[(u64, f32)]) -> Self {
        let mut matrix = Self {
            starts: vec![0; rows + 1],
            columns: Vec::new(),
            values: Vec::new(),
        };
        let mut last = None;
        for (pair, weight) in pairs {
            match matrix.values.last_mut() {
                Some(value) if last == Some(*pair) => *value += weight,
                _ => {
                    matrix.columns.push(*pair as u32);
                    matrix.values.push(*weight);
                    matrix.starts[(pair >> 32) as usize + 1] += 1;
                }
            }
            last = Some(*pair);
        }
        let mut all = 0;
        for start in &mut matrix.starts {
            all += *start;
            *start = all;
        }
        matrix
    }

    /// Ids, the end of a message included.
    pub(super) fn size(&self) -> usize {
        self.starts.len() - 1
    }

    /// How often `second` stands behind `first`.
    pub(super) fn of(&self, first: u32, second: u32) -> f32 {
        let (columns, values) = self.row(first as usize);
        let place = columns.binary_search(&second);
        place.map_or(0.0, |place| values[place])
    }

    /// Sums of rows and of columns.
    pub(super) fn sums(&self) -> [Vec<f64>; 2] {
        let mut sums = [vec![0.0; self.size()], vec![0.0; self.size()]];
        for row in 0..self.size() {
            let (columns, values) = self.row(row);
            for (column, value) in columns.iter().zip(values) {
                sums[0][row] += f64::from(*value);
                sums[1][*column as usize] += f64::from(*value);
            }
        }
        sums
    }

    /// Each value times a factor of its row and one of its column.
    pub(super) fn scaled(mut self, rows: &[f64], columns: &[f64]) -> Self {
        for (row, factor) in rows.iter().enumerate() {
            for place in self.starts[row]..self.starts[row + 1] {
                let other = columns[self.columns[place] as usize];
                self.values[place] = (f64::from(self.values[place]) * factor * other) as f32;
            }
        }
        self
    }

    pub(super) fn transposed(&self) -> Self {
        let rows = (0..self.size()).flat_map(|row| {
            let (columns, values) = self.row(row);
            let cells = columns.iter().zip(values);
            cells.map(move |(column, value)| (u64::from(*column) << 32 | row as u64, *value))
        });
        let mut pairs: Vec<(u64, f32)> = rows.collect();
        pairs.par_sort_unstable_by_key(|(pair, _)| *pair);
        Self::of_sorted(self.size(), &pairs)
    }

    /// This matrix times `x`.
    pub(super) fn times(&self, x: &Matrix) -> Matrix {
        Matrix::from_rows(self.size(), x.columns(), |row, out| {
            let (columns, values) = self.row(row);
            for (column, value) in columns.iter().zip(values) {
                let of_column = x.row(*column as usize);
                out.iter_mut()
                    .zip(of_column)
                    .for_each(|(out, x)| *out += value * x);
            }
        })
    }

    fn row(&self, row: usize) -> (&[u32], &[f32]) {
        let place = self.starts[row]..self.starts[row + 1];
        (&self.columns[place.clone()], &self.values[place])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_are_counted_across_the_ends_of_messages() {
        let text = Corpus::of([&[0, 1, 0, 1][..], &[1]]);
        let bigrams = Bigrams::count(&text, 2, &[1.0, 0.5]);
        assert_eq!(bigrams.size(), 3);
        let row = |first| [0, 1, 2].map(|second| bigrams.of(first, second));
        // The stream is 2 0 1 0 1 2 1 2.
        assert_eq!(row(0), [0.5, 2.0, 0.5]);
        assert_eq!(row(1), [1.0, 1.0, 2.0]);
        assert_eq!(row(2), [1.0, 1.5, 0.5]);
        let [rows, columns] = bigrams.sums();
        assert_eq!((rows, columns), (vec![3.0, 4.0, 3.0], vec![2.5, 4.5, 3.0]));
        let transposed = bigrams.transposed();
        for (i, j) in (0..3).flat_map(|i| (0..3).map(move |j| (i, j))) {
            assert_eq!(bigrams.of(i, j), transposed.of(j, i));
        }
        let x = Matrix::new(1, vec![1.0, 10.0, 100.0]);
        let product = bigrams.times(&x);
        assert_eq!(product.row(0), [70.5]);
        assert_eq!(
            bigrams.scaled(&[1.0, 2.0, 1.0], &[1.0, 1.0, 3.0]).of(1, 2),
            12.0
        );
    }
}
