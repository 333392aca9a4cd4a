#![allow(unsafe_code)]

use std::arch::asm;

use super::drive::{Multiplier, Sums};
use super::{BYTES, PANEL, Tile};
use crate::TileUnit;
use crate::unit::Shaped;

/// The unit, with the shapes of its tiles set: tiles 0 to 4 are sums and 5 is of x, with so many rows; 6 and 7 are of weights.
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
    fn full(&self, depth: usize, x: &[Tile], w: &[Tile], sums: &mut Sums) {
        assert!(depth > 0 && x.len() >= depth * BYTES && w.len() >= (depth - 1) * PANEL * 2 + 2);
        // SAFETY: a `Shaped` is only made where the unit is, and has set the tiles' shapes: of at most 16 rows of 64 bytes. So a tile is
        // loaded from one `Tile`, whose rows are 64 bytes apart: at each of `depth` steps four of x, which are as far apart as steps are,
        // and two of weights, `PANEL * 2` after the last ones. The assertion found them in the slices. Stored are five tiles, which is the
        // size of `sums`. All tiles are named as changed.
        unsafe {
            asm!(
                "tilezero tmm0", "tilezero tmm1", "tilezero tmm2", "tilezero tmm3", "tilezero tmm4",
                "2:",
                "tileloadd tmm6, [{w} + {line}]",
                "tileloadd tmm7, [{w} + {line} + 1024]",
                "tileloadd tmm5, [{x} + {line}]",
                "tdpbuud tmm0, tmm5, tmm6",
                "tdpbusd tmm1, tmm5, tmm7",
                "tileloadd tmm5, [{x} + {line} + 2048]",
                "tdpbuud tmm2, tmm5, tmm6",
                "tdpbusd tmm3, tmm5, tmm7",
                "tileloadd tmm5, [{x} + {line} + 1024]",
                "tdpbuud tmm1, tmm5, tmm6",
                "tdpbusd tmm2, tmm5, tmm7",
                "tileloadd tmm5, [{x} + {line} + 3072]",
                "tdpbuud tmm3, tmm5, tmm6",
                "tdpbusd tmm4, tmm5, tmm7",
                "add {x}, 4096",
                "add {w}, 4096",
                "dec {depth}",
                "jnz 2b",
                "tilestored [{sums} + {line}], tmm0",
                "tilestored [{sums} + {line} + 1024], tmm1",
                "tilestored [{sums} + {line} + 2048], tmm2",
                "tilestored [{sums} + {line} + 3072], tmm3",
                "tilestored [{sums} + {line} + 4096], tmm4",
                x = inout(reg) x.as_ptr() => _,
                w = inout(reg) w.as_ptr() => _,
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
    fn stacked(&self, depth: usize, x: &[Tile], w: &[Tile], sums: &mut Sums) {
        assert!(depth > 0 && x.len() >= depth && w.len() >= depth * PANEL * 2);
        // SAFETY: as above, with one tile of x and four of weights at each step, and four tiles stored. What is asked for ahead of time,
        // two steps on, may lie behind the slice; a prefetch reads nothing that can be seen, and does not fault.
        unsafe {
            asm!(
                "tilezero tmm0", "tilezero tmm1", "tilezero tmm2", "tilezero tmm3",
                "2:",
                "tileloadd tmm5, [{x} + {line}]",
                "tileloadd tmm6, [{w} + {line}]",
                ".set equicrypt_line, 0",
                ".rept 32",
                "prefetcht1 [{w} + 8192 + equicrypt_line]",
                ".set equicrypt_line, equicrypt_line + 64",
                ".endr",
                "tdpbuud tmm0, tmm5, tmm6",
                "tileloadd tmm7, [{w} + {line} + 1024]",
                "tdpbusd tmm1, tmm5, tmm7",
                "tileloadd tmm6, [{w} + {line} + 2048]",
                ".rept 32",
                "prefetcht1 [{w} + 8192 + equicrypt_line]",
                ".set equicrypt_line, equicrypt_line + 64",
                ".endr",
                "tdpbuud tmm2, tmm5, tmm6",
                "tileloadd tmm7, [{w} + {line} + 3072]",
                "tdpbusd tmm3, tmm5, tmm7",
                "add {x}, 1024",
                "add {w}, 4096",
                "dec {depth}",
                "jnz 2b",
                "tilestored [{sums} + {line}], tmm0",
                "tilestored [{sums} + {line} + 1024], tmm1",
                "tilestored [{sums} + {line} + 2048], tmm2",
                "tilestored [{sums} + {line} + 3072], tmm3",
                x = inout(reg) x.as_ptr() => _,
                w = inout(reg) w.as_ptr() => _,
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
