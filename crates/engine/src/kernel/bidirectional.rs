use equicrypt_machine::Lines;
use pulp::{Arch, Simd, WithSimd};
use rayon::prelude::*;

use super::Real;
use super::attention::powers;
use super::memory::part;
use super::panels::{PANEL_VECTORS, Panels, Product, Strided, multiply};

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

/// softmax(q K^T + bias) V for each text, head and token: `[tokens of the text, value_dim]` for each head of each text, one
/// after the other.
pub(crate) fn attend_within<T: Real>(task: &WithinTexts<'_, T>, context: &mut [T]) {
    attend_on(Arch::new(), task, context);
}

/// The same with the instructions of `arch`.
fn attend_on<T: Real>(arch: Arch, task: &WithinTexts<'_, T>, context: &mut [T]) {
    let width = task.heads * (2 * task.key_dim + task.value_dim);
    let (mut rest, mut rows) = (context, task.stacked);
    let mut heads = Vec::with_capacity(task.lengths.len() * task.heads);
    for length in task.lengths {
        let (own, later) = rows.split_at(length * width);
        rows = later;
        for head in 0..task.heads {
            let (context, later) = rest.split_at_mut(length * task.value_dim);
            rest = later;
            heads.push((own, head, context));
        }
    }
    let each = |scratch: &mut Scratch<T>, (rows, head, context)| {
        arch.dispatch(OneHead {
            task,
            rows,
            head,
            scratch,
            context,
        });
    };
    heads.into_par_iter().for_each_init(Scratch::default, each);
}

/// Room that one core reuses.
struct Scratch<T> {
    /// Keys, one a column, in panels.
    keys: Vec<T>,
    /// Values, one a row, in panels.
    values: Vec<T>,
    /// `[ROWS, columns that are seen]`.
    scores: Vec<T>,
}

impl<T> Default for Scratch<T> {
    fn default() -> Self {
        let (keys, values, scores) = (Vec::new(), Vec::new(), Vec::new());
        Self {
            keys,
            values,
            scores,
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
    fn with_simd<S: Simd>(self, simd: S) {
        let (task, head) = (self.task, self.head);
        let (dim, value_dim) = (task.key_dim, task.value_dim);
        let width = task.heads * (2 * dim + value_dim);
        let tokens = self.rows.len() / width;
        let (lanes, panel) = (T::lanes::<S>(), PANEL_VECTORS * T::lanes::<S>());
        let at = |offset: usize| Strided {
            values: &self.rows[offset..],
            stride: width,
            rows: tokens,
        };
        let (keys, values) = (
            at((task.heads + head) * dim),
            at(2 * task.heads * dim + head * value_dim),
        );
        let keys = Panels {
            values: turned(lanes, keys, dim, task.scale, &mut self.scratch.keys),
            depth: dim,
            width: tokens,
        };
        let values = Panels {
            values: cut(lanes, values, value_dim, &mut self.scratch.values),
            depth: tokens,
            width: value_dim,
        };
        let sees = |token: usize| match task.window {
            Some(window) => {
                let window = window.max(1);
                (token + 1).saturating_sub(window)..tokens.min(token + window)
            }
            None => 0..tokens,
        };

        let mut totals = [T::one(); ROWS];
        for first in (0..tokens).step_by(ROWS) {
            let rows = ROWS.min(tokens - first);
            let start = sees(first).start / panel * panel;
            let end = sees(first + rows - 1).end;
            let columns = tokens.min(end.next_multiple_of(panel)) - start;
            let scores = part(&mut self.scratch.scores, ROWS * columns);
            let queries = Strided {
                values: &self.rows[first * width + head * dim..],
                stride: width,
                rows,
            };
            multiply(
                simd,
                Product {
                    x: queries,
                    panels: keys,
                    inputs: 0..dim,
                    outputs: start..start + columns,
                    bias: None,
                    y: scores,
                    y_stride: columns,
                    adds: false,
                    continues: false,
                    next: Lines::none(),
                },
            );
            for (row, total) in totals.iter_mut().enumerate().take(rows) {
                let seen = sees(first + row);
                let scores = &mut scores[row * columns..][..columns];
                let own = seen.start - start..seen.end - start;
                if let Some(bias) = task.biases.and_then(|biases| biases.get(head)) {
                    let from = bias.len() / 2 + seen.start - (first + row);
                    for (score, bias) in scores[own.clone()].iter_mut().zip(&bias[from..]) {
                        *score += *bias;
                    }
                }
                *total = powers(&mut scores[own.clone()]);
                scores[..own.start].fill(T::zero());
                scores[own.end..].fill(T::zero());
            }
            let context = &mut self.context[first * value_dim..][..rows * value_dim];
            let shares = Strided {
                values: scores,
                stride: columns,
                rows,
            };
            multiply(
                simd,
                Product {
                    x: shares,
                    panels: values,
                    inputs: start..end,
                    outputs: 0..value_dim,
                    bias: None,
                    y: context,
                    y_stride: value_dim,
                    adds: false,
                    continues: false,
                    next: Lines::none(),
                },
            );
            for (context, total) in context.chunks_exact_mut(value_dim).zip(totals) {
                let share = T::one() / total;
                context.iter_mut().for_each(|x| *x *= share);
            }
        }
    }
}

/// The first `depth` numbers of each row as a column of panels, times `scale`.
#[inline(always)]
fn turned<'a, T: Real>(
    lanes: usize,
    rows: Strided<'_, T>,
    depth: usize,
    scale: T,
    room: &'a mut Vec<T>,
) -> &'a [T] {
    let width = rows.rows.next_multiple_of(lanes);
    let panels = part(room, depth * width);
    let panel = PANEL_VECTORS * lanes;
    for (index, values) in panels.chunks_mut(panel * depth).enumerate() {
        let (first, step) = (index * panel, panel.min(width - index * panel));
        for column in 0..step.min(rows.rows - first) {
            let row = &rows.values[(first + column) * rows.stride..][..depth];
            for (to, from) in values.chunks_exact_mut(step).zip(row) {
                to[column] = *from * scale;
            }
        }
    }
    panels
}

/// The first `width` numbers of each row as a row of panels.
#[inline(always)]
fn cut<'a, T: Real>(
    lanes: usize,
    rows: Strided<'_, T>,
    width: usize,
    room: &'a mut Vec<T>,
) -> &'a [T] {
    let depth = rows.rows;
    let padded = width.next_multiple_of(lanes);
    let panels = part(room, depth * padded);
    let panel = PANEL_VECTORS * lanes;
    for (index, values) in panels.chunks_mut(panel * depth).enumerate() {
        let (first, step) = (index * panel, panel.min(padded - index * panel));
        let here = step.min(width - first);
        for (row, to) in values.chunks_exact_mut(step).enumerate() {
            let from = &rows.values[row * rows.stride + first..][..here];
            to[..here].copy_from_slice(from);
        }
    }
    panels
}

/// Queries that are computed together.
const ROWS: usize = 8;

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
        let lengths = [1, 67, 4];
        let stacked = numbers(72 * width);
        let biases: Vec<Vec<f64>> = (0..heads).map(|head| numbers(135 + head * 2)).collect();
        let mut archs = vec![Arch::Scalar, Arch::new()];
        #[cfg(target_arch = "x86_64")]
        archs.extend(pulp::x86::V3::try_new().map(Arch::V3));
        let cases = [
            (None, false),
            (Some(5), false),
            (Some(30), false),
            (None, true),
            (Some(1), true),
        ];
        for (arch, (window, biased)) in archs.iter().flat_map(|arch| cases.map(|case| (arch, case)))
        {
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
            let mut found = vec![f64::NAN; 72 * heads * value_dim];
            attend_on(*arch, &task, &mut found);
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
                        let row = first * heads + head * length + i;
                        let found = found[row * value_dim + c];
                        assert!((found - expected).abs() < 1e-12, "{found} {expected}");
                    }
                }
                first += length;
            }
        }
    }
}
