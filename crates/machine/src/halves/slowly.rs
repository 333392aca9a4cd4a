use super::ROWS;
use super::drive::{Chain, Multiplier, Sums};

/// What the unit does, as the manual says (volume 2, TDPBF16PS): pairs in two chains of fused operations, added to the sum; numbers
/// below 2^-126 count as zero.
pub(super) struct Slowly;

impl Multiplier for Slowly {
    fn two_by_two(&self, depth: usize, x: [Chain<'_>; 2], w: [Chain<'_>; 2], sums: &mut Sums) {
        for (index, sums) in sums.0.iter_mut().enumerate() {
            slow_pass(depth, x[index / 2], w[index % 2], sums);
        }
    }

    fn one_by_four(&self, depth: usize, x: Chain<'_>, w: [Chain<'_>; 4], sums: &mut Sums) {
        for (w, sums) in w.into_iter().zip(&mut sums.0) {
            slow_pass(depth, x, w, sums);
        }
    }
}

fn slow_pass(depth: usize, x: Chain<'_>, w: Chain<'_>, sums: &mut [[f32; ROWS]; ROWS]) {
    fn flushed(value: f32) -> f32 {
        if value.is_subnormal() { 0.0 } else { value }
    }
    let wide = |bits: u16| flushed(f32::from_bits(u32::from(bits) << 16));
    *sums = [[0.0; ROWS]; ROWS];
    for k in 0..depth {
        let (x, w) = (&x.tiles[k * x.step].0, &w.tiles[k * w.step].0);
        for (x, sums) in x.iter().zip(&mut *sums) {
            for (output, sum) in sums.iter_mut().enumerate() {
                let mut chains = [0.0f32; 2];
                for (pair, w) in w.iter().enumerate() {
                    for (odd, chain) in chains.iter_mut().enumerate() {
                        let (x, w) = (wide(x[2 * pair + odd]), wide(w[2 * output + odd]));
                        *chain = flushed(x.mul_add(w, *chain));
                    }
                }
                *sum = flushed(*sum + flushed(chains[0] + chains[1]));
            }
        }
    }
}
