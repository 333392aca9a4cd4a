//! Drawing a secret from a group.

use equicrypt_spec::{Group, Mix, PermutationPart, RopeLayout, ScalePart, SignPart};

use crate::element::{Block, Element, Step};
use crate::linear_algebra::{haar, mean_keeping};
use crate::rng::SecretRng;

/// A random element of `group` on `size` coordinates whose planes, if it has any, are those of `layout`.
///
/// `Mix::Orthogonal` draws a product of rounds, each a uniformly random permutation and then Haar-distributed blocks of
/// [`BLOCK`] coordinates; there are as many rounds as it takes for every coordinate to reach every other, so a dense
/// vector costs 2 * BLOCK * rounds FLOPs a coordinate in place of 2 * size. On at most BLOCK coordinates this is the Haar
/// measure of O(size). `Mix::MeanKeeping` does the same with blocks that keep the vector of ones.
pub(crate) fn draw(rng: &mut SecretRng, group: Group, size: usize, layout: RopeLayout) -> Element {
    let mut steps = Vec::new();
    match group.mix {
        Mix::Orthogonal => {
            for _ in 0..rounds(size) {
                steps.push(monomial(rng.permutation(size), vec![1.0; size]));
                let blocks = blocks(size).map(|block| Block {
                    matrix: haar(rng, block.len()),
                    coordinates: block,
                });
                steps.push(Step::Blocks(blocks.collect()));
            }
        }
        Mix::MeanKeeping => {
            for _ in 0..rounds(size) {
                steps.push(monomial(rng.permutation(size), vec![1.0; size]));
                let blocks = blocks(size).map(|block| Block {
                    matrix: mean_keeping(rng, block.len()),
                    coordinates: block,
                });
                steps.push(Step::Blocks(blocks.collect()));
            }
        }
        Mix::PairRotations => {
            let turns = (0..size / 2).map(|pair| {
                let (a, b) = layout.plane(pair, size);
                rotation(rng, a as u32, b as u32)
            });
            steps.push(Step::Blocks(turns.collect()));
        }
        Mix::QuarterTurns => steps.push(quarter_turns(rng, size, layout)),
        Mix::Trivial => {}
    }
    let permutation = match group.permutation {
        PermutationPart::Full => rng.permutation(size),
        PermutationPart::Trivial => (0..size as u32).collect(),
    };
    let mut factor = vec![1.0; size];
    match group.sign {
        SignPart::Coordinate => factor.iter_mut().for_each(|f| *f *= rng.sign()),
        SignPart::Pair => each_plane(size, layout, &mut factor, || rng.sign()),
        SignPart::Trivial => {}
    }
    match group.scale {
        ScalePart::Coordinate => factor.iter_mut().for_each(|f| *f *= scale(rng)),
        ScalePart::Pair => each_plane(size, layout, &mut factor, || scale(rng)),
        ScalePart::Trivial => {}
    }
    steps.push(monomial(permutation, factor));
    Element::new(size, steps)
}

fn monomial(source: Vec<u32>, factor: Vec<f64>) -> Step {
    Step::Monomial { source, factor }
}

/// The least r with BLOCK^r >= size, and one more where mixing takes several, so that no block structure shows through.
fn rounds(size: usize) -> usize {
    let mut rounds = 1;
    let mut reach = BLOCK;
    while reach < size {
        reach = reach.saturating_mul(BLOCK);
        rounds += 1;
    }
    if rounds == 1 { 1 } else { rounds + 1 }
}

/// The coordinates of each block.
fn blocks(size: usize) -> impl Iterator<Item = Vec<u32>> {
    (0..size)
        .step_by(BLOCK)
        .map(move |start| (start as u32..(start + BLOCK).min(size) as u32).collect())
}

/// A uniformly random turn of the plane (a, b): a Gaussian vector, normalised, is (cos, sin).
fn rotation(rng: &mut SecretRng, a: u32, b: u32) -> Block {
    let (x, y) = rng.gaussian_pair();
    let norm = (x * x + y * y).sqrt();
    let (cos, sin) = (x / norm, y / norm);
    Block {
        coordinates: vec![a, b],
        matrix: vec![cos, -sin, sin, cos],
    }
}

/// Each plane turned by 0, 90, 180 or 270 degrees: (a, b), (-b, a), (-a, -b), (b, -a).
fn quarter_turns(rng: &mut SecretRng, size: usize, layout: RopeLayout) -> Step {
    let mut source: Vec<u32> = (0..size as u32).collect();
    let mut factor = vec![1.0; size];
    for pair in 0..size / 2 {
        let (a, b) = layout.plane(pair, size);
        let turns = rng.below(4);
        if turns % 2 == 1 {
            source.swap(a, b);
        }
        (factor[a], factor[b]) = match turns {
            0 => (1.0, 1.0),
            1 => (-1.0, 1.0),
            2 => (-1.0, -1.0),
            _ => (1.0, -1.0),
        };
    }
    monomial(source, factor)
}

fn each_plane(size: usize, layout: RopeLayout, factor: &mut [f64], mut value: impl FnMut() -> f64) {
    for pair in 0..size / 2 {
        let (a, b) = layout.plane(pair, size);
        let value = value();
        factor[a] *= value;
        factor[b] *= value;
    }
}

/// 1/2, 1 or 2: enough to hide a neuron's scale among its neighbours', small enough that a tensor quantised after
/// encryption keeps its blocks' dynamic range.
fn scale(rng: &mut SecretRng) -> f64 {
    [0.5, 1.0, 2.0][rng.below(3) as usize]
}

/// Coordinates that one block of a round mixes.
const BLOCK: usize = 16;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::rewrite::Action;

    fn groups() -> Vec<Group> {
        vec![
            Group::PERMUTATION,
            Group::SIGNED_PERMUTATION,
            Group::MONOMIAL,
            Group::ORTHOGONAL,
            Group::UNRESTRICTED,
            Group::MEAN_KEEPING,
            Group::PAIR_ROTATION,
            Group::PAIR_ROTATION.monomial(),
        ]
    }

    fn apply(element: &Element, x: &[f64]) -> Vec<f64> {
        let mut out = x.to_vec();
        Action::<f64>::new(element).apply(&mut out, 1);
        out
    }

    fn dot(a: &[f64], b: &[f64]) -> f64 {
        a.iter().zip(b).map(|(a, b)| a * b).sum()
    }

    proptest! {
        /// (M x) . (M^-T y) = x . y: what makes a rewritten layer cancel what the layer before it did.
        #[test]
        fn an_element_and_its_dual_cancel(seed: [u8; 32], half in 1usize..40, which in 0usize..8) {
            let size = 2 * half;
            let element = draw(&mut SecretRng::new(&seed), groups()[which], size, RopeLayout::Halves);
            let x: Vec<f64> = (0..size).map(|i| (i as f64 * 0.7).sin()).collect();
            let y: Vec<f64> = (0..size).map(|i| (i as f64 * 1.3).cos()).collect();
            let product = dot(&apply(&element, &x), &apply(&element.dual(), &y));
            prop_assert!((product - dot(&x, &y)).abs() < 1e-11);
        }

        /// Isometries keep lengths; with scales they stay within a factor of two.
        #[test]
        fn elements_are_well_conditioned(seed: [u8; 32], half in 1usize..40, which in 0usize..8) {
            let size = 2 * half;
            let group = groups()[which];
            let element = draw(&mut SecretRng::new(&seed), group, size, RopeLayout::Halves);
            let x: Vec<f64> = (0..size).map(|i| (i as f64 * 0.7).sin()).collect();
            let ratio = (dot(&apply(&element, &x), &apply(&element, &x)) / dot(&x, &x)).sqrt();
            let bound = if group.scale == ScalePart::Trivial { 1.0 } else { 2.0 };
            prop_assert!(ratio < bound + 1e-12 && ratio > 1.0 / bound - 1e-12, "ratio {}", ratio);
        }
    }

    #[test]
    fn means_are_kept_where_they_must_be() {
        for size in [1, 2, 17, 33, 300] {
            let rng = &mut SecretRng::new(&[4; 32]);
            let element = draw(rng, Group::MEAN_KEEPING, size, RopeLayout::Halves);
            for one in apply(&element, &vec![1.0; size]) {
                assert!((one - 1.0).abs() < 1e-12, "size {size}: {one}");
            }
        }
    }

    #[test]
    fn every_coordinate_reaches_every_other() {
        for group in [Group::ORTHOGONAL, Group::MEAN_KEEPING] {
            reaches_everywhere(group);
        }
    }

    fn reaches_everywhere(group: Group) {
        let size = 576;
        let rng = &mut SecretRng::new(&[3; 32]);
        let element = draw(rng, group, size, RopeLayout::Halves);
        for unit in [0, 17, 575] {
            let mut x = vec![0.0; size];
            x[unit] = 1.0;
            let image = apply(&element, &x);
            assert!(image.iter().filter(|v| v.abs() < 1e-9).count() <= 2);
            let largest = image.iter().fold(0f64, |m, v| m.max(v.abs()));
            assert!(largest < 0.4, "a coordinate stays visible: {largest}");
        }
    }
}
