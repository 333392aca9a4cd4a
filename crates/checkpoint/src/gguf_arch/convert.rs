use rayon::prelude::*;

use super::moves::{Move, Order};
use crate::Error;

/// Reads values: tensor, first value, where to put them.
pub(crate) type Read<'a> = dyn Fn(&str, usize, &mut [f32]) -> Result<(), Error> + Sync + 'a;
/// Writes values: tensor, first value, values; gives the bytes written.
pub(crate) type Write<'a> = dyn Fn(&str, usize, &[f32]) -> Result<u64, Error> + Sync + 'a;

/// Makes every move, in blocks of rows, on every core; `progress` is called with the bytes written
/// so far and `total`.
///
/// A block has a few million values, whole rows of the target; only a transposed tensor is held
/// whole, one for each core.
pub(crate) fn convert(
    moves: &[Move],
    read: &Read<'_>,
    write: &Write<'_>,
    total: u64,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<(), Error> {
    let mut done = 0;
    progress(done, total);
    let mut blocks = moves.iter().flat_map(Move::blocks).peekable();
    while blocks.peek().is_some() {
        // A few blocks for each thread at a time, so that progress is seen inside large tensors.
        let some: Vec<Block<'_>> = blocks
            .by_ref()
            .take(4 * rayon::current_num_threads())
            .collect();
        let written: Result<Vec<u64>, Error> = some
            .par_iter()
            .map(|block| block.convert(read, write))
            .collect();
        done += written?.iter().sum::<u64>();
        progress(done, total);
    }
    Ok(())
}

/// Some rows of a move's target.
struct Block<'a> {
    of: &'a Move,
    first: usize,
    rows: usize,
}

impl Move {
    fn blocks(&self) -> impl Iterator<Item = Block<'_>> {
        // Rows of one unit are one run in the source too.
        let unit = match self.order {
            Order::Same => 1,
            Order::Interleave(rows) | Order::Deinterleave(rows) => rows,
            Order::SplitQkv { rows, .. } | Order::JoinQkv { rows, .. } => rows,
            Order::Transpose => self.rows,
        };
        let unit = unit.max(1);
        let units = (TARGET_VALUES / (unit * self.row_len).max(1)).max(1);
        let step = units * unit;
        (0..self.rows).step_by(step).map(move |first| Block {
            of: self,
            first,
            rows: step.min(self.rows - first),
        })
    }
}

impl Block<'_> {
    fn convert(&self, read: &Read<'_>, write: &Write<'_>) -> Result<u64, Error> {
        let Move {
            from,
            from_start,
            to,
            to_start,
            row_len,
            ..
        } = self.of;
        let start = from_start + self.first * row_len;
        let mut values = vec![0.0; self.rows * row_len];
        match self.of.order {
            Order::Same => read(from, start, &mut values)?,
            Order::Interleave(head) => {
                read(from, start, &mut values)?;
                values = interleave(&values, head, *row_len);
            }
            Order::Deinterleave(head) => {
                read(from, start, &mut values)?;
                values = deinterleave(&values, head, *row_len);
            }
            Order::SplitQkv { heads, rows } => {
                let source = |unit: usize| 3 * (unit % heads) + unit / heads;
                self.gather(read, &mut values, rows, source)?;
            }
            Order::JoinQkv { heads, rows } => {
                let source = |unit: usize| heads * (unit % 3) + unit / 3;
                self.gather(read, &mut values, rows, source)?;
            }
            Order::Transpose => {
                read(from, start, &mut values)?;
                values = transpose(&values, self.rows);
            }
        }
        if self.of.plus != 0.0 {
            values.iter_mut().for_each(|value| *value += self.of.plus);
        }
        write(to, to_start + self.first * row_len, &values)
    }

    /// Reads the runs of `rows` rows of which unit u is the source's unit `source(u)`.
    fn gather(
        &self,
        read: &Read<'_>,
        values: &mut [f32],
        rows: usize,
        source: impl Fn(usize) -> usize,
    ) -> Result<(), Error> {
        let len = rows * self.of.row_len;
        let first = self.first / rows.max(1);
        for (unit, run) in values.chunks_mut(len.max(1)).enumerate() {
            let start = self.of.from_start + source(first + unit) * len;
            read(&self.of.from, start, run)?;
        }
        Ok(())
    }
}

/// `out[h D + 2 i + j] = rows[h D + j D/2 + i]` for head h, half j in {0, 1}, i in 0..D/2.
///
/// Rotary embedding turns pairs of coordinates. Hugging Face pairs coordinate i of a head with
/// i + D/2; the llama layout of GGUF pairs 2i with 2i + 1. The same permutation on queries and
/// keys leaves every score.
fn interleave(rows: &[f32], head: usize, row_len: usize) -> Vec<f32> {
    let mut out = Vec::with_capacity(rows.len());
    for head_rows in rows.chunks(head * row_len) {
        let (first, second) = head_rows.split_at(head_rows.len() / 2);
        for (a, b) in first.chunks(row_len).zip(second.chunks(row_len)) {
            out.extend_from_slice(a);
            out.extend_from_slice(b);
        }
    }
    out
}

/// The inverse of [`interleave`].
fn deinterleave(rows: &[f32], head: usize, row_len: usize) -> Vec<f32> {
    let mut out = Vec::with_capacity(rows.len());
    for head_rows in rows.chunks(head * row_len) {
        for half in 0..2 {
            for pair in head_rows.chunks(2 * row_len) {
                out.extend_from_slice(&pair[half * row_len..(half + 1) * row_len]);
            }
        }
    }
    out
}

/// `out[i][j] = columns[j][i]` with `rows` rows i.
fn transpose(columns: &[f32], rows: usize) -> Vec<f32> {
    let rows = rows.max(1);
    (0..rows)
        .flat_map(|row| columns[row..].iter().step_by(rows).copied())
        .collect()
}

/// 4 MiB of f32.
const TARGET_VALUES: usize = 1 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_return_to_their_halves() {
        // Two heads of six rows, each row marked with its place in Hugging Face's order.
        let stored = [0, 3, 1, 4, 2, 5, 6, 9, 7, 10, 8, 11].map(|row| row as f32);
        let expected: Vec<f32> = (0..12).map(|row| row as f32).collect();
        assert_eq!(deinterleave(&stored, 6, 1), expected);
        assert_eq!(interleave(&expected, 6, 1), stored);
        let wide: Vec<f32> = stored.iter().flat_map(|row| [*row, row + 0.5]).collect();
        let expected: Vec<f32> = expected.iter().flat_map(|row| [*row, row + 0.5]).collect();
        assert_eq!(deinterleave(&wide, 6, 2), expected);
        assert_eq!(interleave(&expected, 6, 2), wide);
    }

    #[test]
    fn columns_become_rows() {
        assert_eq!(
            transpose(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0], 3),
            [1.0, 4.0, 2.0, 5.0, 3.0, 6.0]
        );
    }

    /// Turns coordinates `(a, b)` of each pair by `position / 50^(2 i / D)`.
    fn rope(vector: &[f32], position: f64, pair: impl Fn(usize) -> (usize, usize)) -> Vec<f64> {
        let mut out = vec![0.0; vector.len()];
        for i in 0..vector.len() / 2 {
            let (a, b) = pair(i);
            let angle = position / 50f64.powf(2.0 * i as f64 / vector.len() as f64);
            let (x, y) = (f64::from(vector[a]), f64::from(vector[b]));
            out[a] = x * angle.cos() - y * angle.sin();
            out[b] = x * angle.sin() + y * angle.cos();
        }
        out
    }

    #[test]
    fn scores_are_those_of_the_interleaved_layout() {
        const D: usize = 8;
        let q: Vec<f32> = (0..D).map(|i| (i * i) as f32 * 0.3 - 2.0).collect();
        let k: Vec<f32> = (0..D).map(|i| 1.0 - (i * 5 % 7) as f32).collect();
        let dot = |a: Vec<f64>, b: Vec<f64>| -> f64 { a.iter().zip(&b).map(|(x, y)| x * y).sum() };
        let adjacent = |i| (2 * i, 2 * i + 1);
        let halves = |i| (i, i + D / 2);
        let stored = dot(rope(&q, 9.0, adjacent), rope(&k, 4.0, adjacent));
        let (q, k) = (deinterleave(&q, D, 1), deinterleave(&k, D, 1));
        let imported = dot(rope(&q, 9.0, halves), rope(&k, 4.0, halves));
        assert!((stored - imported).abs() < 1e-12, "{stored} {imported}");
    }

    #[test]
    fn blocks_of_any_size_split_and_join() {
        // Units of three rows of two, three heads: blocks of one unit at a time and all at once.
        let (heads, rows, row_len) = (3, 3, 2);
        let source: Vec<f32> = (0..3 * heads * rows * row_len).map(|v| v as f32).collect();
        let run = |values: &[f32], order, units: usize| {
            let of = Move {
                from: String::new(),
                from_start: 0,
                to: String::new(),
                to_start: 0,
                rows: 3 * heads * rows,
                row_len,
                order,
                plus: 0.0,
            };
            let out = std::sync::Mutex::new(vec![0.0; values.len()]);
            for first in (0..of.rows).step_by(units * rows) {
                let rows = (units * rows).min(of.rows - first);
                let block = Block {
                    of: &of,
                    first,
                    rows,
                };
                let read = |_: &str, start: usize, out: &mut [f32]| {
                    out.copy_from_slice(&values[start..start + out.len()]);
                    Ok(())
                };
                let write = |_: &str, start: usize, values: &[f32]| {
                    let mut out = out.lock().unwrap();
                    out[start..start + values.len()].copy_from_slice(values);
                    Ok(0)
                };
                block.convert(&read, &write).unwrap();
            }
            out.into_inner().unwrap()
        };
        for units in [1, 2, 9] {
            let split = run(&source, Order::SplitQkv { heads, rows }, units);
            // Query of head 1 begins where Hugging Face's head 1 does.
            assert_eq!(split[rows * row_len], (3 * rows * row_len) as f32);
            assert_eq!(run(&split, Order::JoinQkv { heads, rows }, units), source);
        }
    }
}
