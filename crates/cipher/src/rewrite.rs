//! Secrets acting on matrices.

mod lines;

use zeroize::Zeroize;

use crate::element::{Element, Step};
use crate::real::Real;

pub(crate) use lines::{Form, LANES, Line, transpose_from, transpose_into};

/// An element made ready to act on matrices in precision T.
pub(crate) struct Action<T: Real> {
    size: usize,
    moves: Vec<Move<T>>,
}

enum Move<T> {
    /// y_i = factor_i x_{source_i}.
    Monomial { source: Vec<u32>, factor: Vec<T> },
    /// Each block of coordinates is mixed by its own matrix.
    Blocks {
        coordinates: Vec<Vec<u32>>,
        matrices: Vec<Vec<T>>,
    },
}

/// Room that one thread's transformations reuse.
#[derive(Default)]
pub(crate) struct Scratch<T> {
    lines: Vec<Line<T>>,
    other: Vec<Line<T>>,
}

impl<T: Real> Action<T> {
    /// The action of `element`.
    pub(crate) fn new(element: &Element) -> Self {
        let size = element.size();
        let real = |values: &[f64]| values.iter().map(|v| T::from_f64(*v)).collect();
        let moves = element.steps().iter().map(|step| match step {
            Step::Monomial { source, factor } => Move::Monomial {
                source: source.clone(),
                factor: real(factor),
            },
            Step::Blocks(blocks) => Move::Blocks {
                coordinates: blocks.iter().map(|b| b.coordinates.clone()).collect(),
                matrices: blocks.iter().map(|b| real(&b.matrix)).collect(),
            },
        });
        let mut moves: Vec<Move<T>> = moves.collect();
        if moves.len() > 1 {
            moves.retain(|step| !step.is_identity());
        }
        if moves.is_empty() {
            moves.push(Move::Monomial {
                source: (0..size as u32).collect(),
                factor: vec![T::from_f64(1.0); size],
            });
        }
        Self { size, moves }
    }

    /// (source, factor) if the map is y_i = factor_i x_{source_i}.
    pub(crate) fn as_monomial(&self) -> Option<(&[u32], &[T])> {
        match self.moves.as_slice() {
            [Move::Monomial { source, factor }] => Some((source, factor)),
            _ => None,
        }
    }

    /// X <- M X for X of shape [size, lanes], row-major.
    pub(crate) fn apply(&self, x: &mut [T], lanes: usize) {
        let mut other = Vec::new();
        for step in &self.moves {
            match step {
                Move::Monomial { source, factor } => {
                    other.clear();
                    other.extend_from_slice(x);
                    for ((to, from), f) in x.chunks_exact_mut(lanes).zip(source).zip(factor) {
                        let from = &other[*from as usize * lanes..][..lanes];
                        to.iter_mut().zip(from).for_each(|(y, x)| *y = *f * *x);
                    }
                }
                Move::Blocks {
                    coordinates,
                    matrices,
                } => {
                    for (coordinates, matrix) in coordinates.iter().zip(matrices) {
                        mix(x, lanes, coordinates, matrix, &mut other);
                    }
                }
            }
        }
    }

    /// Each row w of a [rows, size] matrix becomes M w.
    pub(crate) fn apply_to_rows(&self, matrix: &mut [T], scratch: &mut Scratch<T>) {
        if let Some((source, factor)) = self.as_monomial() {
            let mut old = Vec::with_capacity(self.size);
            for row in matrix.chunks_exact_mut(self.size) {
                old.clear();
                old.extend_from_slice(row);
                for ((to, from), f) in row.iter_mut().zip(source).zip(factor) {
                    *to = *f * old[*from as usize];
                }
            }
            return;
        }
        let Scratch { lines, other } = scratch;
        lines.resize(self.size, Line::default());
        let form = Form {
            width: self.size,
            stride: self.size,
        };
        for rows in matrix.chunks_mut(self.size * LANES) {
            transpose_into(rows, form, lines);
            self.apply_to_lines(lines, other);
            transpose_from(lines, rows, form);
        }
    }
}

impl<T: Real> Move<T> {
    fn is_identity(&self) -> bool {
        match self {
            Self::Monomial { source, factor } => {
                let one = T::from_f64(1.0);
                (0..).zip(source).all(|(to, from)| to == *from)
                    && factor.iter().all(|factor| *factor == one)
            }
            Self::Blocks { coordinates, .. } => coordinates.is_empty(),
        }
    }
}

impl<T: Real> Drop for Action<T> {
    fn drop(&mut self) {
        for step in &mut self.moves {
            match step {
                Move::Monomial { source, factor } => {
                    source.zeroize();
                    factor.fill(T::default());
                }
                Move::Blocks {
                    coordinates,
                    matrices,
                } => {
                    coordinates.iter_mut().for_each(Zeroize::zeroize);
                    matrices
                        .iter_mut()
                        .for_each(|matrix| matrix.fill(T::default()));
                }
            }
        }
    }
}

/// Rows `coordinates` of X, shape [_, lanes], are replaced by B times themselves.
fn mix<T: Real>(x: &mut [T], lanes: usize, coordinates: &[u32], matrix: &[T], old: &mut Vec<T>) {
    old.clear();
    for c in coordinates {
        old.extend_from_slice(&x[*c as usize * lanes..][..lanes]);
    }
    for (c, weights) in coordinates
        .iter()
        .zip(matrix.chunks_exact(coordinates.len()))
    {
        let to = &mut x[*c as usize * lanes..][..lanes];
        to.fill(T::default());
        for (from, weight) in old.chunks_exact(lanes).zip(weights) {
            to.iter_mut()
                .zip(from)
                .for_each(|(y, x)| *y += *weight * *x);
        }
    }
}

#[cfg(test)]
mod tests;
