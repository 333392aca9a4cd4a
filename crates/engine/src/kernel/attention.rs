use pulp::Arch;
use rayon::prelude::*;

use super::Real;
use crate::decoder::{PAGE, Pages};

/// The queries of one sequence's new tokens, and where their contexts go.
pub(crate) struct Attention<'a, T> {
    /// `[n, heads, head_dim]`, rotated, and scaled by 1 / sqrt(head_dim).
    pub(crate) queries: &'a [T],
    /// Keys and values of all positions up to the last query's.
    pub(crate) pages: &'a Pages<T>,
    /// The position of the first query.
    pub(crate) first: usize,
    /// `[n, heads, head_dim]`.
    pub(crate) context: &'a mut [T],
}

/// softmax(q K^T) V for each query over the positions up to its own. Query heads `h` of the same
/// `h / group` share a key/value head. O(positions) a query.
pub(crate) fn attend<T: Real>(sequences: &mut [Attention<'_, T>], layer: usize, group: usize) {
    let arch = Arch::new();
    let work: usize = sequences.iter().map(Attention::work).sum();
    let each = |sequence: &mut Attention<'_, T>, parallel: bool| {
        let shape = sequence.pages.shape();
        let width = group * shape.head_dim;
        let (queries, pages, first) = (sequence.queries, sequence.pages, sequence.first);
        let one = |scores: &mut Vec<T>, (index, context): (usize, &mut [T])| {
            let positions = first + index / shape.kv_heads + 1;
            let heads = || pages.head(layer, index % shape.kv_heads);
            let queries = &queries[index * width..][..width];
            arch.dispatch(|| {
                let heads_of = queries.chunks_exact(shape.head_dim);
                for (query, context) in heads_of.zip(context.chunks_exact_mut(shape.head_dim)) {
                    score(query, heads(), positions, scores);
                    let total = soften(scores);
                    average(scores, heads(), context);
                    for value in context.iter_mut() {
                        *value /= total;
                    }
                }
            });
        };
        if parallel {
            let tasks = sequence.context.par_chunks_exact_mut(width).enumerate();
            tasks.for_each_init(Vec::new, one);
        } else {
            let mut scores = Vec::new();
            for task in sequence.context.chunks_exact_mut(width).enumerate() {
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

/// scores = q K^T over the first `positions`.
#[inline(always)]
fn score<'a, T: Real>(
    query: &[T],
    head: impl Iterator<Item = (&'a [T], &'a [T])>,
    positions: usize,
    scores: &mut Vec<T>,
) {
    scores.clear();
    for (keys, _) in head.take(positions.div_ceil(PAGE)) {
        scores.extend_from_slice(&score_page(query, keys));
    }
    scores.truncate(positions);
}

/// The scores of a page, whose keys stand as `[head_dim, PAGE]`. Four sums, because a vector unit
/// needs several additions in flight.
#[inline(always)]
fn score_page<T: Real>(query: &[T], keys: &[T]) -> [T; PAGE] {
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
    std::array::from_fn(|j| (sums[0][j] + sums[1][j]) + (sums[2][j] + sums[3][j]))
}

/// scores = exp(scores - max); returns their sum.
#[inline(always)]
fn soften<T: Real>(scores: &mut [T]) -> T {
    let Some(&first) = scores.first() else {
        return T::one();
    };
    let max = scores
        .iter()
        .fold(first, |max, score| Real::max(max, *score));
    let mut total = T::zero();
    for score in scores {
        *score = (*score - max).exp();
        total += *score;
    }
    total
}

/// context = sum of scores times values, whose pages stand as `[PAGE, head_dim]`.
#[inline(always)]
fn average<'a, T: Real>(
    scores: &[T],
    head: impl Iterator<Item = (&'a [T], &'a [T])>,
    context: &mut [T],
) {
    let dim = context.len();
    context.fill(T::zero());
    for (scores, (_, values)) in scores.chunks(PAGE).zip(head) {
        let (blocks, rest) = context.as_chunks_mut::<LANES>();
        let in_blocks = blocks.len() * LANES;
        for (block, sums) in blocks.iter_mut().enumerate() {
            for (score, values) in scores.iter().zip(values.chunks_exact(dim)) {
                if let Some(values) = values[block * LANES..].first_chunk::<LANES>() {
                    for j in 0..LANES {
                        sums[j] = score.mul_add(values[j], sums[j]);
                    }
                }
            }
        }
        for (score, values) in scores.iter().zip(values.chunks_exact(dim)) {
            for (sum, value) in rest.iter_mut().zip(&values[in_blocks..]) {
                *sum = score.mul_add(*value, *sum);
            }
        }
    }
}

const LANES: usize = 16;
/// Below this many multiplications, waking another core takes longer than the work.
const PARALLEL_FROM: usize = 1 << 18;
