use half::bf16;

use super::Real;
use super::real::Weight;

/// Numbers of a tensor, row-major, as they are kept.
///
/// Values that bfloat16 can express without rounding are kept so, and widened while they are used: a token then costs half
/// the memory traffic, and the answers are the same, bit for bit.
pub(crate) enum Numbers<T> {
    /// In the decoder's precision.
    Full(Vec<T>),
    /// The bits of a bfloat16: the upper half of an f32.
    Half(Vec<u16>),
}

impl<T: Real> Numbers<T> {
    /// In half the room if that loses nothing.
    pub(crate) fn new(values: Vec<T>) -> Self {
        match T::narrow(&values) {
            Some(half) => Self::Half(half),
            None => Self::Full(values),
        }
    }

    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Full(values) => values.len(),
            Self::Half(values) => values.len(),
        }
    }

    pub(crate) fn into_full(self) -> Vec<T> {
        match self {
            Self::Full(values) => values,
            Self::Half(stored) => {
                let mut values = vec![T::zero(); stored.len()];
                widen(&stored, &mut values);
                values
            }
        }
    }

    /// The bits of the nearest bfloat16, ties to even.
    pub(crate) fn into_half(self) -> Vec<u16> {
        match self {
            Self::Full(values) => {
                let round = |value: &T| bf16::from_f32(value.to_single()).to_bits();
                values.iter().map(round).collect()
            }
            Self::Half(stored) => stored,
        }
    }

    /// A matrix `[columns, rows]` as `[rows, columns]`.
    pub(crate) fn transposed(self, columns: usize) -> Self {
        match self {
            Self::Full(values) => Self::Full(transposed(&values, columns)),
            Self::Half(values) => Self::Half(transposed(&values, columns)),
        }
    }

    /// The rows of a matrix with `columns` columns in another order; as they stand if none is given.
    pub(crate) fn sorted(self, order: &[usize], columns: usize) -> Self {
        if order.is_sorted() {
            return self;
        }
        match self {
            Self::Full(values) => Self::Full(sorted(&values, order, columns)),
            Self::Half(values) => Self::Half(sorted(&values, order, columns)),
        }
    }

    /// These and then the others; in full if one of the two is.
    pub(crate) fn join(self, others: Self) -> Self {
        match (self, others) {
            (Self::Half(mut these), Self::Half(others)) => {
                these.extend(others);
                Self::Half(these)
            }
            (these, others) => {
                let mut these = these.into_full();
                these.extend(others.into_full());
                Self::Full(these)
            }
        }
    }
}

fn transposed<V: Copy>(values: &[V], columns: usize) -> Vec<V> {
    let rows = values.len().checked_div(columns).unwrap_or(0);
    (0..rows)
        .flat_map(|row| values.iter().skip(row).step_by(rows).copied())
        .collect()
}

fn sorted<V: Copy>(values: &[V], order: &[usize], columns: usize) -> Vec<V> {
    order
        .iter()
        .flat_map(|row| values.iter().skip(row * columns).take(columns).copied())
        .collect()
}

fn widen<T: Real, W: Weight<T>>(stored: &[W], out: &mut [T]) {
    for (out, stored) in out.iter_mut().zip(stored) {
        *out = stored.value();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_bfloat16_expresses_exactly_is_kept_as_such() {
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
            let numbers = Numbers::new(values.clone());
            assert_eq!(matches!(numbers, Numbers::Half(_)), inexact.is_none());
            let bits = |values: &[f32]| values.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
            assert_eq!(bits(&numbers.into_full()), bits(&values));
        }
        let wide = Numbers::new(vec![-1.5_f64, 2f64.powi(-200)]);
        assert!(matches!(wide, Numbers::Full(_)));
        let narrow = Numbers::new(vec![-1.5_f64, 2f64.powi(-100)]);
        assert!(matches!(narrow, Numbers::Half(_)));
        let joined = narrow.join(wide);
        assert_eq!(joined.len(), 4);
        assert_eq!(
            joined.into_full(),
            [-1.5, 2f64.powi(-100), -1.5, 2f64.powi(-200)]
        );
    }
}
