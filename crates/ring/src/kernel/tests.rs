use proptest::prelude::*;

use super::*;

/// Weights of which some are as large as they get.
fn weights(outputs: usize, inputs: usize, seed: u64) -> IntegerWeights {
    IntegerWeights::quantise(outputs, inputs, |row, out| {
        out.extend((0..inputs as u64).map(|column| {
            let mixed = mix(seed, row as u64 * 65_537 + column);
            match mixed % 3 {
                0 => 1.0,
                1 => -1.0,
                _ => (mixed >> 11) as f64 * 2f64.powi(-53) - 0.5,
            }
        }));
    })
    .unwrap()
}

/// Residues of which some are the largest in size.
fn queries(rows: usize, width: usize, seed: u64) -> Residues {
    let mut queries = Residues::zeros(rows, width);
    for row in 0..rows {
        for (half, prime) in queries.row_mut(row).into_iter().zip(PRIMES) {
            for (i, value) in half.iter_mut().enumerate() {
                let mixed = mix(seed, (row * width + i) as u64);
                *value = match mixed % 4 {
                    0 => prime.get() / 2,
                    1 => prime.get() / 2 + 1,
                    2 => prime.get() - 1,
                    _ => (mixed >> 8) as u32 % prime.get(),
                };
            }
        }
    }
    queries
}

fn mix(seed: u64, place: u64) -> u64 {
    let z = (seed ^ place).wrapping_add(0x9e37_79b9_7f4a_7c15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

fn naive(weights: &IntegerWeights, queries: &Residues) -> Residues {
    let mut answers = Residues::zeros(queries.rows(), weights.outputs());
    for row in 0..queries.rows() {
        let halves = answers.row_mut(row).into_iter().zip(queries.row(row));
        for ((answers, query), prime) in halves.zip(PRIMES) {
            for (output, answer) in answers.iter_mut().enumerate() {
                let products = weights.row(output).iter().zip(query);
                let sum: i128 = products.map(|(w, q)| i128::from(*w) * i128::from(*q)).sum();
                *answer = sum.rem_euclid(i128::from(prime.get())) as u32;
            }
        }
    }
    answers
}

/// As every processor would pack them, and as this one does.
fn packed(weights: &IntegerWeights) -> Vec<PackedWeights> {
    let mut archs = vec![Arch::Scalar, Arch::new()];
    #[cfg(target_arch = "x86_64")]
    archs.extend(pulp::x86::V3::try_new().map(Arch::V3));
    let panels = archs.into_iter().map(|arch| {
        let panels = Kept::Panels(Panels::new(arch, weights));
        PackedWeights::of(panels, weights)
    });
    panels.chain([PackedWeights::new(weights)]).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn products_are_those_of_the_integers(
        rows in 0..12usize, inputs in 1..450usize, outputs in 1..40usize, seed: u64,
    ) {
        let (weights, queries) = (weights(outputs, inputs, seed), queries(rows, inputs, !seed));
        let expected = naive(&weights, &queries);
        for packed in packed(&weights) {
            let found = packed.times(&queries).unwrap();
            prop_assert_eq!(&found, &expected);
        }
    }
}

#[test]
fn the_largest_sums_are_exact() {
    for inputs in [CHUNK, 4 * CHUNK + 1, 20_000] {
        let ones = IntegerWeights::quantise(9, inputs, |row, out| {
            let sign = if row % 2 == 0 { 1.0 } else { -1.0 };
            out.extend(std::iter::repeat_n(sign, inputs));
        });
        let ones = ones.unwrap();
        let mut queries = Residues::zeros(4, inputs);
        for row in 0..4 {
            for (half, prime) in queries.row_mut(row).into_iter().zip(PRIMES) {
                half.fill(prime.get() / 2 + (row as u32 % 2));
            }
        }
        let expected = naive(&ones, &queries);
        for packed in packed(&ones) {
            assert_eq!(packed.times(&queries).unwrap(), expected, "{inputs}");
        }
    }
}

#[test]
fn many_blocks_on_many_cores_agree_with_one() {
    let (weights, queries) = (weights(300, 600, 1), queries(101, 600, 2));
    let all = packed(&weights);
    let one = rayon::ThreadPoolBuilder::new()
        .num_threads(1)
        .build()
        .unwrap();
    let many = rayon::ThreadPoolBuilder::new()
        .num_threads(5)
        .build()
        .unwrap();
    let expected = naive(&weights, &queries);
    for packed in all {
        for pool in [&one, &many] {
            assert_eq!(pool.install(|| packed.times(&queries).unwrap()), expected);
        }
    }
}

#[test]
fn vectors_of_another_width_are_refused() {
    let packed = PackedWeights::new(&weights(3, 4, 1));
    assert!(packed.times(&Residues::zeros(1, 5)).is_err());
    assert_eq!(packed.times(&Residues::zeros(0, 4)).unwrap().rows(), 0);
}
