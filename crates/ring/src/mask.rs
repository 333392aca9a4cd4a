use chacha20::ChaCha20Rng;
use chacha20::rand_core::{Rng, SeedableRng};
use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::{PRIMES, Residues};

/// Bytes of a seed.
pub const SEED_BYTES: usize = 32;

/// What the masks of one session are made of: a key of ChaCha20. It lives in memory alone, cannot be printed or copied, and is
/// erased when it is dropped.
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct MaskSeed([u8; SEED_BYTES]);

impl MaskSeed {
    /// Of bytes that nobody else has.
    #[must_use]
    pub fn from_bytes(bytes: [u8; SEED_BYTES]) -> Self {
        Self(bytes)
    }

    /// The one form in which it leaves: to the host that computes the masks' share.
    #[must_use]
    pub fn expose(&self) -> &[u8; SEED_BYTES] {
        &self.0
    }
}

/// The masks of vectors: for each counter the stream of ChaCha20 under the seed with that nonce of 64 bits, cut into words of
/// 31 bits (the highest bit is dropped). The words below the first prime are the residues modulo that, as many as `out` is
/// wide; the words below the second that follow, the residues modulo this. So each is uniform. Row i has the counter
/// `first + i`, or the one of `counters`.
pub fn expand(seed: &MaskSeed, counters: impl IntoIterator<Item = u64>, out: &mut Residues) {
    let width = out.width();
    let mut rng = ChaCha20Rng::from_seed(seed.0);
    for (row, counter) in (0..out.rows()).zip(counters) {
        rng.set_stream(counter);
        rng.set_word_pos(0);
        let [first, second] = out.row_mut(row);
        let mut words = Words::new(&mut rng, 2 * width);
        for (half, prime) in [first, second].into_iter().zip(PRIMES) {
            words.fill(half, prime.get());
        }
    }
}

/// Words of a stream, most of them drawn at once.
struct Words<'a> {
    rng: &'a mut ChaCha20Rng,
    drawn: Vec<u8>,
    used: usize,
}

impl<'a> Words<'a> {
    fn new(rng: &'a mut ChaCha20Rng, count: usize) -> Self {
        let mut drawn = vec![0; 4 * count];
        rng.fill_bytes(&mut drawn);
        Self {
            rng,
            drawn,
            used: 0,
        }
    }

    /// The next words that are below `bound`.
    fn fill(&mut self, out: &mut [u32], bound: u32) {
        let (words, _) = self.drawn[self.used..].as_chunks::<4>();
        if words.len() >= out.len() {
            let mut largest = 0;
            for (to, word) in out.iter_mut().zip(words) {
                *to = u32::from_le_bytes(*word) & LOW;
                largest = largest.max(*to);
            }
            if largest < bound {
                self.used += 4 * out.len();
                return;
            }
        }
        for to in out {
            *to = loop {
                let word = self.next();
                if word < bound {
                    break word;
                }
            };
        }
    }

    fn next(&mut self) -> u32 {
        let (words, _) = self.drawn[self.used..].as_chunks::<4>();
        let word = match words.first() {
            Some(word) => u32::from_le_bytes(*word),
            None => self.rng.next_u32(),
        };
        self.used = (self.used + 4).min(self.drawn.len());
        word & LOW
    }
}

const LOW: u32 = (1 << 31) - 1;

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use chacha20::cipher::{KeyIvInit, StreamCipher};

    use super::*;

    fn masks(seed: u8, counters: std::ops::Range<u64>, width: usize) -> Residues {
        let mut out = Residues::zeros((counters.end - counters.start) as usize, width);
        expand(&MaskSeed::from_bytes([seed; 32]), counters, &mut out);
        out
    }

    /// The stream of RFC 8439's cipher in its first form, with nonce and counter of 64 bits each.
    #[test]
    fn masks_are_the_keystream() {
        for counter in [0u64, 1, 77, u64::MAX] {
            let nonce = counter.to_le_bytes();
            let mut cipher = chacha20::ChaCha20Legacy::new(&[5; 32].into(), &nonce.into());
            let mut stream = vec![0; 4 * 600];
            cipher.apply_keystream(&mut stream);
            let mut out = Residues::zeros(1, 300);
            expand(&MaskSeed::from_bytes([5; 32]), [counter], &mut out);
            for (word, found) in stream.as_chunks::<4>().0.iter().zip(out.values()) {
                assert_eq!(u32::from_le_bytes(*word) & LOW, *found);
            }
        }
    }

    #[test]
    fn a_row_does_not_depend_on_its_company() {
        let together = masks(1, 10..20, 33);
        for row in 0..10 {
            let alone = masks(1, 10 + row..11 + row, 33);
            assert_eq!(together.row(row as usize), alone.row(0));
        }
    }

    #[test]
    fn no_block_comes_twice() {
        let mut seen = HashSet::new();
        for seed in 0..3 {
            let masks = masks(seed, 0..500, 40);
            for block in masks.values().chunks(8) {
                assert!(seen.insert(block.to_vec()));
            }
        }
    }

    /// With a bound that every other word misses.
    #[test]
    fn words_beyond_the_bound_are_skipped_and_none_is_taken_twice() {
        let mut rng = ChaCha20Rng::from_seed([9; 32]);
        let all: Vec<u32> = (0..400).map(|_| rng.next_u32() & LOW).collect();
        let mut rng = ChaCha20Rng::from_seed([9; 32]);
        let bound = 1 << 30;
        let mut found = [[0; 50]; 2];
        let mut words = Words::new(&mut rng, 100);
        for half in &mut found {
            words.fill(half, bound);
        }
        let expected: Vec<u32> = all.into_iter().filter(|w| *w < bound).take(100).collect();
        assert_eq!(found.concat(), expected);
    }
}
