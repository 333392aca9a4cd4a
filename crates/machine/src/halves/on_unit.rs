#![allow(unsafe_code)]

use std::arch::asm;

use super::Tile;
use super::drive::{Chain, Multiplier, Sums};
use crate::TileUnit;
use crate::unit::Shaped;

/// The sixteen lines of the tile after the next.
macro_rules! ahead {
    ($w:literal) => {
        concat!(
            ".set equicrypt_line, 0\n",
            ".rept 16\n",
            "prefetcht1 [{",
            $w,
            "} + 2 * {w_step} + equicrypt_line]\n",
            ".set equicrypt_line, equicrypt_line + 64\n",
            ".endr",
        )
    };
}

/// The unit, with the shapes of its tiles set: tiles 0 to 3 are sums and 4 and 5 of x, with so many rows; 6 and 7 are of weights.
pub(super) struct Configured {
    _shaped: Shaped,
}

impl Configured {
    #[inline(always)]
    pub(super) fn new(unit: TileUnit, rows: usize) -> Self {
        Self {
            _shaped: Shaped::new(unit, rows),
        }
    }
}

impl Multiplier for Configured {
    #[inline(always)]
    fn two_by_two(&self, depth: usize, x: [Chain<'_>; 2], w: [Chain<'_>; 2], sums: &mut Sums) {
        assert!(x.iter().chain(&w).all(|chain| chain.is_as_long_as(depth)));
        assert!(x[0].step == x[1].step && w[0].step == w[1].step);
        // SAFETY: a `Shaped` is only made where the unit is, and has set the tiles' shapes: of at most 16 rows of 64 bytes. So a
        // tile is loaded from one `Tile`, whose rows are 64 bytes apart: those of each chain at `depth` steps, which the first
        // assertion found in its slice. Stored are four tiles, which is the size of `sums`. All tiles are named as changed.
        unsafe {
            asm!(
                "tilezero tmm0", "tilezero tmm1", "tilezero tmm2", "tilezero tmm3",
                "2:",
                "tileloadd tmm6, [{first} + {line}]",
                "tileloadd tmm7, [{second} + {line}]",
                "tileloadd tmm4, [{above} + {line}]",
                "tileloadd tmm5, [{below} + {line}]",
                "tdpbf16ps tmm0, tmm4, tmm6",
                "tdpbf16ps tmm1, tmm4, tmm7",
                "tdpbf16ps tmm2, tmm5, tmm6",
                "tdpbf16ps tmm3, tmm5, tmm7",
                "add {above}, {x_step}",
                "add {below}, {x_step}",
                "add {first}, {w_step}",
                "add {second}, {w_step}",
                "dec {depth}",
                "jnz 2b",
                "tilestored [{sums} + {line}], tmm0",
                "tilestored [{sums} + {line} + 1024], tmm1",
                "tilestored [{sums} + {line} + 2048], tmm2",
                "tilestored [{sums} + {line} + 3072], tmm3",
                above = inout(reg) x[0].tiles.as_ptr() => _,
                below = inout(reg) x[1].tiles.as_ptr() => _,
                first = inout(reg) w[0].tiles.as_ptr() => _,
                second = inout(reg) w[1].tiles.as_ptr() => _,
                x_step = in(reg) x[0].step * size_of::<Tile>(),
                w_step = in(reg) w[0].step * size_of::<Tile>(),
                depth = inout(reg) depth => _,
                sums = in(reg) sums,
                line = in(reg) 64usize,
                out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
                out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
                options(nostack),
            );
        }
    }

    #[inline(always)]
    fn one_by_four(&self, depth: usize, x: Chain<'_>, w: [Chain<'_>; 4], sums: &mut Sums) {
        assert!(x.is_as_long_as(depth) && w.iter().all(|chain| chain.is_as_long_as(depth)));
        assert!(w.iter().all(|chain| chain.step == w[0].step));
        // SAFETY: as above, with one chain of x and four of weights. What is asked for ahead of time, a step beyond the next, may lie
        // behind the slice; a prefetch reads nothing that can be seen, and does not fault.
        unsafe {
            asm!(
                "tilezero tmm0", "tilezero tmm1", "tilezero tmm2", "tilezero tmm3",
                "2:",
                "tileloadd tmm4, [{x} + {line}]",
                "tileloadd tmm6, [{w0} + {line}]",
                ahead!("w0"),
                "tdpbf16ps tmm0, tmm4, tmm6",
                "tileloadd tmm7, [{w1} + {line}]",
                ahead!("w1"),
                "tdpbf16ps tmm1, tmm4, tmm7",
                "tileloadd tmm6, [{w2} + {line}]",
                ahead!("w2"),
                "tdpbf16ps tmm2, tmm4, tmm6",
                "tileloadd tmm7, [{w3} + {line}]",
                ahead!("w3"),
                "tdpbf16ps tmm3, tmm4, tmm7",
                "add {x}, {x_step}",
                "add {w0}, {w_step}",
                "add {w1}, {w_step}",
                "add {w2}, {w_step}",
                "add {w3}, {w_step}",
                "dec {depth}",
                "jnz 2b",
                "tilestored [{sums} + {line}], tmm0",
                "tilestored [{sums} + {line} + 1024], tmm1",
                "tilestored [{sums} + {line} + 2048], tmm2",
                "tilestored [{sums} + {line} + 3072], tmm3",
                x = inout(reg) x.tiles.as_ptr() => _,
                w0 = inout(reg) w[0].tiles.as_ptr() => _,
                w1 = inout(reg) w[1].tiles.as_ptr() => _,
                w2 = inout(reg) w[2].tiles.as_ptr() => _,
                w3 = inout(reg) w[3].tiles.as_ptr() => _,
                x_step = in(reg) x.step * size_of::<Tile>(),
                w_step = in(reg) w[0].step * size_of::<Tile>(),
                depth = inout(reg) depth => _,
                sums = in(reg) sums,
                line = in(reg) 64usize,
                out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
                out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
                options(nostack),
            );
        }
    }
}
