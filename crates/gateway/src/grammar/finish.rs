use std::collections::HashMap;

use llguidance::Matcher;

use super::guard::Guard;
use super::{as_ids, broken};
use crate::Error;

/// Bytes that complete the answer, if they are found. Not the fewest, but near: what is open is
/// closed as soon as the grammar lets it.
///
/// Where nothing can be closed, the same place never gets the same byte twice before it got every
/// other, so a repetition is left. A place is known by the bytes that may come next.
pub(super) fn completion(matcher: &Matcher, mut guard: Guard) -> Result<Option<Vec<u8>>, Error> {
    let mut matcher = matcher.clone();
    let mut bytes = Vec::new();
    let mut inside = HashMap::new();
    let mut outside = HashMap::new();
    while bytes.len() < LONGEST {
        if matcher.is_accepting().map_err(broken)? {
            return Ok(Some(bytes));
        }
        let mask = matcher.compute_mask().map_err(broken)?;
        let in_string = guard.in_string();
        if !in_string {
            inside.clear();
        }
        let places = if in_string { &mut inside } else { &mut outside };
        let visits = places.entry(mask.as_slice().to_vec());
        let visits: &mut [u16; 256] = visits.or_insert([0; 256]);
        let next = (0..=u8::MAX)
            .filter(|byte| mask.is_allowed((*byte).into()) && guard.clone().feed(&[*byte]))
            .min_by_key(|byte| {
                let count = visits[usize::from(*byte)];
                (opens(*byte, in_string), count, rank(*byte, in_string))
            });
        let Some(next) = next else {
            return Ok(None);
        };
        visits[usize::from(next)] += 1;
        guard.feed(&[next]);
        matcher.consume_tokens(&as_ids(&[next])).map_err(broken)?;
        bytes.push(next);
    }
    Ok(None)
}

/// What ends a string, a value or a list comes before everything else.
fn opens(byte: u8, in_string: bool) -> u8 {
    match (byte, in_string) {
        (b'"', true) | (b'}' | b']', false) => 0,
        (b',' | b':', false) => 1,
        _ => 2,
    }
}

/// The order in which bytes are tried: outside strings what is short, inside what is plain.
fn rank(byte: u8, in_string: bool) -> (usize, u8) {
    let order: &[u8] = if in_string { b"" } else { b"\"0123456789ntf" };
    let listed = order.iter().position(|listed| *listed == byte);
    let class = match byte {
        b'a'..=b'z' => 0,
        b'A'..=b'Z' | b'0'..=b'9' => 1,
        b'\\' => 3,
        b'!'..=b'~' => 2,
        _ => 4,
    };
    (listed.unwrap_or(order.len() + class), byte)
}

/// Bounds the work: each byte takes about as long as one id.
const LONGEST: usize = 16 << 10;
