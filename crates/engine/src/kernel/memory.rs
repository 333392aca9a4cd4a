//! Where numbers lie, and when they are fetched.

use super::Real;
use super::real::Weight;

/// Numbers that start at a cache line: a register that lies across two takes twice as long to load.
pub(crate) struct Aligned<V> {
    room: Vec<V>,
    start: usize,
    len: usize,
}

impl<V: Copy + Default> Aligned<V> {
    /// Zeros.
    pub(crate) fn new(len: usize) -> Self {
        let line = CACHE_LINE / size_of::<V>();
        let room = vec![V::default(); len + line];
        let start = room.as_ptr().align_offset(CACHE_LINE).min(line);
        Self { room, start, len }
    }

    pub(crate) fn values(&self) -> &[V] {
        &self.room[self.start..][..self.len]
    }

    pub(crate) fn values_mut(&mut self) -> &mut [V] {
        &mut self.room[self.start..][..self.len]
    }
}

/// `len` numbers of `room`, which grows if it must, from a cache line on. What they are is arbitrary.
pub(super) fn part<T: Real>(room: &mut Vec<T>, len: usize) -> &mut [T] {
    let line = CACHE_LINE / size_of::<T>();
    if room.len() < len + line {
        room.resize(len + line, T::zero());
    }
    let start = room.as_ptr().align_offset(CACHE_LINE).min(line);
    &mut room[start..][..len]
}

/// Reads a number of each cache line, so that many of them are on their way from the memory at once.
/// Loads that stand among multiplications are too few at a time, where the processor does not guess
/// them: eight rows of x take 40 % longer without this.
#[inline(always)]
pub(super) fn touch<T: Real, W: Weight<T>>(values: &[W]) {
    let mut sum = T::zero();
    for line in values.chunks(CACHE_LINE / size_of::<W>()) {
        sum += line[0].value();
    }
    std::hint::black_box(sum);
}

const CACHE_LINE: usize = 64;
