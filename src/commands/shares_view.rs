//! What hosts of shares see, in words.

use equicrypt_ring::Residues;
use equicrypt_ring::wire::{MULTIPLY_HEAD, MULTIPLY_MASK_BYTES, PRODUCT_HEAD};
use equicrypt_shares::Seen;

/// What one host was sent and what it answered, as text, with the bytes that they were.
pub(super) struct View {
    pub(super) sent: (String, usize),
    pub(super) received: (String, usize),
}

impl View {
    pub(super) fn of_a(seen: &Seen<'_>) -> Self {
        let vectors = seen.to_a.rows();
        let asked = format!(
            "{}: {vectors} {} of {} pairs of residues\n{}",
            seen.name,
            plural(vectors, "vector", "vectors"),
            seen.to_a.width(),
            numbers(seen.to_a),
        );
        Self {
            sent: (asked, MULTIPLY_HEAD + bytes(seen.to_a)),
            received: (numbers(seen.from_a), PRODUCT_HEAD + bytes(seen.from_a)),
        }
    }

    pub(super) fn of_b(seen: &Seen<'_>) -> Self {
        let counters = match seen.to_b {
            [] => String::new(),
            [one] => format!("mask {one}"),
            [first, .., last] => format!("masks {first} to {last}"),
        };
        Self {
            sent: (format!("{}: {counters}", seen.name), MULTIPLY_MASK_BYTES),
            received: (numbers(seen.from_b), PRODUCT_HEAD + bytes(seen.from_b)),
        }
    }
}

fn plural(count: usize, one: &'static str, many: &'static str) -> &'static str {
    if count == 1 { one } else { many }
}

fn bytes(residues: &Residues) -> usize {
    size_of_val(residues.values())
}

/// The first residues of the first vector, modulo the first prime.
fn numbers(residues: &Residues) -> String {
    let first = match residues.rows() {
        0 => &[],
        _ => residues.row(0)[0],
    };
    let mut text: Vec<String> = first.iter().take(SHOWN).map(u32::to_string).collect();
    if first.len() > SHOWN {
        text.push("...".into());
    }
    text.join(" ")
}

const SHOWN: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn views_have_what_was_sent_and_its_size() {
        let mut vector = Residues::zeros(1, 9);
        vector.row_mut(0)[0].copy_from_slice(&[1, 2, 3, 4, 5, 6, 7, 8, 9]);
        let other = Residues::zeros(1, 2);
        let seen = Seen {
            layer: 3,
            name: "gate",
            to_b: &[7, 8],
            to_a: &vector,
            from_a: &other,
            from_b: &other,
        };
        let a = View::of_a(&seen);
        assert!(a.sent.0.starts_with("gate: 1 vector of 9"));
        assert!(a.sent.0.ends_with("\n1 2 3 4 5 6 7 8 ..."), "{}", a.sent.0);
        assert_eq!((a.sent.1, a.received.1), (24 + 72, 20 + 16));
        assert_eq!(View::of_b(&seen).sent.0, "gate: masks 7 to 8");
    }
}
