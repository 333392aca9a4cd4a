use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

/// Which homophone stands at each place of a prompt: a function of the key and of everything up to that place, so that what two
/// prompts begin with has the same cipher ids in both.
///
/// ```text
/// h_0     = subkey("homophones/choice")
/// h_{t+1} = SHA-256(h_t || id_t)                                 id_t is the plain id, 4 bytes, little-endian
/// r_t     = the first 8 bytes of SHA-256(h_{t+1} || "choice")    little-endian
/// choice  = floor(r_t m / 2^64)                                  of m homophones; off the uniform by less than m / 2^64
/// ```
///
/// A secret first block and messages of two fixed lengths: without the subkey the choices look random.
pub(crate) struct HomophoneChain {
    state: Zeroizing<[u8; 32]>,
}

impl HomophoneChain {
    /// h_0, at the beginning of a prompt.
    pub(crate) fn new(subkey: &[u8; 32]) -> Self {
        Self {
            state: Zeroizing::new(*subkey),
        }
    }

    /// Goes on behind a plain id.
    pub(crate) fn push(&mut self, plain: u32) {
        let next = Sha256::new()
            .chain_update(*self.state)
            .chain_update(plain.to_le_bytes())
            .finalize();
        self.state.copy_from_slice(&next);
    }

    /// Which of the `count` homophones of the id that was pushed last: below `count`, which is at least 1.
    pub(crate) fn choose(&self, count: usize) -> usize {
        if count == 1 {
            return 0;
        }
        let hash = Sha256::new()
            .chain_update(*self.state)
            .chain_update(b"choice")
            .finalize();
        let random = (hash.iter().take(8).rev()).fold(0, |r, byte| r << 8 | u128::from(*byte));
        ((random * count as u128) >> 64) as usize
    }
}
