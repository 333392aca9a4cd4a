use std::ops::Range;

use rayon::prelude::*;

use super::ready::Ready;
use super::rows::encode;
use super::{BLOCK_VALUES, Pass, Split, blocks};
use crate::Error;
use crate::plan::OutputTensor;
use crate::real::Real;
use crate::rewrite::{LANES, Line};

/// Some columns of an output tensor that are held in memory, all rows of them, in squares of `LANES` rows and columns. Row by
/// row of squares, because rows are what is read and written; in a square a line is a row.
struct Held<'a, T> {
    lines: &'a mut [Line<T>],
    columns: Range<usize>,
    /// Squares side by side.
    panels: usize,
    split: Split,
}

impl<T: Real> Pass<'_, T> {
    /// Output rows that mix source rows: as many columns at a time as memory allows, each of them whole.
    pub(super) fn mixed(
        &self,
        output: &OutputTensor,
        ready: &Ready<T>,
        split: Split,
    ) -> Result<(), Error> {
        let (rows, width) = ready.to;
        let tall = rows.next_multiple_of(LANES);
        let step = (self.held_values / tall / LANES).max(1) * LANES;
        let mut lines = self.held.take();
        for columns in blocks(width, step) {
            let panels = columns.len().div_ceil(LANES);
            let length = tall * panels;
            if lines.len() < length {
                lines.resize(length, Line::default());
            }
            let mut held = Held {
                lines: &mut lines[..length],
                columns,
                panels,
                split,
            };
            self.fill(ready, &mut held)?;
            self.mix(ready, &mut held);
            self.store(output, ready, &held)?;
        }
        Ok(())
    }

    /// The source, after the map of the columns.
    fn fill(&self, ready: &Ready<T>, held: &mut Held<'_, T>) -> Result<(), Error> {
        let stride = ready.form().stride;
        held.lines
            .par_chunks_mut(held.panels * LANES)
            .with_min_len(held.split.least())
            .enumerate()
            .try_for_each(|(index, squares)| {
                let mut room = self.rooms.take();
                let first = (index * LANES).min(ready.from.0);
                let rows: Vec<u32> = (first..ready.from.0)
                    .take(LANES)
                    .map(|row| row as u32)
                    .collect();
                self.load(ready, &rows, &mut room)?;
                if rows.len() < LANES {
                    squares.fill(Line::default());
                }
                for (panel, square) in squares.chunks_exact_mut(LANES).enumerate() {
                    let start = held.columns.start + panel * LANES;
                    let part = start..(start + LANES).min(held.columns.end);
                    for (line, row) in square.iter_mut().zip(room.values.chunks_exact(stride)) {
                        match <&[T; LANES]>::try_from(&row[part.clone()]) {
                            Ok(whole) => line.0 = *whole,
                            Err(_) => line.0[..part.len()].copy_from_slice(&row[part.clone()]),
                        }
                    }
                }
                Ok(())
            })
    }

    /// The map of the rows, on squares that stand one below the other.
    fn mix(&self, ready: &Ready<T>, held: &mut Held<'_, T>) {
        let mut panels: Vec<Vec<&mut [Line<T>]>> = Vec::new();
        panels.resize_with(held.panels, Vec::new);
        for (index, square) in held.lines.chunks_exact_mut(LANES).enumerate() {
            panels[index % held.panels].push(square);
        }
        panels
            .into_par_iter()
            .with_min_len(held.split.least())
            .for_each(|mut squares| {
                let mut room = self.rooms.take();
                let room = &mut *room;
                room.lines.clear();
                for square in &squares {
                    room.lines.extend_from_slice(square);
                }
                ready.rows.apply_to_lines(&mut room.lines, &mut room.other);
                for (square, lines) in squares.iter_mut().zip(room.lines.chunks_exact(LANES)) {
                    square.copy_from_slice(lines);
                }
            });
    }

    /// Writes what is held.
    fn store(
        &self,
        output: &OutputTensor,
        ready: &Ready<T>,
        held: &Held<'_, T>,
    ) -> Result<(), Error> {
        let (height, width) = ready.to;
        let columns = &held.columns;
        let at_once = (BLOCK_VALUES / columns.len() / LANES).max(1) * LANES;
        held.lines
            .par_chunks(held.panels * at_once)
            .with_min_len(held.split.least())
            .enumerate()
            .try_for_each(|(index, squares)| {
                let mut room = self.rooms.take();
                let room = &mut *room;
                let first = index * at_once;
                let rows = first..(first + at_once).min(height);
                let row_bytes = columns.len() * output.dtype.size();
                room.out.resize(rows.len() * row_bytes, 0);
                for (row, out) in rows.clone().zip(room.out.chunks_exact_mut(row_bytes)) {
                    let squares = squares[(row - first) / LANES * held.panels * LANES..]
                        .chunks_exact(LANES)
                        .take(held.panels);
                    room.values.clear();
                    for square in squares {
                        room.values.extend_from_slice(&square[row % LANES].0);
                    }
                    encode(output, &room.values[..columns.len()], out)?;
                }
                if columns.len() == width {
                    return self.write(output, first * width, &room.out);
                }
                for (row, bytes) in rows.zip(room.out.chunks_exact(row_bytes)) {
                    self.write(output, row * width + columns.start, bytes)?;
                }
                Ok(())
            })
    }
}
