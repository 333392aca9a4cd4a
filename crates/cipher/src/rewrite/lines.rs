//! The same maps on sixteen vectors at once, with the processor's widest registers.
//!
//! Products are added in the same order and rounded at the same places as [`Action::apply`] does it, so that an encrypted
//! checkpoint has the same bytes on every processor: no fused multiply-add.

use pulp::{Arch, Simd, WithSimd};

use super::{Action, Move};
use crate::real::Real;

/// One coordinate of `LANES` vectors.
#[derive(Clone, Copy, Default)]
#[repr(align(64))]
pub(crate) struct Line<T>(pub(crate) [T; LANES]);

/// Vectors that are transformed together: in f32 a line of them is a line of the cache.
pub(crate) const LANES: usize = 16;

impl<T: Real> Action<T> {
    /// X <- M X for X of `size` lines. `other` is room.
    pub(crate) fn apply_to_lines(&self, x: &mut [Line<T>], other: &mut Vec<Line<T>>) {
        other.resize(self.size.max(other.len()), Line::default());
        Arch::new().dispatch(Steps {
            action: self,
            x: &mut x[..self.size],
            other: &mut other[..self.size],
        });
    }

    #[inline(always)]
    fn steps(&self, x: &mut [Line<T>], other: &mut [Line<T>]) {
        let (mut from, mut to) = (x, other);
        let mut moved = false;
        let mut waiting: Option<&[u32]> = None;
        let mut moves = self.moves.iter().peekable();
        while let Some(step) = moves.next() {
            match step {
                // A permutation before blocks costs nothing: they read from where it would have read.
                Move::Monomial { source, factor }
                    if matches!(moves.peek(), Some(Move::Blocks { .. })) && are_ones(factor) =>
                {
                    waiting = Some(source);
                    continue;
                }
                Move::Monomial { source, factor } => {
                    for ((to, source), factor) in to.iter_mut().zip(source).zip(factor) {
                        let from = &from[*source as usize];
                        for (to, from) in to.0.iter_mut().zip(&from.0) {
                            *to = *factor * *from;
                        }
                    }
                }
                Move::Blocks {
                    coordinates,
                    matrices,
                } => {
                    let source = waiting.take();
                    if coordinates.iter().map(Vec::len).sum::<usize>() < self.size {
                        // Some coordinates are in no block.
                        match source {
                            Some(source) => (to.iter_mut().zip(source))
                                .for_each(|(to, source)| *to = from[*source as usize]),
                            None => to.copy_from_slice(from),
                        }
                    }
                    for (coordinates, matrix) in coordinates.iter().zip(matrices) {
                        mix(from, source, coordinates, matrix, to);
                    }
                }
            }
            (from, to) = (to, from);
            moved = !moved;
        }
        if moved {
            to.copy_from_slice(from);
        }
    }
}

/// Lines `coordinates` of `to` become B times those of the permuted `from`.
#[inline(always)]
fn mix<T: Real>(
    from: &[Line<T>],
    source: Option<&[u32]>,
    coordinates: &[u32],
    matrix: &[T],
    to: &mut [Line<T>],
) {
    match coordinates.len() {
        16 => mix_some::<T, 16, 4>(from, source, coordinates, matrix, to),
        2 => mix_some::<T, 2, 2>(from, source, coordinates, matrix, to),
        size => {
            for (to_coordinate, weights) in coordinates.iter().zip(matrix.chunks_exact(size)) {
                let mut sum = [T::default(); LANES];
                for (from_coordinate, weight) in coordinates.iter().zip(weights) {
                    let x = &from[position(*from_coordinate, source)].0;
                    for (sum, x) in sum.iter_mut().zip(x) {
                        *sum += *weight * *x;
                    }
                }
                to[*to_coordinate as usize].0 = sum;
            }
        }
    }
}

/// The same for blocks of `N`, with the sums of `R` output lines in registers.
#[inline(always)]
fn mix_some<T: Real, const N: usize, const R: usize>(
    from: &[Line<T>],
    source: Option<&[u32]>,
    coordinates: &[u32],
    matrix: &[T],
    to: &mut [Line<T>],
) {
    let Some(own) = coordinates.first_chunk::<N>() else {
        return;
    };
    let mut inputs = [[T::default(); LANES]; N];
    for (input, coordinate) in inputs.iter_mut().zip(own) {
        *input = from[position(*coordinate, source)].0;
    }
    let (rows, _) = matrix.as_chunks::<N>();
    let (groups, _) = rows.as_chunks::<R>();
    let (outputs, _) = coordinates.as_chunks::<R>();
    for (rows, outputs) in groups.iter().zip(outputs) {
        let mut sums = [[T::default(); LANES]; R];
        for (k, input) in inputs.iter().enumerate() {
            for (sum, row) in sums.iter_mut().zip(rows) {
                for (sum, x) in sum.iter_mut().zip(input) {
                    *sum += row[k] * *x;
                }
            }
        }
        for (sum, output) in sums.iter().zip(outputs) {
            to[*output as usize].0 = *sum;
        }
    }
}

#[inline(always)]
fn position(coordinate: u32, source: Option<&[u32]>) -> usize {
    match source {
        Some(source) => source[coordinate as usize] as usize,
        None => coordinate as usize,
    }
}

fn are_ones<T: Real>(factor: &[T]) -> bool {
    let one = T::from_f64(1.0);
    factor.iter().all(|factor| *factor == one)
}

/// At most `LANES` rows of `width` values, the first ones of each `stride`.
///
/// With a power of two for a stride all rows would share few places of the cache.
#[derive(Clone, Copy)]
pub(crate) struct Form {
    pub(crate) width: usize,
    pub(crate) stride: usize,
}

/// `lines[j][i] = rows[i, j]`; lanes without a row become 0.
pub(crate) fn transpose_into<T: Real>(rows: &[T], form: Form, lines: &mut [Line<T>]) {
    Arch::new().dispatch(TransposeInto { rows, form, lines });
}

/// `rows[i, j] = lines[j][i]`.
pub(crate) fn transpose_from<T: Real>(lines: &[Line<T>], rows: &mut [T], form: Form) {
    Arch::new().dispatch(TransposeFrom { lines, rows, form });
}

// What is given to `dispatch` has a type of its own with a function that is always inlined: a closure may not be, and would then
// do without the registers.

struct Steps<'a, T: Real> {
    action: &'a Action<T>,
    x: &'a mut [Line<T>],
    other: &'a mut [Line<T>],
}

impl<T: Real> WithSimd for Steps<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        self.action.steps(self.x, self.other);
    }
}

struct TransposeInto<'a, T> {
    rows: &'a [T],
    form: Form,
    lines: &'a mut [Line<T>],
}

impl<T: Real> WithSimd for TransposeInto<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let Self { rows, form, lines } = self;
        let Form { width, stride } = form;
        let lines = &mut lines[..width];
        let mut done = 0;
        if rows.len() == stride * LANES {
            for (square, block) in squares(rows, form).zip(lines.as_chunks_mut::<LANES>().0) {
                for (j, line) in block.iter_mut().enumerate() {
                    for (value, row) in line.0.iter_mut().zip(&square) {
                        *value = row[j];
                    }
                }
                done += LANES;
            }
        }
        lines[done..].fill(Line::default());
        for (i, row) in rows.chunks_exact(stride).enumerate() {
            for (line, value) in lines[done..].iter_mut().zip(&row[done..width]) {
                line.0[i] = *value;
            }
        }
    }
}

struct TransposeFrom<'a, T> {
    lines: &'a [Line<T>],
    rows: &'a mut [T],
    form: Form,
}

impl<T: Real> WithSimd for TransposeFrom<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let Self { lines, rows, form } = self;
        let Form { width, stride } = form;
        let lines = &lines[..width];
        let mut done = 0;
        if rows.len() == stride * LANES {
            for block in lines.as_chunks::<LANES>().0 {
                for (i, row) in rows.chunks_exact_mut(stride).enumerate() {
                    for (value, line) in row[done..][..LANES].iter_mut().zip(block) {
                        *value = line.0[i];
                    }
                }
                done += LANES;
            }
        }
        for (i, row) in rows.chunks_exact_mut(stride).enumerate() {
            for (value, line) in row[done..width].iter_mut().zip(&lines[done..]) {
                *value = line.0[i];
            }
        }
    }
}

/// `LANES` rows, cut into whole squares.
#[inline(always)]
fn squares<T: Real>(rows: &[T], form: Form) -> impl Iterator<Item = [&[T; LANES]; LANES]> {
    let row = |i| rows[i * form.stride..][..form.width].as_chunks().0;
    let parts: [&[[T; LANES]]; LANES] = std::array::from_fn(row);
    (0..form.width / LANES).map(move |index| parts.map(|part| &part[index]))
}
