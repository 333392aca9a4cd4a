//! Columns of stored rows in another order, whatever the numbers are.

use pulp::{Arch, Simd, WithSimd};

/// Room for [`move_columns`].
#[derive(Default)]
pub(super) struct Packed {
    columns: Vec<u64>,
    moved: Vec<u64>,
}

/// y_i = x_{source_i} for each row of values of `size` bytes.
pub(super) fn move_columns(
    size: usize,
    from: &[u8],
    source: &[u32],
    to: &mut [u8],
    packed: &mut Packed,
) {
    match size {
        2 => move_halves(from, source, to, packed),
        4 => move_values::<4>(from, source, to),
        _ => move_values::<8>(from, source, to),
    }
}

/// Four rows at a time, whose columns are packed into one word each: to look up a value takes longer than to pack it.
fn move_halves(from: &[u8], source: &[u32], to: &mut [u8], packed: &mut Packed) {
    let row_bytes = 2 * source.len();
    packed.columns.resize(source.len(), 0);
    packed.moved.resize(source.len(), 0);
    let mut many_from = from.chunks_exact(4 * row_bytes);
    let mut many_to = to.chunks_exact_mut(4 * row_bytes);
    for (from, to) in many_from.by_ref().zip(many_to.by_ref()) {
        Arch::new().dispatch(FourRows {
            from,
            source,
            to,
            packed,
        });
    }
    move_values::<2>(many_from.remainder(), source, many_to.into_remainder());
}

struct FourRows<'a> {
    from: &'a [u8],
    source: &'a [u32],
    to: &'a mut [u8],
    packed: &'a mut Packed,
}

impl WithSimd for FourRows<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let Packed { columns, moved } = self.packed;
        let width = self.source.len();
        let (from, _) = self.from.as_chunks::<2>();
        let (to, _) = self.to.as_chunks_mut::<2>();
        let rows: [_; 4] = std::array::from_fn(|row| &from[row * width..][..width]);
        let word = |bytes| u64::from(u16::from_le_bytes(bytes));
        for (column, packed) in columns[..width].iter_mut().enumerate() {
            *packed = word(rows[0][column])
                | word(rows[1][column]) << 16
                | word(rows[2][column]) << 32
                | word(rows[3][column]) << 48;
        }
        for (moved, source) in moved.iter_mut().zip(self.source) {
            *moved = columns[*source as usize];
        }
        for (row, to) in to.chunks_exact_mut(width).enumerate() {
            for (to, moved) in to.iter_mut().zip(moved.iter()) {
                *to = ((*moved >> (16 * row)) as u16).to_le_bytes();
            }
        }
    }
}

fn move_values<const N: usize>(from: &[u8], source: &[u32], to: &mut [u8]) {
    let rows = from.as_chunks::<N>().0.chunks_exact(source.len());
    let to = to.as_chunks_mut::<N>().0.chunks_exact_mut(source.len());
    for (from, to) in rows.zip(to) {
        for (to, source) in to.iter_mut().zip(source) {
            *to = from[*source as usize];
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn every_value_comes_from_its_source(
            which in 0usize..3,
            rows in 0usize..11,
            source in prop::collection::vec(any::<prop::sample::Index>(), 1..70),
        ) {
            let size = [2, 4, 8][which];
            let source: Vec<u32> = source.iter().map(|i| i.index(source.len()) as u32).collect();
            let from: Vec<u8> = (0..rows * source.len() * size).map(|i| ((i * i) >> 3) as u8).collect();
            let mut to = vec![0; from.len()];
            move_columns(size, &from, &source, &mut to, &mut Packed::default());
            for (index, value) in to.chunks_exact(size).enumerate() {
                let (row, column) = (index / source.len(), index % source.len());
                let at = (row * source.len() + source[column] as usize) * size;
                prop_assert_eq!(value, &from[at..at + size]);
            }
        }
    }
}
