use std::ops::Range;

use super::Real;
use super::real::Weight;

/// A weight matrix `[rows, columns]`, row-major.
///
/// Values that bfloat16 can express without rounding are stored so, and widened while they are used:
/// a token then costs half the memory traffic, and the answers are the same, bit for bit.
pub(crate) struct Matrix<T> {
    rows: usize,
    columns: usize,
    values: Values<T>,
}

enum Values<T> {
    Full(Vec<T>),
    /// The bits of a bfloat16: the upper half of an f32.
    Half(Vec<u16>),
}

/// Rows of a matrix as they are stored.
#[derive(Clone, Copy)]
pub(super) enum Stored<'a, T> {
    Full(&'a [T]),
    Half(&'a [u16]),
}

impl<T: Real> Matrix<T> {
    /// None if the sizes do not match.
    pub(crate) fn new(rows: usize, columns: usize, values: Vec<T>) -> Option<Self> {
        let sound = columns > 0 && rows.checked_mul(columns) == Some(values.len());
        let values = match T::narrow(&values) {
            Some(half) => Values::Half(half),
            None => Values::Full(values),
        };
        sound.then_some(Self {
            rows,
            columns,
            values,
        })
    }

    #[cfg(test)]
    pub(super) fn in_full(rows: usize, columns: usize, values: Vec<T>) -> Self {
        Self {
            rows,
            columns,
            values: Values::Full(values),
        }
    }

    pub(crate) fn rows(&self) -> usize {
        self.rows
    }

    pub(crate) fn columns(&self) -> usize {
        self.columns
    }

    /// Appends one row to `out`.
    pub(crate) fn append_row(&self, row: usize, out: &mut Vec<T>) {
        let start = out.len();
        out.resize(start + self.columns, T::zero());
        match self.block(row..row + 1) {
            Stored::Full(values) => out[start..].copy_from_slice(values),
            Stored::Half(values) => widen(values, &mut out[start..]),
        }
    }

    pub(super) fn block(&self, rows: Range<usize>) -> Stored<'_, T> {
        let range = rows.start * self.columns..rows.end * self.columns;
        match &self.values {
            Values::Full(values) => Stored::Full(&values[range]),
            Values::Half(values) => Stored::Half(&values[range]),
        }
    }
}

/// The values of `stored`, at the start of `out`.
#[inline(always)]
pub(super) fn widen<T: Real, W: Weight<T>>(stored: &[W], out: &mut [T]) {
    for (out, stored) in out.iter_mut().zip(stored) {
        *out = stored.value();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_bfloat16_expresses_exactly_is_stored_as_such() {
        let exact = [
            1.0,
            -0.0,
            0.40625,
            f32::from_bits(0x7f7f_0000),
            -2.5,
            f32::INFINITY,
        ];
        for inexact in [None, Some(1.0 + 2f32.powi(-9))] {
            let values: Vec<f32> = exact.into_iter().chain(inexact).collect();
            let matrix = Matrix::new(1, values.len(), values.clone()).unwrap();
            assert_eq!(matches!(matrix.values, Values::Half(_)), inexact.is_none());
            let mut row = Vec::new();
            matrix.append_row(0, &mut row);
            let bits = |values: &[f32]| values.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
            assert_eq!(bits(&row), bits(&values));
        }
        let wide = Matrix::new(1, 2, vec![-1.5_f64, 2f64.powi(-200)]).unwrap();
        assert!(matches!(wide.values, Values::Full(_)));
        let narrow = Matrix::new(1, 2, vec![-1.5_f64, 2f64.powi(-100)]).unwrap();
        assert!(matches!(narrow.values, Values::Half(_)));
    }
}
