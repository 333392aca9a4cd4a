use equicrypt_spec::{Group, RopeLayout};
use proptest::prelude::*;

use super::*;
use crate::rng::SecretRng;
use crate::sample::draw;

/// An element that has every kind of step: parts that are mixed, parts that are not, and a permutation of all.
fn element(rng: &mut SecretRng, parts: &[usize]) -> Element {
    let groups = [
        Group::ORTHOGONAL,
        Group::MONOMIAL,
        Group::PAIR_ROTATION,
        Group::MEAN_KEEPING,
    ];
    let members: Vec<Element> = (parts.iter().enumerate())
        .map(|(index, size)| {
            let group = groups[index % groups.len()];
            draw(rng, group, 2 * size, RopeLayout::Halves)
        })
        .collect();
    Element::sum(&members.iter().collect::<Vec<_>>())
}

fn values<T: Real>(rng: &mut SecretRng, count: usize) -> Vec<T> {
    let value = |_| T::from_f64(rng.gaussian_pair().0);
    (0..count).map(value).collect()
}

fn rows_are_transformed_as_one_by_one<T: Real>(seed: &[u8; 32], parts: &[usize], rows: usize) {
    let rng = &mut SecretRng::new(seed);
    let element = element(rng, parts);
    let action = Action::<T>::new(&element);
    let mut matrix = values::<T>(rng, rows * element.size());
    let mut expected = matrix.clone();
    for row in expected.chunks_exact_mut(element.size()) {
        action.apply(row, 1);
    }
    action.apply_to_rows(&mut matrix, &mut Scratch::default());
    let same = |a: &T, b: &T| a.to_f64().to_bits() == b.to_f64().to_bits();
    assert!(matrix.iter().zip(&expected).all(|(a, b)| same(a, b)));
}

proptest! {
    /// Sixteen at once and one by one are the same to the last bit, or a folder would depend on the machine.
    #[test]
    fn lines_are_bit_identical(
        seed: [u8; 32],
        parts in prop::collection::vec(1usize..50, 1..6),
        rows in 0usize..40,
    ) {
        rows_are_transformed_as_one_by_one::<f32>(&seed, &parts, rows);
        rows_are_transformed_as_one_by_one::<f64>(&seed, &parts, rows);
    }
}

#[test]
fn nothing_to_do_is_a_permutation() {
    let action = Action::<f32>::new(&Element::identity(3));
    assert_eq!(action.as_monomial(), Some((&[0, 1, 2][..], &[1.0; 3][..])));
}
