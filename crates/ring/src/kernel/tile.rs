use pulp::Simd;

use super::VECTORS;
use crate::PRIMES;

/// The weights of a panel from one chunk of inputs.
pub(super) struct Panel<'a> {
    /// Input by input.
    pub(super) weights: &'a [f64],
    pub(super) width: usize,
}

/// What the products of a panel are added to: for each row the panel's outputs.
pub(super) struct Sums<'a> {
    pub(super) rows: usize,
    pub(super) values: &'a mut [f64],
}

/// Adds the products of a panel with all tiles, and reduces the sums. Rows are residues for the first and for the second prime
/// in turn.
#[inline(always)]
pub(super) fn multiply<S: Simd>(simd: S, panel: &Panel<'_>, mut tiles: &[f64], sums: Sums<'_>) {
    let depth = panel.weights.len() / panel.width;
    let mut done = 0;
    while done < sums.rows {
        let sums = &mut sums.values[done * panel.width..];
        let rows = match tiles.len() / depth {
            6.. => tile::<S, 6, 1>(simd, panel, tiles, sums),
            4.. => tile::<S, 4, 1>(simd, panel, tiles, sums),
            // Four sums alone would wait for each other.
            _ => tile::<S, 2, 2>(simd, panel, tiles, sums),
        };
        tiles = &tiles[rows * depth..];
        done += rows;
    }
}

/// A tile of `R` rows, each of whose sums is formed in `A` parts; returns `R`.
#[inline(always)]
fn tile<S: Simd, const R: usize, const A: usize>(
    simd: S,
    panel: &Panel<'_>,
    tiles: &[f64],
    sums: &mut [f64],
) -> usize {
    let depth = panel.weights.len() / panel.width;
    let (weights, _) = S::as_simd_f64s(panel.weights);
    let (weights, _) = weights.as_chunks::<VECTORS>();
    let weights = &weights[..depth];
    let (tile, _) = tiles.as_chunks::<R>();
    let tile = &tile[..depth];
    let mut parts = [[[simd.splat_f64s(0.0); VECTORS]; R]; A];

    let (weights, weights_rest) = weights.as_chunks::<UNROLLED>();
    let (tile, tile_rest) = tile.as_chunks::<UNROLLED>();
    for (weights, tile) in weights.iter().zip(tile) {
        for u in 0..UNROLLED {
            for r in 0..R {
                let q = simd.splat_f64s(tile[u][r]);
                for v in 0..VECTORS {
                    parts[u % A][r][v] = simd.mul_add_e_f64s(q, weights[u][v], parts[u % A][r][v]);
                }
            }
        }
    }
    for (weights, tile) in weights_rest.iter().zip(tile_rest) {
        for r in 0..R {
            let q = simd.splat_f64s(tile[r]);
            for v in 0..VECTORS {
                parts[0][r][v] = simd.mul_add_e_f64s(q, weights[v], parts[0][r][v]);
            }
        }
    }

    let (sums, _) = S::as_mut_simd_f64s(&mut sums[..R * panel.width]);
    let (sums, _) = sums.as_chunks_mut::<VECTORS>();
    for (r, sums) in sums.iter_mut().enumerate() {
        for v in 0..VECTORS {
            let mut sum = sums[v];
            for part in &parts {
                sum = simd.add_f64s(sum, part[r][v]);
            }
            sums[v] = reduce(simd, f64::from(PRIMES[r % 2].get()), sum);
        }
    }
    R
}

/// x - p round(x / p): exact, and half of p in size but for the rounding of the quotient.
#[inline(always)]
fn reduce<S: Simd>(simd: S, prime: f64, x: S::f64s) -> S::f64s {
    // A number of this size has no bits behind the point.
    let whole = simd.splat_f64s(1.5 * (1u64 << 52) as f64);
    let quotient = simd.mul_f64s(x, simd.splat_f64s(1.0 / prime));
    let quotient = simd.sub_f64s(simd.add_f64s(quotient, whole), whole);
    simd.mul_add_e_f64s(quotient, simd.splat_f64s(-prime), x)
}

/// Inputs between two jumps.
const UNROLLED: usize = 4;
