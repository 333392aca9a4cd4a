use equicrypt_checkpoint::gguf::GgmlType;
use equicrypt_machine::Lines;
use pulp::{Arch, Simd, WithSimd};
use rayon::prelude::*;

use super::memory::Aligned;
use super::panels::PANEL_VECTORS;
use super::real::Weight;
use super::{Numbers, Real, Storage};

/// A weight matrix `[rows, columns]`, cut into panels of neighbouring rows that stand one after the other, each column by
/// column: what leads from one input to a panel of outputs is read as it lies. A panel is [`PANEL_VECTORS`] registers wide; what
/// fills up the last one is zero.
pub(crate) struct PanelMatrix<T> {
    /// The instructions whose registers the panels are made for.
    arch: Arch,
    /// Numbers in such a register.
    lanes: usize,
    rows: usize,
    columns: usize,
    stored: Stored<T>,
}

enum Stored<T> {
    Full(Aligned<T>),
    Half(Aligned<u16>),
    Blocks {
        values: Aligned<i8>,
        /// The bits of an f16 for each row and block, in panels like the values.
        scales: Aligned<u16>,
    },
}

/// A panel as it is kept.
#[derive(Clone, Copy)]
pub(super) struct Panel<'a, W> {
    /// `[columns, width]`.
    pub(super) values: &'a [W],
    /// `[columns / BLOCK, width]`, where values are scaled.
    pub(super) scales: &'a [u16],
}

/// The same, however it is kept.
pub(super) enum AnyPanel<'a, T> {
    Full(Panel<'a, T>),
    Half(Panel<'a, u16>),
    Blocks(Panel<'a, i8>),
}

impl<'a, T> AnyPanel<'a, T> {
    /// Where its values lie.
    #[inline(always)]
    pub(super) fn lines(&self) -> Lines<'a> {
        match self {
            Self::Full(panel) => Lines::of(panel.values),
            Self::Half(panel) => Lines::of(panel.values),
            Self::Blocks(panel) => Lines::of(panel.values),
        }
    }
}

impl<T: Real> PanelMatrix<T> {
    /// For the instructions of `arch`. None if the sizes do not match, or a number is too large for its storage.
    pub(super) fn new(
        arch: Arch,
        rows: usize,
        columns: usize,
        values: Numbers<T>,
        storage: Storage,
    ) -> Option<Self> {
        if columns == 0 || rows.checked_mul(columns) != Some(values.len()) {
            return None;
        }
        let mut matrix = Self {
            arch,
            lanes: arch.dispatch(Lanes::<T>(std::marker::PhantomData)),
            rows,
            columns,
            stored: Stored::Half(Aligned::new(0)),
        };
        matrix.stored = match (storage, values) {
            (Storage::Blocks, values) if columns.is_multiple_of(BLOCK) => {
                let (values, scales) = quantised(&values.into_full(), columns)?;
                Stored::Blocks {
                    values: matrix.pack(&values, columns),
                    scales: matrix.pack(&scales, columns / BLOCK),
                }
            }
            (Storage::Half, values) => Stored::Half(matrix.pack(&values.into_half(), columns)),
            (_, Numbers::Half(values)) => Stored::Half(matrix.pack(&values, columns)),
            (_, Numbers::Full(values)) => Stored::Full(matrix.pack(&values, columns)),
        };
        Some(matrix)
    }

    pub(super) fn rows(&self) -> usize {
        self.rows
    }

    pub(super) fn columns(&self) -> usize {
        self.columns
    }

    pub(super) fn arch(&self) -> Arch {
        self.arch
    }

    pub(super) fn panels(&self) -> usize {
        self.rows.div_ceil(self.panel_rows())
    }

    /// Rows of every panel but the last.
    pub(super) fn panel_rows(&self) -> usize {
        PANEL_VECTORS * self.lanes
    }

    pub(super) fn panel(&self, panel: usize) -> AnyPanel<'_, T> {
        fn part<V: Copy + Default>(of: &Aligned<V>, panel: usize, size: usize) -> &[V] {
            &of.values()[panel * size..][..size]
        }
        let size = self.panel_rows() * self.columns;
        match &self.stored {
            Stored::Full(values) => AnyPanel::Full(Panel {
                values: part(values, panel, size),
                scales: &[],
            }),
            Stored::Half(values) => AnyPanel::Half(Panel {
                values: part(values, panel, size),
                scales: &[],
            }),
            Stored::Blocks { values, scales } => AnyPanel::Blocks(Panel {
                values: part(values, panel, size),
                scales: part(scales, panel, size / BLOCK),
            }),
        }
    }

    /// Visits the numbers of one row, each with its place in `out`.
    pub(super) fn each_of_row(&self, row: usize, out: &mut [T], visit: impl Fn(&mut T, T)) {
        let width = self.panel_rows();
        let (panel, place) = (row / width, row % width);
        let each = out.iter_mut().enumerate();
        match self.panel(panel) {
            AnyPanel::Full(panel) => {
                each.for_each(|(k, out)| visit(out, panel.values[k * width + place]));
            }
            AnyPanel::Half(panel) => {
                each.for_each(|(k, out)| visit(out, panel.values[k * width + place].value()));
            }
            AnyPanel::Blocks(panel) => each.for_each(|(k, out)| {
                let value: T = panel.values[k * width + place].value();
                visit(out, value * scale(panel.scales[k / BLOCK * width + place]));
            }),
        }
    }

    /// Rows of `columns` numbers, in panels.
    fn pack<V: Copy + Default + Send + Sync>(&self, rows: &[V], columns: usize) -> Aligned<V> {
        let width = self.panel_rows();
        let mut packed = Aligned::new(self.panels() * width * columns);
        let panels = packed.values_mut().par_chunks_mut(width * columns);
        panels.enumerate().for_each(|(index, panel)| {
            let rows = rows[index * width * columns..].chunks_exact(columns);
            for (place, row) in rows.take(width).enumerate() {
                let places = panel[place..].iter_mut().step_by(width);
                places.zip(row).for_each(|(to, from)| *to = *from);
            }
        });
        packed
    }
}

/// The number that the bits of a non-negative, finite f16 stand for, exactly, without a branch: its exponent counts from 15,
/// an f32's from 127.
#[inline(always)]
pub(super) fn scale<T: Real>(bits: u16) -> T {
    T::from_single(f32::from_bits(u32::from(bits) << 13) * f32::from_bits((127 + 112) << 23))
}

/// Rows of whole blocks as Q8_0: the eight-bit numbers, and a scale for each block. None if one is not finite.
fn quantised<T: Real>(values: &[T], columns: usize) -> Option<(Vec<i8>, Vec<u16>)> {
    let (mut numbers, mut scales) = (vec![0i8; values.len()], vec![0u16; values.len() / BLOCK]);
    let rows = values.par_chunks(columns);
    let stored = numbers
        .par_chunks_mut(columns)
        .zip(scales.par_chunks_mut(columns / BLOCK));
    let one = |(row, (numbers, scales)): (&[T], (&mut [i8], &mut [u16]))| {
        let row: Vec<f32> = row.iter().map(|value| value.to_single()).collect();
        let mut blocks = vec![0u8; scales.len() * BLOCK_BYTES];
        let fits = GgmlType::Q8_0.quantize(&row, &mut blocks);
        let parts = numbers.chunks_exact_mut(BLOCK).zip(scales);
        for ((numbers, scale), block) in parts.zip(blocks.as_chunks::<BLOCK_BYTES>().0) {
            *scale = u16::from_le_bytes([block[0], block[1]]);
            for (number, byte) in numbers.iter_mut().zip(&block[2..]) {
                *number = byte.cast_signed();
            }
        }
        fits
    };
    rows.zip(stored)
        .map(one)
        .all(|fits| fits)
        .then_some((numbers, scales))
}

/// Numbers in a register.
pub(super) struct Lanes<T>(pub(super) std::marker::PhantomData<T>);

impl<T: Real> WithSimd for Lanes<T> {
    type Output = usize;

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) -> usize {
        T::lanes::<S>()
    }
}

/// Numbers that share a scale.
pub(super) const BLOCK: usize = 32;
/// Those numbers and their scale.
const BLOCK_BYTES: usize = 2 + BLOCK;

#[cfg(test)]
mod tests {
    use super::*;

    fn row(matrix: &PanelMatrix<f32>, row: usize) -> Vec<f32> {
        let mut values = vec![0.0; matrix.columns()];
        matrix.each_of_row(row, &mut values, |to, from| *to = from);
        values
    }

    #[test]
    fn blocks_are_those_of_q8_0_and_halves_are_rounded() {
        let (rows, columns) = (30, 64);
        let values: Vec<f32> = (0..rows * columns)
            .map(|i| ((i * 7919) % 1009) as f32 / 300.0 - 1.5)
            .collect();
        let new = |storage| {
            PanelMatrix::new(
                Arch::new(),
                rows,
                columns,
                Numbers::new(values.clone()),
                storage,
            )
            .unwrap()
        };
        let (blocks, halves) = (new(Storage::Blocks), new(Storage::Half));
        for (index, expected) in values.chunks(columns).enumerate() {
            let mut bytes = vec![0; columns / BLOCK * BLOCK_BYTES];
            assert!(GgmlType::Q8_0.quantize(expected, &mut bytes));
            let mut dequantised = vec![0.0; columns];
            GgmlType::Q8_0.dequantize(&bytes, &mut dequantised);
            assert_eq!(row(&blocks, index), dequantised);
            for (found, expected) in row(&halves, index).iter().zip(expected) {
                assert_eq!(*found, half::bf16::from_f32(*expected).to_f32());
            }
        }
        // 20 columns are no whole block.
        let rest = PanelMatrix::new(
            Arch::new(),
            1,
            20,
            Numbers::new(values[..20].to_vec()),
            Storage::Blocks,
        )
        .unwrap();
        assert_eq!(row(&rest, 0), values[..20]);
        let infinite = Numbers::Full(vec![f32::INFINITY; 32]);
        assert!(PanelMatrix::new(Arch::new(), 1, 32, infinite, Storage::Blocks).is_none());
    }

    #[test]
    fn scales_are_read_as_f16() {
        for bits in 0..0x7c00 {
            let expected = half::f16::from_bits(bits).to_f32();
            assert_eq!(scale::<f32>(bits), expected);
        }
    }
}
