use super::drive::{Multiplier, Sums};
use super::{BYTES, PANEL, ROWS, Tile};

/// What the unit does, as the manual says (volume 2, TDPBUUD and TDPBUSD).
pub(super) struct Slowly;

impl Multiplier for Slowly {
    fn full(&self, depth: usize, x: &[Tile], w: &[Tile], sums: &mut Sums) {
        *sums = Sums(Default::default());
        for k in 0..depth {
            for byte in 0..BYTES {
                for part in 0..2 {
                    let w = &w[k * PANEL * 2 + part];
                    add(&x[k * BYTES + byte], w, part == 1, &mut sums.0[byte + part]);
                }
            }
        }
    }

    fn stacked(&self, depth: usize, x: &[Tile], w: &[Tile], sums: &mut Sums) {
        *sums = Sums(Default::default());
        for k in 0..depth {
            for place in 0..PANEL * 2 {
                let w = &w[k * PANEL * 2 + place];
                add(&x[k], w, place % 2 == 1, &mut sums.0[place]);
            }
        }
    }
}

fn add(x: &Tile, w: &Tile, signed: bool, sums: &mut [[i32; ROWS]; ROWS]) {
    for (x, sums) in x.0.iter().zip(sums) {
        for (output, sum) in sums.iter_mut().enumerate() {
            for (x, w) in x.chunks_exact(4).zip(&w.0) {
                for (x, w) in x.iter().zip(&w[4 * output..]) {
                    let w = match signed {
                        true => i32::from(w.cast_signed()),
                        false => i32::from(*w),
                    };
                    *sum += i32::from(*x) * w;
                }
            }
        }
    }
}
