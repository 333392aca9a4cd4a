use super::Real;

/// A weight matrix `[rows, columns]`, row-major.
pub(crate) struct Matrix<T> {
    rows: usize,
    columns: usize,
    values: Vec<T>,
}

impl<T: Real> Matrix<T> {
    /// None if the sizes do not match.
    pub(crate) fn new(rows: usize, columns: usize, values: Vec<T>) -> Option<Self> {
        let sound = columns > 0 && rows.checked_mul(columns) == Some(values.len());
        sound.then_some(Self {
            rows,
            columns,
            values,
        })
    }

    pub(crate) fn rows(&self) -> usize {
        self.rows
    }

    pub(crate) fn columns(&self) -> usize {
        self.columns
    }

    pub(crate) fn row(&self, row: usize) -> &[T] {
        &self.values[row * self.columns..][..self.columns]
    }

    pub(crate) fn block(&self, rows: std::ops::Range<usize>) -> &[T] {
        &self.values[rows.start * self.columns..rows.end * self.columns]
    }
}
