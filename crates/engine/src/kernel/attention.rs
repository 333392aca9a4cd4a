use std::ops::Range;

use equicrypt_machine::Lines;
use pulp::{Arch, Simd, WithSimd};
use rayon::prelude::*;

use super::Real;
use super::elementwise::cap;
use crate::decoder::{PAGE, Pages};

/// The queries of one sequence's new tokens, and where their contexts go.
pub(crate) struct Attention<'a, T> {
    /// `[n, heads, key_dim]`, rotated and scaled.
    pub(crate) queries: &'a [T],
    /// Keys and values of all positions up to the last query's.
    pub(crate) pages: &'a Pages<T>,
    /// The position of the first query.
    pub(crate) first: usize,
    /// `[n, heads, value_dim]`.
    pub(crate) context: &'a mut [T],
}

/// What a query sees, and how.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sight<T> {
    /// How many positions, its own among them; all without.
    pub(crate) window: Option<usize>,
    /// c, where a score s becomes c tanh(s / c).
    pub(crate) cap: Option<T>,
}

/// softmax(q K^T) V for each query over the positions up to its own that it sees. Query heads `h` of
/// the same `h / group` share a key/value head. O(positions) a query.
pub(crate) fn attend<T: Real>(
    sequences: &mut [Attention<'_, T>],
    layer: usize,
    group: usize,
    sight: Sight<T>,
) {
    let arch = Arch::new();
    let work: usize = sequences.iter().map(Attention::work).sum();
    let each = |sequence: &mut Attention<'_, T>, parallel: bool| {
        let shape = sequence.pages.shape();
        let (width, out) = (group * shape.key_dim, group * shape.value_dim);
        let (queries, pages, first) = (sequence.queries, sequence.pages, sequence.first);
        let is_alone = queries.len() == width * shape.kv_heads;
        let one = |scores: &mut Vec<T>, (index, context): (usize, &mut [T])| {
            let end = first + index / shape.kv_heads + 1;
            let start = sight.window.map_or(0, |window| end.saturating_sub(window));
            arch.dispatch(Head {
                queries: &queries[index * width..][..width],
                pages,
                layer,
                kv_head: index % shape.kv_heads,
                positions: start..end,
                cap: sight.cap,
                is_alone,
                scores,
                context,
            });
        };
        if parallel {
            let tasks = sequence.context.par_chunks_exact_mut(out).enumerate();
            tasks.for_each_init(Vec::new, one);
        } else {
            let mut scores = Vec::new();
            for task in sequence.context.chunks_exact_mut(out).enumerate() {
                one(&mut scores, task);
            }
        }
    };
    if work < PARALLEL_FROM {
        sequences
            .iter_mut()
            .for_each(|sequence| each(sequence, false));
    } else {
        sequences
            .par_iter_mut()
            .for_each(|sequence| each(sequence, true));
    }
}

impl<T: Real> Attention<'_, T> {
    /// Multiplications, about.
    fn work(&self) -> usize {
        self.queries.len() * self.pages.len().max(self.first + 1)
    }
}

/// One token's queries of one key/value head.
struct Head<'a, T> {
    queries: &'a [T],
    pages: &'a Pages<T>,
    layer: usize,
    kv_head: usize,
    positions: Range<usize>,
    cap: Option<T>,
    /// Whether no other query of the sequence reads the pages: they are not near then.
    is_alone: bool,
    scores: &'a mut Vec<T>,
    context: &'a mut [T],
}

/// Closures are avoided from here on: they would be compiled without the vector instructions.
impl<T: Real> WithSimd for Head<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let shape = self.pages.shape();
        // Scores stand from the first page on that is seen; what is seen of it begins at `start`.
        let first_page = self.positions.start / PAGE;
        let before = first_page * PAGE;
        let (start, end) = (self.positions.start - before, self.positions.end - before);
        let pages = end.div_ceil(PAGE);
        let keys = |page: usize| self.pages.keys(first_page + page, self.layer, self.kv_head);
        let values = |page: usize| (self.pages).values(first_page + page, self.layer, self.kv_head);
        let group = self.queries.len() / shape.key_dim;
        self.scores.resize(group * pages * PAGE, T::zero());
        for page in 0..pages {
            if self.is_alone {
                match page + 1 < pages {
                    true => Lines::of(keys(page + 1)).fetch_all(),
                    false => Lines::of(values(0)).fetch_all(),
                }
            }
            let scores = Scores {
                queries: self.queries,
                keys: keys(page),
                scores: &mut self.scores[page * PAGE..],
                stride: pages * PAGE,
            };
            scores.compute(simd);
        }
        self.context.fill(T::zero());
        for scores in self.scores.chunks_exact_mut(pages * PAGE) {
            if let Some(limit) = self.cap {
                cap(&mut scores[start..end], limit);
            }
            soften(&mut scores[start..end]);
            scores[..start].fill(T::zero());
        }
        for page in 0..pages {
            if self.is_alone && page + 1 < pages {
                Lines::of(values(page + 1)).fetch_all();
            }
            let means = Means {
                scores: &self.scores[page * PAGE..],
                stride: pages * PAGE,
                positions: PAGE.min(end - page * PAGE),
                values: values(page),
                context: self.context,
                dim: shape.value_dim,
            };
            means.add(simd);
        }
    }
}

/// The scores of a page, whose keys stand as `[key_dim, PAGE]`, for each query of the group.
struct Scores<'a, T> {
    queries: &'a [T],
    keys: &'a [T],
    /// Each query's are so far from the ones of the query before.
    scores: &'a mut [T],
    stride: usize,
}

impl<T: Real> Scores<'_, T> {
    #[inline(always)]
    fn compute<S: Simd>(mut self, simd: S) {
        let dim = self.keys.len() / PAGE;
        let group = self.queries.len() / dim;
        let mut query = 0;
        while query < group {
            // Additions in flight are what a vector unit needs: of several queries, or of several parts of one.
            query += match group - query {
                1 => self.each::<S, 1, 4>(simd, query),
                2 => self.each::<S, 2, 2>(simd, query),
                _ => self.each::<S, 3, 1>(simd, query),
            };
        }
    }

    /// `R` queries, each in `P` partial sums; returns `R`.
    #[inline(always)]
    fn each<S: Simd, const R: usize, const P: usize>(&mut self, simd: S, query: usize) -> usize {
        match PAGE / T::lanes::<S>() {
            1 => self.tile::<S, R, 1, P>(simd, query, 0),
            2 => self.tile::<S, R, 2, P>(simd, query, 0),
            vectors => {
                for first in (0..vectors).step_by(4) {
                    self.tile::<S, R, 4, P>(simd, query, first);
                }
            }
        }
        R
    }

    /// `R` queries and `C` registers of positions.
    #[inline(always)]
    fn tile<S: Simd, const R: usize, const C: usize, const P: usize>(
        &mut self,
        simd: S,
        query: usize,
        first: usize,
    ) {
        let lanes = T::lanes::<S>();
        let (width, dim) = (PAGE / lanes, self.keys.len() / PAGE);
        let keys = T::vectors::<S>(self.keys).0;
        let mut queries = [[].as_slice(); R];
        for (r, own) in queries.iter_mut().enumerate() {
            *own = &self.queries[(query + r) * dim..][..dim];
        }
        let mut sums = [[[T::splat(simd, T::zero()); C]; P]; R];
        let steps = keys.chunks_exact(width * P);
        let rest = steps.remainder();
        for (step, keys) in steps.enumerate() {
            for p in 0..P {
                let keys = &keys[p * width + first..][..C];
                for r in 0..R {
                    let x = T::splat(simd, queries[r][step * P + p]);
                    for c in 0..C {
                        let sum = &mut sums[r][p][c];
                        *sum = T::mul_add_vectors(simd, x, keys[c], *sum);
                    }
                }
            }
        }
        for (d, keys) in rest.chunks_exact(width).enumerate() {
            for r in 0..R {
                let x = T::splat(simd, queries[r][dim / P * P + d]);
                for c in 0..C {
                    let sum = &mut sums[r][0][c];
                    *sum = T::mul_add_vectors(simd, x, keys[first + c], *sum);
                }
            }
        }
        for (r, parts) in sums.iter().enumerate() {
            let place = (query + r) * self.stride + first * lanes;
            let out = &mut self.scores[place..][..C * lanes];
            let out = T::vectors_mut::<S>(out).0;
            for c in 0..C {
                let mut sum = parts[0][c];
                for part in &parts[1..] {
                    sum = T::add_vectors(simd, sum, part[c]);
                }
                out[c] = sum;
            }
        }
    }
}

/// context += scores of a page times its values, which stand as `[PAGE, value_dim]`, for each query of the group.
struct Means<'a, T> {
    /// Each query's are so far from the ones of the query before.
    scores: &'a [T],
    stride: usize,
    /// How many of the page's positions count.
    positions: usize,
    values: &'a [T],
    context: &'a mut [T],
    dim: usize,
}

impl<T: Real> Means<'_, T> {
    #[inline(always)]
    fn add<S: Simd>(mut self, simd: S) {
        let group = self.context.len() / self.dim;
        let mut query = 0;
        while query < group {
            query += match group - query {
                1 => self.each::<S, 1>(simd, query),
                _ => self.each::<S, 2>(simd, query),
            };
        }
    }

    /// `R` queries; returns `R`.
    #[inline(always)]
    fn each<S: Simd, const R: usize>(&mut self, simd: S, query: usize) -> usize {
        let lanes = T::lanes::<S>();
        let vectors = self.dim / lanes;
        let fours = vectors / 4;
        for four in 0..fours {
            self.tile::<S, R, 4>(simd, query, four * 4);
        }
        for vector in fours * 4..vectors {
            self.tile::<S, R, 1>(simd, query, vector);
        }
        for r in query..query + R {
            let scores = &self.scores[r * self.stride..][..self.positions];
            let context = &mut self.context[r * self.dim..][..self.dim];
            for (score, values) in scores.iter().zip(self.values.chunks_exact(self.dim)) {
                let rest = context.iter_mut().zip(values).skip(vectors * lanes);
                for (sum, value) in rest {
                    *sum = score.mul_add(*value, *sum);
                }
            }
        }
        R
    }

    /// `R` queries and `C` registers of coordinates.
    #[inline(always)]
    fn tile<S: Simd, const R: usize, const C: usize>(
        &mut self,
        simd: S,
        query: usize,
        first: usize,
    ) {
        let column = first * T::lanes::<S>();
        let columns = column..column + C * T::lanes::<S>();
        let mut scores = [[].as_slice(); R];
        for (r, own) in scores.iter_mut().enumerate() {
            *own = &self.scores[(query + r) * self.stride..][..self.positions];
        }
        let mut sums = [[T::splat(simd, T::zero()); C]; R];
        for (r, sums) in sums.iter_mut().enumerate() {
            let context = &self.context[(query + r) * self.dim..][columns.clone()];
            sums.copy_from_slice(&T::vectors::<S>(context).0[..C]);
        }
        let rows = self.values.chunks_exact(self.dim).take(self.positions);
        for (position, values) in rows.enumerate() {
            let values = &T::vectors::<S>(&values[columns.clone()]).0[..C];
            for r in 0..R {
                let score = T::splat(simd, scores[r][position]);
                for c in 0..C {
                    sums[r][c] = T::mul_add_vectors(simd, score, values[c], sums[r][c]);
                }
            }
        }
        for (r, sums) in sums.iter().enumerate() {
            let context = &mut self.context[(query + r) * self.dim..][columns.clone()];
            T::vectors_mut::<S>(context).0.copy_from_slice(sums);
        }
    }
}

/// scores = softmax(scores).
#[inline(always)]
fn soften<T: Real>(scores: &mut [T]) {
    let share = T::one() / powers(scores);
    for score in scores {
        *score *= share;
    }
}

/// scores = exp(scores - max(scores)); returns their sum.
#[inline(always)]
pub(super) fn powers<T: Real>(scores: &mut [T]) -> T {
    let Some(&first) = scores.first() else {
        return T::one();
    };
    let (mut max, mut maxima) = (first, [first; LANES]);
    let (chunks, rest) = scores.as_chunks::<LANES>();
    for chunk in chunks {
        for j in 0..LANES {
            maxima[j] = maxima[j].larger(chunk[j]);
        }
    }
    for score in maxima.iter().chain(rest) {
        max = max.larger(*score);
    }
    let (mut total, mut totals) = (T::zero(), [T::zero(); LANES]);
    let (chunks, rest) = scores.as_chunks_mut::<LANES>();
    for chunk in chunks {
        for j in 0..LANES {
            chunk[j] = (chunk[j] - max).exp();
            totals[j] += chunk[j];
        }
    }
    for part in totals {
        total += part;
    }
    for score in rest {
        *score = (*score - max).exp();
        total += *score;
    }
    total
}

const LANES: usize = 16;
/// Below this many multiplications, waking another core takes longer than the work.
const PARALLEL_FROM: usize = 1 << 18;
