use equicrypt_machine::TileUnit;
use pulp::Arch;

use super::panel_matrix::{BLOCK, PanelMatrix};
use super::tile_matrix::TileMatrix;
use super::{Numbers, Real};

/// How the weights of a linear layer are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Storage {
    /// As they are: as bfloat16 where that loses nothing.
    Exact,
    /// Rounded to bfloat16.
    Half,
    /// As eight bits each, times an f16 that [`BLOCK`] neighbours in a row share: GGML's Q8_0. Rows that are not whole blocks
    /// are kept exactly.
    Blocks,
}

/// A weight matrix `[rows, columns]`, laid out for the instructions of this machine.
pub(crate) enum Matrix<T> {
    /// For vector registers.
    Panels(PanelMatrix<T>),
    /// For a unit that multiplies tiles: bfloat16s, where numbers are f32.
    Tiles(TileMatrix),
}

impl<T: Real> Matrix<T> {
    /// None if the sizes do not match, or a number is too large for its storage.
    pub(crate) fn new(
        rows: usize,
        columns: usize,
        values: Numbers<T>,
        storage: Storage,
    ) -> Option<Self> {
        Self::new_for(TileUnit::get(), rows, columns, values, storage)
    }

    /// The same for a machine with or without a unit for tiles.
    pub(super) fn new_for(
        unit: Option<TileUnit>,
        rows: usize,
        columns: usize,
        values: Numbers<T>,
        storage: Storage,
    ) -> Option<Self> {
        let halves = match storage {
            Storage::Half => true,
            Storage::Exact => matches!(values, Numbers::Half(_)),
            Storage::Blocks => matches!(values, Numbers::Half(_)) && !columns.is_multiple_of(BLOCK),
        };
        match unit {
            Some(unit) if halves && T::singles(&[]).is_some() => {
                TileMatrix::of_halves(unit, rows, columns, &values.into_half()).map(Self::Tiles)
            }
            _ => PanelMatrix::new(Arch::new(), rows, columns, values, storage).map(Self::Panels),
        }
    }

    pub(crate) fn rows(&self) -> usize {
        match self {
            Self::Panels(matrix) => matrix.rows(),
            Self::Tiles(matrix) => matrix.rows(),
        }
    }

    pub(crate) fn columns(&self) -> usize {
        match self {
            Self::Panels(matrix) => matrix.columns(),
            Self::Tiles(matrix) => matrix.columns(),
        }
    }

    /// Appends one row to `out`.
    pub(crate) fn append_row(&self, row: usize, out: &mut Vec<T>) {
        let start = out.len();
        out.resize(start + self.columns(), T::zero());
        self.copy_row(row, &mut out[start..]);
    }

    /// out = one row.
    pub(crate) fn copy_row(&self, row: usize, out: &mut [T]) {
        self.each_of_row(row, out, |out, value| *out = value);
    }

    /// out += one row.
    pub(crate) fn add_row(&self, row: usize, out: &mut [T]) {
        self.each_of_row(row, out, |out, value| *out += value);
    }

    fn each_of_row(&self, row: usize, out: &mut [T], visit: impl Fn(&mut T, T)) {
        match self {
            Self::Panels(matrix) => matrix.each_of_row(row, out, visit),
            Self::Tiles(matrix) => {
                matrix.each_of_row(row, out, |out, value| visit(out, T::from_single(value)));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_come_back_as_they_were() {
        for (rows, columns) in [(1, 1), (5, 3), (24, 7), (49, 40), (130, 64)] {
            let exact: Vec<f32> = (0..rows * columns).map(|i| i as f32 * 0.37 - 3.0).collect();
            let halves: Vec<f32> = exact
                .iter()
                .map(|v| f32::from_bits(v.to_bits() & 0xffff_0000))
                .collect();
            for values in [exact, halves] {
                for unit in [None, TileUnit::get()] {
                    let numbers = Numbers::new(values.clone());
                    let matrix =
                        Matrix::new_for(unit, rows, columns, numbers, Storage::Exact).unwrap();
                    for (index, expected) in values.chunks(columns).enumerate() {
                        let mut row = Vec::new();
                        matrix.append_row(index, &mut row);
                        assert_eq!(row, expected);
                        matrix.add_row(index, &mut row);
                        let twice: Vec<f32> = expected.iter().map(|one| 2.0 * one).collect();
                        assert_eq!(row, twice);
                    }
                }
            }
        }
    }
}
