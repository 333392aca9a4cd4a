#![allow(unsafe_code)]

use std::marker::PhantomData;

/// Neighbouring cache lines that will be wanted soon.
#[derive(Clone, Copy)]
pub struct Lines<'a> {
    start: *const u8,
    count: usize,
    of: PhantomData<&'a [u8]>,
}

impl<'a> Lines<'a> {
    /// None.
    pub fn none() -> Self {
        Self::of::<u8>(&[])
    }

    /// Those in which `values` lie.
    #[inline(always)]
    pub fn of<V>(values: &'a [V]) -> Self {
        Self {
            start: values.as_ptr().cast(),
            count: size_of_val(values).div_ceil(LINE),
            of: PhantomData,
        }
    }

    /// One of so many equal parts of them.
    #[inline(always)]
    pub fn part(self, index: usize, parts: usize) -> Self {
        let size = self.count.div_ceil(parts.max(1));
        let first = (index * size).min(self.count);
        Self {
            start: self.start.wrapping_add(first * LINE),
            count: size.min(self.count - first),
            of: PhantomData,
        }
    }

    /// How many in each of so many steps.
    #[inline(always)]
    pub fn in_each_of(self, steps: usize) -> usize {
        self.count.div_ceil(steps.max(1))
    }

    /// By how many bytes to go on in each of so many steps.
    #[inline(always)]
    pub fn stride(self, steps: usize) -> usize {
        (self.count * LINE).div_ceil(steps.max(1))
    }

    /// Asks for one of them, without waiting for it; does nothing if there are not so many, or where the processor has no such
    /// instruction.
    #[inline(always)]
    pub fn fetch(self, index: usize) {
        self.fetch_at(index * LINE);
    }

    /// The same for all of them.
    #[inline(always)]
    pub fn fetch_all(self) {
        for index in 0..self.count {
            fetch(self.start.wrapping_add(index * LINE));
        }
    }

    /// The same for the one at so many bytes from the first.
    #[inline(always)]
    pub fn fetch_at(self, offset: usize) {
        if offset < self.count * LINE {
            fetch(self.start.wrapping_add(offset));
        }
    }
}

#[cfg(target_arch = "x86_64")]
#[inline(always)]
fn fetch(address: *const u8) {
    use std::arch::x86_64::{_MM_HINT_T1, _mm_prefetch};
    // SAFETY: the instruction is part of every x86-64 processor, gives nothing back, and neither faults nor changes memory,
    // whatever the address: it is never read from here.
    unsafe { _mm_prefetch::<_MM_HINT_T1>(address.cast()) };
}

#[cfg(not(target_arch = "x86_64"))]
#[inline(always)]
fn fetch(_: *const u8) {}

const LINE: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_all_of_it_once() {
        let values = vec![1u16; 1_000];
        let all = Lines::of(&values);
        for parts in 1..40 {
            let mut place = all.start;
            let mut count = 0;
            for part in (0..parts).map(|index| all.part(index, parts)) {
                assert!(part.count == 0 || part.start == place);
                place = part.start.wrapping_add(part.count * LINE);
                count += part.count;
                // Nothing can be seen of it but that it does no harm, beyond the end neither.
                (0..part.in_each_of(3) * 4).for_each(|index| part.fetch(index));
            }
            assert_eq!((count, all.count), (32, 32));
        }
        Lines::none().fetch(0);
        assert!(values.iter().all(|value| *value == 1));
    }
}
