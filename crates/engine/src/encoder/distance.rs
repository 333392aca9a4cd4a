use crate::kernel::{Matrix, Real};

/// For each head, the bias of `j - i` at `most - 1 + j - i`, of texts of up to `most` tokens; `table` is `[classes, heads]`.
pub(super) fn biases<T: Real>(table: &Matrix<T>, most: usize) -> Vec<Vec<T>> {
    let heads = table.columns();
    let mut by_head = vec![Vec::with_capacity(2 * most); heads];
    let mut row = Vec::new();
    for place in 0..2 * most - 1 {
        row.clear();
        table.append_row(class(place as i64 - (most as i64 - 1)), &mut row);
        for (list, bias) in by_head.iter_mut().zip(&row) {
            list.push(*bias);
        }
    }
    by_head
}

/// The class of a distance j - i: 16 for tokens behind and 16 for tokens before, each the first eight distances and then
/// eight ranges that grow by the same factor, up to 128 (Raffel et al., arXiv 1910.10683, section 2.1; transformers'
/// `MPNetEncoder.relative_position_bucket`).
fn class(distance: i64) -> usize {
    let size = distance.unsigned_abs() as usize;
    let within = if size < EXACT {
        size
    } else {
        let share = (size as f64 / EXACT as f64).ln() / (FARTHEST / EXACT as f64).ln();
        (EXACT + (share * EXACT as f64) as usize).min(EACH_WAY - 1)
    };
    if distance > 0 {
        EACH_WAY + within
    } else {
        within
    }
}

/// Classes that there must be.
pub(super) const CLASSES: usize = 2 * EACH_WAY;
const EACH_WAY: usize = 16;
const EXACT: usize = 8;
const FARTHEST: f64 = 128.0;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_distances_are_exact_and_far_ones_are_not() {
        assert_eq!([-7, -1, 0, 1, 7].map(class), [7, 1, 0, 17, 23]);
        assert_eq!(
            [8, 11, 12, 127, 128, 500].map(class),
            [24, 24, 25, 31, 31, 31]
        );
        assert_eq!(class(-500), 15);
    }
}
