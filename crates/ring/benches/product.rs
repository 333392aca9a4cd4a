//! Products over the ring: `cargo bench -p equicrypt-ring`. For each layer of SmolLM2-135M and numbers of vectors: the time
//! of a product, and billions of multiplications and additions of one residue a second and core.

#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a benchmark prints, and may panic"
)]

use std::hint::black_box;
use std::time::Instant;

use equicrypt_ring::{IntegerWeights, MaskSeed, PackedWeights, Residues, expand};

fn main() {
    let cores = rayon::current_num_threads();
    println!("{cores} threads");
    println!(
        "{:>8} {:>8} {:>6} {:>12} {:>16}",
        "inputs", "outputs", "rows", "us", "GMAC/s/core"
    );
    for (inputs, outputs) in [(576, 960), (576, 576), (576, 3072), (1536, 576)] {
        let weights = IntegerWeights::quantise(outputs, inputs, |row, out| {
            out.extend((0..inputs).map(|i| ((row * 31 + i * 17) % 257) as f64 - 128.0));
        });
        let packed = PackedWeights::new(&weights.unwrap());
        for rows in [1, 2, 3, 8, 16, 42, 128] {
            let mut queries = Residues::zeros(rows, inputs);
            expand(&MaskSeed::from_bytes([1; 32]), 0..rows as u64, &mut queries);
            let mut best = f64::INFINITY;
            let products = 2 * rows * inputs * outputs;
            for _ in 0..(400_000_000 / products).clamp(5, 400) {
                let start = Instant::now();
                black_box(packed.times(black_box(&queries)).unwrap());
                best = best.min(start.elapsed().as_secs_f64());
            }
            println!(
                "{inputs:>8} {outputs:>8} {rows:>6} {:>12.1} {:>16.2}",
                best * 1e6,
                products as f64 / best / 1e9 / cores as f64
            );
        }
    }
    let mut masks = Residues::zeros(64, 1536);
    let start = Instant::now();
    for session in 0..20 {
        expand(&MaskSeed::from_bytes([session; 32]), 0..64, &mut masks);
        black_box(&masks);
    }
    let seconds = start.elapsed().as_secs_f64();
    let bytes = 20.0 * 4.0 * masks.values().len() as f64;
    println!("masks: {:.2} GB/s", bytes / seconds / 1e9);
}
