//! Matrices of vectors, one a row: what attacks compare.

use faer::MatRef;
use rayon::prelude::*;

/// Numbers in f32, row by row.
#[derive(Clone)]
pub(crate) struct Matrix {
    columns: usize,
    values: Vec<f32>,
}

impl Matrix {
    /// Of values in row-major order.
    pub(crate) fn new(columns: usize, values: Vec<f32>) -> Self {
        assert!(columns > 0 && values.len().is_multiple_of(columns));
        Self { columns, values }
    }

    /// Of as many rows as `row` is asked for, in parallel.
    pub(crate) fn from_rows(
        rows: usize,
        columns: usize,
        row: impl Fn(usize, &mut [f32]) + Sync,
    ) -> Self {
        let mut values = vec![0.0; rows * columns];
        let each = values.par_chunks_mut(columns).enumerate();
        each.for_each(|(number, out)| row(number, out));
        Self { columns, values }
    }

    pub(crate) fn rows(&self) -> usize {
        self.values.len() / self.columns
    }

    pub(crate) fn columns(&self) -> usize {
        self.columns
    }

    pub(crate) fn row(&self, row: usize) -> &[f32] {
        &self.values[row * self.columns..][..self.columns]
    }

    /// All values, row by row.
    pub(crate) fn values_mut(&mut self) -> &mut [f32] {
        &mut self.values
    }

    pub(crate) fn each_row(&self) -> impl IndexedParallelIterator<Item = &[f32]> {
        self.values.par_chunks(self.columns)
    }

    pub(crate) fn each_row_mut(&mut self) -> impl IndexedParallelIterator<Item = &mut [f32]> {
        self.values.par_chunks_mut(self.columns)
    }

    /// These rows, in this order.
    pub(crate) fn gather(&self, rows: &[u32]) -> Self {
        let mut values = Vec::with_capacity(rows.len() * self.columns);
        for row in rows {
            values.extend_from_slice(self.row(*row as usize));
        }
        Self::new(self.columns, values)
    }

    /// The rows of all of them, which have equally many columns, one below the other.
    pub(crate) fn stacked(all: Vec<Self>) -> Option<Self> {
        let mut all = all.into_iter();
        let mut first = all.next()?;
        for next in all {
            assert_eq!(first.columns, next.columns);
            first.values.extend_from_slice(&next.values);
        }
        Some(first)
    }

    /// The columns of all of them, which have equally many rows, one beside the other.
    pub(crate) fn beside(all: &[Self]) -> Self {
        let rows = all.first().map_or(0, Self::rows);
        let columns = all.iter().map(Self::columns).sum();
        Self::from_rows(rows, columns, |row, out| {
            let mut rest = out;
            for part in all {
                let (here, next) = rest.split_at_mut(part.columns);
                here.copy_from_slice(part.row(row));
                rest = next;
            }
        })
    }

    pub(crate) fn transposed(&self) -> Self {
        let rows = self.rows();
        Self::from_rows(self.columns, rows, |column, out| {
            for (row, out) in out.iter_mut().enumerate() {
                *out = self.values[row * self.columns + column];
            }
        })
    }

    /// Multiplies each column by its factor.
    pub(crate) fn scale_columns(&mut self, factors: &[f32]) {
        self.each_row_mut().for_each(|row| {
            for (value, factor) in row.iter_mut().zip(factors) {
                *value *= factor;
            }
        });
    }

    /// For the linear algebra.
    pub(crate) fn view(&self) -> MatRef<'_, f32> {
        MatRef::from_row_major_slice(&self.values, self.rows(), self.columns)
    }
}

/// |x|, summed in f64.
pub(crate) fn norm(x: &[f32]) -> f64 {
    dot(x, x).sqrt()
}

/// x . y, summed in f64.
pub(crate) fn dot(x: &[f32], y: &[f32]) -> f64 {
    let products = x.iter().zip(y).map(|(x, y)| f64::from(*x) * f64::from(*y));
    products.sum()
}
