use std::ops::Range;

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
    scores: &'a mut Vec<T>,
    context: &'a mut [T],
}

/// Closures are avoided from here on: they would be compiled without the vector instructions.
impl<T: Real> WithSimd for Head<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let shape = self.pages.shape();
        // Scores stand from the first page on that is seen; what is seen of it begins at `start`.
        let first_page = self.positions.start / PAGE;
        let before = first_page * PAGE;
        let (start, end) = (self.positions.start - before, self.positions.end - before);
        let pages = end.div_ceil(PAGE);
        let group = self.queries.len() / shape.key_dim;
        self.scores.resize(group * pages * PAGE, T::zero());
        for page in 0..pages {
            let keys = self.pages.keys(first_page + page, self.layer, self.kv_head);
            let queries = self.queries.chunks_exact(shape.key_dim);
            for (query, scores) in queries.zip(self.scores.chunks_exact_mut(pages * PAGE)) {
                scores[page * PAGE..][..PAGE].copy_from_slice(&score(query, keys));
            }
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
            let values = self
                .pages
                .values(first_page + page, self.layer, self.kv_head);
            let contexts = self.context.chunks_exact_mut(shape.value_dim);
            for (context, scores) in contexts.zip(self.scores.chunks_exact(pages * PAGE)) {
                let end = end.min((page + 1) * PAGE);
                average(&scores[page * PAGE..end], values, context);
            }
        }
    }
}

/// The scores of a page, whose keys stand as `[head_dim, PAGE]`. Four sums, because a vector unit
/// needs several additions in flight.
#[inline(always)]
fn score<T: Real>(query: &[T], keys: &[T]) -> [T; PAGE] {
    let mut sums = [[T::zero(); PAGE]; 4];
    let (keys, _) = keys.as_chunks::<PAGE>();
    let (quads, rest) = query.as_chunks::<4>();
    let (key_quads, key_rest) = keys.as_chunks::<4>();
    for (query, keys) in quads.iter().zip(key_quads) {
        for i in 0..4 {
            for j in 0..PAGE {
                sums[i][j] = query[i].mul_add(keys[i][j], sums[i][j]);
            }
        }
    }
    for (query, keys) in rest.iter().zip(key_rest) {
        for j in 0..PAGE {
            sums[0][j] = query.mul_add(keys[j], sums[0][j]);
        }
    }
    let mut scores = [T::zero(); PAGE];
    for j in 0..PAGE {
        scores[j] = (sums[0][j] + sums[1][j]) + (sums[2][j] + sums[3][j]);
    }
    scores
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

/// context += the scores of a page times its values, which stand as `[PAGE, head_dim]`.
#[inline(always)]
fn average<T: Real>(scores: &[T], values: &[T], context: &mut [T]) {
    let dim = context.len();
    let (blocks, rest) = context.as_chunks_mut::<LANES>();
    let in_blocks = blocks.len() * LANES;
    for (block, sums) in blocks.iter_mut().enumerate() {
        let mut own = *sums;
        for (score, values) in scores.iter().zip(values.chunks_exact(dim)) {
            if let Some(values) = values[block * LANES..].first_chunk::<LANES>() {
                for j in 0..LANES {
                    own[j] = score.mul_add(values[j], own[j]);
                }
            }
        }
        *sums = own;
    }
    for (score, values) in scores.iter().zip(values.chunks_exact(dim)) {
        for (sum, value) in rest.iter_mut().zip(&values[in_blocks..]) {
            *sum = score.mul_add(*value, *sum);
        }
    }
}

const LANES: usize = 16;
/// Below this many multiplications, waking another core takes longer than the work.
const PARALLEL_FROM: usize = 1 << 18;
