//! How many homophones a plain id gets.

use equicrypt_cipher::{Allocation, Homophones};

use crate::Error;

/// m_i >= 1 for every plain id by the owner's own rule, on a text with these counts.
pub(super) fn allocate(counts: &[u32], extra: usize, rule: Allocation) -> Result<Vec<u32>, Error> {
    let weights: Vec<f64> = counts.iter().map(|count| f64::from(*count)).collect();
    Ok(Homophones::allocate(&weights, None, extra, rule)?.per_plain_id())
}
