//! Sums and maxima of rows, many partial ones side by side: one after the other each would wait for the last.

/// The sum of all values.
pub(super) fn sum(values: &[f32]) -> f32 {
    let (whole, rest) = values.as_chunks::<LANES>();
    let mut sums = [0.0f32; LANES];
    for chunk in whole {
        sums.iter_mut()
            .zip(chunk)
            .for_each(|(sum, value)| *sum += value);
    }
    sums.iter().chain(rest).sum()
}

/// The sum of the products of two rows.
pub(super) fn dot(a: &[f32], b: &[f32]) -> f32 {
    let ((a, a_rest), (b, b_rest)) = (a.as_chunks::<LANES>(), b.as_chunks::<LANES>());
    let mut sums = [0.0f32; LANES];
    for (a, b) in a.iter().zip(b) {
        let products = a.iter().zip(b).map(|(a, b)| a * b);
        sums.iter_mut()
            .zip(products)
            .for_each(|(sum, product)| *sum += product);
    }
    let rest = a_rest.iter().zip(b_rest).map(|(a, b)| a * b);
    sums.into_iter().chain(rest).sum()
}

/// The largest value; minus infinity if there is none.
pub(super) fn most(values: &[f32]) -> f32 {
    last(values, f32::NEG_INFINITY, |value, most| value > most)
}

/// The smallest value; infinity if there is none.
pub(super) fn least(values: &[f32]) -> f32 {
    last(values, f32::INFINITY, |value, least| value < least)
}

fn last(values: &[f32], worst: f32, is_better: impl Fn(f32, f32) -> bool) -> f32 {
    let (whole, rest) = values.as_chunks::<LANES>();
    let mut best = [worst; LANES];
    let better = |best: f32, value: f32| match is_better(value, best) {
        true => value,
        false => best,
    };
    for chunk in whole {
        best.iter_mut()
            .zip(chunk)
            .for_each(|(best, value)| *best = better(*best, *value));
    }
    let all = best.into_iter().chain(rest.iter().copied());
    all.fold(worst, better)
}

const LANES: usize = 16;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn of_whole_numbers_they_are_exact(values in prop::collection::vec((-99i32..99, -99i32..99), 0..70)) {
            let (a, b): (Vec<f32>, Vec<f32>) = values.iter().map(|(a, b)| (*a as f32, *b as f32)).unzip();
            prop_assert_eq!(sum(&a), values.iter().map(|(a, _)| a).sum::<i32>() as f32);
            prop_assert_eq!(dot(&a, &b), values.iter().map(|(a, b)| a * b).sum::<i32>() as f32);
            let largest = values.iter().map(|(a, _)| *a as f32).fold(f32::NEG_INFINITY, f32::max);
            prop_assert_eq!(most(&a), largest);
            let smallest = values.iter().map(|(a, _)| *a as f32).fold(f32::INFINITY, f32::min);
            prop_assert_eq!(least(&a), smallest);
        }
    }
}
