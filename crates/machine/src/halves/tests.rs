use proptest::prelude::*;

use super::*;

fn numbers(len: usize, seed: u64) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    (0..len)
        .map(|_| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            let mantissa = (state >> 40) as f32 / (1u64 << 24) as f32 - 0.5;
            mantissa * 2f32.powi(((state >> 33) % 16) as i32 - 8)
        })
        .collect()
}

struct Case {
    x: Vec<f32>,
    inputs: usize,
    weights: Vec<Tile>,
    exact: Vec<f64>,
    sizes: Vec<f64>,
    outputs: usize,
}

impl Case {
    fn new(rows: usize, inputs: usize, outputs: usize, seed: u64) -> Self {
        let (depth, panels) = (inputs.div_ceil(DEPTH), outputs.div_ceil(PANEL * ROWS));
        let x = numbers(rows * inputs, seed);
        let mut w = numbers(outputs * inputs, seed.wrapping_add(1));
        w.iter_mut()
            .for_each(|w| *w = f32::from_bits(w.to_bits() & 0xffff_0000));
        let mut weights = vec![Tile::zeros(); panels * depth * PANEL];
        for (index, value) in w.iter().enumerate() {
            let (output, input) = (index / inputs, index % inputs);
            let tile = output / ROWS;
            let tile = (tile / PANEL * depth + input / DEPTH) * PANEL + tile % PANEL;
            let (down, right) = Tile::place(input % DEPTH, output % ROWS);
            weights[tile].0[down][right] = (value.to_bits() >> 16) as u16;
        }
        let (mut exact, mut sizes) = (Vec::new(), Vec::new());
        for x in x.chunks(inputs) {
            for w in w.chunks(inputs) {
                let products = x.iter().zip(w).map(|(x, w)| f64::from(*x) * f64::from(*w));
                exact.push(products.clone().sum());
                sizes.push(products.map(f64::abs).sum());
            }
        }
        Self {
            x,
            inputs,
            weights,
            exact,
            sizes,
            outputs,
        }
    }

    fn answers(&self, x: &[f32], unit: Option<TileUnit>) -> Vec<f32> {
        let mut rows = Rows::default();
        rows.set(&self.x, self.inputs);
        rows.set(x, self.inputs);
        let mut y = vec![f32::NAN; rows.count() * self.outputs];
        let weights = Weights {
            tiles: &self.weights,
            outputs: self.outputs,
        };
        match unit {
            Some(unit) => multiply(unit, &rows, weights, &mut y, self.outputs),
            None => multiply_slowly(&rows, weights, &mut y, self.outputs),
        }
        y
    }

    fn check(&self) {
        let y = self.answers(&self.x, None);
        for ((y, exact), size) in y.iter().zip(&self.exact).zip(&self.sizes) {
            assert!(
                (f64::from(*y) - exact).abs() <= size * 2f64.powi(-20),
                "{y} {exact} {size}"
            );
        }
        let Some(unit) = TileUnit::get() else { return };
        let bits = |y: &[f32]| y.iter().map(|y| y.to_bits()).collect::<Vec<_>>();
        assert_eq!(bits(&self.answers(&self.x, Some(unit))), bits(&y));
    }
}

#[test]
fn the_unit_and_safe_code_give_the_same_bits_and_those_of_f32() {
    for (rows, inputs, outputs) in [
        (1, 1, 1),
        (1, 64, 64),
        (3, 33, 17),
        (16, 40, 130),
        (17, 96, 31),
        (32, 64, 64),
        (47, 31, 70),
    ] {
        Case::new(rows, inputs, outputs, 7).check();
    }
}

#[test]
fn infinities_and_what_is_no_number_stay_visible() {
    for bad in [
        f32::INFINITY,
        f32::NEG_INFINITY,
        f32::NAN,
        f32::from_bits(0x7f80_0001),
    ] {
        let mut case = Case::new(2, 40, 5, 3);
        case.x[47] = bad;
        let y = case.answers(&case.x, None);
        assert!(y[..5].iter().all(|y| y.is_finite()) && y[5..].iter().all(|y| !y.is_finite()));
    }
}

proptest! {
    #[test]
    fn a_number_is_the_sum_of_its_parts(bits: u32) {
        let value = f32::from_bits(bits);
        prop_assume!(value.is_finite() && (1e-30..2f32.powi(127)).contains(&value.abs()));
        let [a, b, c] = parts(value).map(|bits| f32::from_bits(u32::from(bits) << 16));
        prop_assert_eq!(f64::from(a) + f64::from(b) + f64::from(c), f64::from(value));
    }

    #[test]
    fn products_are_the_same_on_the_unit(rows in 1usize..40, inputs in 1usize..80, outputs in 1usize..80, seed: u64) {
        Case::new(rows, inputs, outputs, seed).check();
    }

    #[test]
    fn a_row_gets_the_same_bits_in_any_company(rows in 2usize..40, seed: u64) {
        let case = Case::new(rows, 50, 20, seed);
        let y = case.answers(&case.x, None);
        let alone = case.answers(&case.x[..50], None);
        prop_assert_eq!(&alone, &y[..20]);
    }
}
