//! Where numbers lie, and when they are fetched.

use super::Real;
use super::real::Weight;

/// A copy of `x` that starts at a cache line: a register that lies across two takes twice as long to
/// load.
pub(super) fn align<'a, T: Real>(x: &[T], room: &'a mut Vec<T>) -> &'a mut [T] {
    room.resize(x.len() + CACHE_LINE / size_of::<T>(), T::zero());
    let start = room
        .as_ptr()
        .align_offset(CACHE_LINE)
        .min(room.len() - x.len());
    let copy = &mut room[start..][..x.len()];
    copy.copy_from_slice(x);
    copy
}

/// Room for `len` zeros, and where in it a cache line starts.
pub(super) fn aligned<T: Real>(len: usize) -> (Vec<T>, usize) {
    let line = CACHE_LINE / size_of::<T>();
    let room = vec![T::zero(); len + line];
    let start = room.as_ptr().align_offset(CACHE_LINE).min(line);
    (room, start)
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
