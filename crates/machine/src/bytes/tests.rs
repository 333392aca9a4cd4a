use proptest::prelude::*;

use super::*;

struct Case {
    x: Vec<u32>,
    inputs: usize,
    weights: Vec<Tile>,
    outputs: usize,
    exact: Vec<i64>,
}

impl Case {
    /// Numbers of which many are as large as they get.
    fn new(rows: usize, inputs: usize, outputs: usize, seed: u64) -> Self {
        let mut state = seed;
        let mut next = || {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            state >> 33
        };
        let x: Vec<u32> = (0..rows * inputs)
            .map(|_| match next() % 3 {
                0 => (1 << 31) - 1,
                1 => 0x7eff_ffff,
                _ => next() as u32 >> 1,
            })
            .collect();
        let w: Vec<i16> = (0..outputs * inputs)
            .map(|_| match next() % 4 {
                0 => i16::MAX,
                1 => i16::MIN,
                2 => 0xff,
                _ => next() as i16,
            })
            .collect();
        let depth = inputs.div_ceil(DEPTH);
        let mut weights = vec![Tile::zeros(); outputs.div_ceil(PANEL * ROWS) * depth * PANEL * 2];
        for (index, weight) in w.iter().enumerate() {
            let (output, input) = (index / inputs, index % inputs);
            let tile = output / ROWS;
            let tile = (tile / PANEL * depth + input / DEPTH) * PANEL + tile % PANEL;
            let (down, right) = Tile::place(input % DEPTH, output % ROWS);
            for (part, byte) in parts(*weight).into_iter().enumerate() {
                weights[tile * 2 + part].0[down][right] = byte;
            }
        }
        let exact = x.chunks(inputs).flat_map(|x| {
            w.chunks(inputs).map(|w| {
                let products = x.iter().zip(w);
                products.map(|(x, w)| i64::from(*x) * i64::from(*w)).sum()
            })
        });
        Self {
            exact: exact.collect(),
            x,
            inputs,
            weights,
            outputs,
        }
    }

    fn check(&self) {
        let mut rows = Rows::default();
        rows.set(&vec![(1 << 31) - 1; 7 * self.inputs], self.inputs);
        rows.set(&self.x, self.inputs);
        let weights = Weights {
            tiles: &self.weights,
            outputs: self.outputs,
        };
        let mut y = vec![i64::MIN; self.exact.len()];
        multiply_slowly(&rows, weights, &mut y, self.outputs);
        assert_eq!(y, self.exact);
        if let Some(unit) = TileUnit::get() {
            y.fill(i64::MIN);
            multiply(unit, &rows, weights, &mut y, self.outputs);
            assert_eq!(y, self.exact);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn products_are_those_of_the_integers(
        rows in 1usize..40, inputs in 1usize..200, outputs in 1usize..70, seed: u64,
    ) {
        Case::new(rows, inputs, outputs, seed).check();
    }
}

#[test]
fn the_largest_sums_are_exact() {
    for (rows, inputs) in [(2, 40_000), (5, 16_385)] {
        let mut case = Case::new(rows, inputs, 3, 1);
        case.check();
        case.x.fill((1 << 31) - 1);
        case.weights
            .iter_mut()
            .enumerate()
            .for_each(|(index, tile)| {
                tile.0 = [[if index % 2 == 0 { 0xff } else { 0x7f }; DEPTH]; ROWS];
            });
        let most = inputs as i64 * ((1 << 31) - 1) * i64::from(i16::MAX);
        case.exact.fill(most);
        case.check();
    }
}
