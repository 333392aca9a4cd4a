use pulp::{Arch, Simd, WithSimd};
use rayon::prelude::*;

use super::Real;
use super::attention::soften;

/// Attention inside texts: every token sees every other one of its text, or those at less than `window` from it.
pub(crate) struct WithinTexts<'a, T> {
    /// Tokens of each text.
    pub(crate) lengths: &'a [usize],
    /// `[tokens, heads * (2 key_dim + value_dim)]`: queries of all heads, keys, values; rotated.
    pub(crate) stacked: &'a [T],
    /// Heads.
    pub(crate) heads: usize,
    /// Coordinates of a query or key.
    pub(crate) key_dim: usize,
    /// Coordinates of a value.
    pub(crate) value_dim: usize,
    /// What q . k is multiplied by.
    pub(crate) scale: T,
    /// How far a token sees, its own place among the places counted.
    pub(crate) window: Option<usize>,
    /// For each head, what is added to q_i . k_j at `j - i + (half)`, `half` being the middle of the list.
    pub(crate) biases: Option<&'a [Vec<T>]>,
}

/// softmax(q K^T + bias) V for each token and head: `[tokens, heads * value_dim]`.
pub(crate) fn attend_within<T: Real>(task: &WithinTexts<'_, T>) -> Vec<T> {
    let arch = Arch::new();
    let width = task.heads * (2 * task.key_dim + task.value_dim);
    let out_width = task.heads * task.value_dim;
    let mut by_head = vec![T::zero(); task.stacked.len() / width * out_width];
    let (mut rest, mut rows) = (by_head.as_mut_slice(), task.stacked);
    let mut tasks = Vec::with_capacity(task.lengths.len() * task.heads);
    for length in task.lengths {
        let (own, later) = rows.split_at(length * width);
        rows = later;
        for head in 0..task.heads {
            let (context, later) = rest.split_at_mut(length * task.value_dim);
            rest = later;
            tasks.push((own, head, context));
        }
    }
    tasks
        .into_par_iter()
        .for_each_init(Scratch::new, |scratch, (rows, head, context)| {
            arch.dispatch(OneHead {
                task,
                rows,
                head,
                scratch,
                context,
            });
        });

    let mut contexts = vec![T::zero(); by_head.len()];
    let (mut from, mut to) = (by_head.as_slice(), contexts.as_mut_slice());
    let mut texts = Vec::with_capacity(task.lengths.len());
    for length in task.lengths {
        let (own_from, later_from) = from.split_at(length * out_width);
        let (own_to, later_to) = to.split_at_mut(length * out_width);
        (from, to) = (later_from, later_to);
        texts.push((own_from, own_to, *length));
    }
    texts.into_par_iter().for_each(|(from, to, length)| {
        let dim = task.value_dim;
        for (token, row) in to.chunks_exact_mut(out_width).enumerate() {
            for (head, part) in row.chunks_exact_mut(dim).enumerate() {
                part.copy_from_slice(&from[(head * length + token) * dim..][..dim]);
            }
        }
    });
    contexts
}

/// Room that one core reuses.
struct Scratch<T> {
    /// `[key_dim, columns]`.
    keys: Vec<T>,
    /// `[columns, value columns]`.
    values: Vec<T>,
    /// `[ROWS, columns]`.
    scores: Vec<T>,
    /// `[ROWS, key_dim]`.
    queries: Vec<T>,
}

impl<T> Scratch<T> {
    fn new() -> Self {
        Self {
            keys: Vec::new(),
            values: Vec::new(),
            scores: Vec::new(),
            queries: Vec::new(),
        }
    }
}

struct OneHead<'a, 't, T> {
    task: &'a WithinTexts<'t, T>,
    /// The text's tokens.
    rows: &'a [T],
    head: usize,
    scratch: &'a mut Scratch<T>,
    /// `[tokens, value_dim]`.
    context: &'a mut [T],
}

impl<T: Real> WithSimd for OneHead<'_, '_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let (task, head) = (self.task, self.head);
        let (dim, value_dim) = (task.key_dim, task.value_dim);
        let width = task.heads * (2 * dim + value_dim);
        let tokens = self.rows.len() / width;
        let columns = tokens.next_multiple_of(COLUMNS);
        let value_columns = value_dim.next_multiple_of(COLUMNS);
        let Scratch {
            keys,
            values,
            scores,
            queries,
        } = self.scratch;
        keys.clear();
        keys.resize(dim * columns, T::zero());
        values.clear();
        values.resize(tokens * value_columns, T::zero());
        for (token, row) in self.rows.chunks_exact(width).enumerate() {
            let key = &row[(task.heads + head) * dim..][..dim];
            for (coordinate, value) in key.iter().enumerate() {
                keys[coordinate * columns + token] = *value;
            }
            let value = &row[2 * task.heads * dim + head * value_dim..][..value_dim];
            values[token * value_columns..][..value_dim].copy_from_slice(value);
        }
        scores.clear();
        scores.resize(ROWS * columns, T::zero());
        queries.clear();
        queries.resize(ROWS * dim, T::zero());

        for first in (0..tokens).step_by(ROWS) {
            let rows = ROWS.min(tokens - first);
            for row in 0..rows {
                let query = &self.rows[(first + row) * width + head * dim..][..dim];
                for (to, from) in queries[row * dim..][..dim].iter_mut().zip(query) {
                    *to = *from * task.scale;
                }
            }
            let sees = |token: usize| match task.window {
                Some(window) => {
                    let window = window.max(1);
                    (token + 1).saturating_sub(window)..tokens.min(token + window)
                }
                None => 0..tokens,
            };
            let start = sees(first).start / COLUMNS * COLUMNS;
            let end = sees(first + rows - 1).end;
            for column in (start..end).step_by(COLUMNS) {
                score(queries, keys, [dim, columns, column], scores);
            }
            for row in 0..rows {
                let token = first + row;
                let seen = sees(token);
                let scores = &mut scores[row * columns..][..columns];
                if let Some(bias) = task.biases.and_then(|biases| biases.get(head)) {
                    let from = bias.len() / 2 + seen.start - token;
                    for (score, bias) in scores[seen.clone()].iter_mut().zip(&bias[from..]) {
                        *score += *bias;
                    }
                }
                soften(&mut scores[seen.clone()]);
                scores[start..seen.start].fill(T::zero());
                scores[seen.end..end].fill(T::zero());
            }
            for column in (0..value_columns).step_by(COLUMNS) {
                let sums = average(
                    scores,
                    values,
                    [start, end],
                    [columns, value_columns],
                    column,
                );
                let here = COLUMNS.min(value_dim - column);
                for (row, sums) in sums.iter().enumerate().take(rows) {
                    let to = (first + row) * value_dim + column;
                    self.context[to..][..here].copy_from_slice(&sums[..here]);
                }
            }
        }
    }
}

/// q . k for the queries and COLUMNS keys from `column` on.
#[inline(always)]
fn score<T: Real>(queries: &[T], keys: &[T], [dim, columns, column]: [usize; 3], scores: &mut [T]) {
    let mut sums = [[T::zero(); COLUMNS]; ROWS];
    for coordinate in 0..dim {
        if let Some(keys) = keys[coordinate * columns + column..].first_chunk::<COLUMNS>() {
            for row in 0..ROWS {
                let query = queries[row * dim + coordinate];
                for j in 0..COLUMNS {
                    sums[row][j] = query.mul_add(keys[j], sums[row][j]);
                }
            }
        }
    }
    for row in 0..ROWS {
        scores[row * columns + column..][..COLUMNS].copy_from_slice(&sums[row]);
    }
}

/// The rows' shares of the values `start..end`, for COLUMNS coordinates from `column` on.
#[inline(always)]
fn average<T: Real>(
    scores: &[T],
    values: &[T],
    [start, end]: [usize; 2],
    [columns, value_columns]: [usize; 2],
    column: usize,
) -> [[T; COLUMNS]; ROWS] {
    let mut sums = [[T::zero(); COLUMNS]; ROWS];
    for token in start..end {
        if let Some(values) = values[token * value_columns + column..].first_chunk::<COLUMNS>() {
            for row in 0..ROWS {
                let share = scores[row * columns + token];
                for j in 0..COLUMNS {
                    sums[row][j] = share.mul_add(values[j], sums[row][j]);
                }
            }
        }
    }
    sums
}

/// Queries that are computed together.
const ROWS: usize = 4;
/// Keys, or coordinates of values, that are computed together.
const COLUMNS: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(count: usize) -> Vec<f64> {
        let mut state = 7u64;
        let mut next = || {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            (state >> 33) as f64 / (1u64 << 30) as f64 - 1.0
        };
        (0..count).map(|_| next()).collect()
    }

    #[test]
    fn it_is_the_textbook_formula() {
        let (heads, key_dim, value_dim) = (3, 5, 7);
        let width = heads * (2 * key_dim + value_dim);
        let lengths = [1, 37, 4];
        let stacked = numbers(42 * width);
        let biases: Vec<Vec<f64>> = (0..heads).map(|head| numbers(79 + head * 2)).collect();
        for (window, biased) in [
            (None, false),
            (Some(5), false),
            (None, true),
            (Some(1), true),
        ] {
            let task = WithinTexts {
                lengths: &lengths,
                stacked: &stacked,
                heads,
                key_dim,
                value_dim,
                scale: 0.3,
                window,
                biases: biased.then_some(biases.as_slice()),
            };
            let found = attend_within(&task);
            let mut first = 0;
            for length in lengths {
                for (i, head) in (0..length).flat_map(|i| (0..heads).map(move |h| (i, h))) {
                    let at = |token: usize, offset: usize| (first + token) * width + offset;
                    let q = &stacked[at(i, head * key_dim)..][..key_dim];
                    let seen: Vec<usize> = (0..length)
                        .filter(|j| window.is_none_or(|w| j.abs_diff(i) < w))
                        .collect();
                    let weights: Vec<f64> = seen
                        .iter()
                        .map(|j| {
                            let k = &stacked[at(*j, (heads + head) * key_dim)..][..key_dim];
                            let dot: f64 = q.iter().zip(k).map(|(q, k)| q * k).sum();
                            let bias = &biases[head];
                            let bias = bias[bias.len() / 2 + j - i];
                            (0.3 * dot + if biased { bias } else { 0.0 }).exp()
                        })
                        .collect();
                    let total: f64 = weights.iter().sum();
                    for c in 0..value_dim {
                        let place = 2 * heads * key_dim + head * value_dim + c;
                        let expected: f64 = seen
                            .iter()
                            .zip(&weights)
                            .map(|(j, w)| w / total * stacked[at(*j, place)])
                            .sum();
                        let found = found[(first + i) * heads * value_dim + head * value_dim + c];
                        assert!((found - expected).abs() < 1e-12, "{found} {expected}");
                    }
                }
                first += length;
            }
        }
    }
}
