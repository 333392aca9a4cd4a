//! What is measured at the machine's limits: tables for people, JSON for scripts.

mod copies;
mod encrypt;
mod engine;
mod network;
mod process;
mod shares;
mod synthetic;

use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::args::Bench;

pub(super) fn run(bench: &Bench) -> Result<()> {
    let json = match bench {
        Bench::Encrypt(args) => &args.json,
        Bench::Engine(args) => &args.json,
        Bench::Shares(args) => &args.json,
    };
    demand_place(json.as_deref())?;
    match bench {
        Bench::Encrypt(args) => encrypt::run(args),
        Bench::Engine(args) => engine::run(args),
        Bench::Shares(args) => shares::run(args),
    }
}

/// Whether the file can be: minutes of measuring should not end with that it cannot.
fn demand_place(path: Option<&Path>) -> Result<()> {
    let Some(path) = path else {
        return Ok(());
    };
    let folder = path.parent().filter(|folder| *folder != Path::new(""));
    let is_place = folder.is_none_or(Path::is_dir) && !path.is_dir();
    ensure!(
        is_place,
        "--json: {} cannot be written: expected a file in a folder that there is",
        path.display()
    );
    Ok(())
}

/// Into the file, if one was given.
fn write_json(path: Option<&Path>, value: &Value) -> Result<()> {
    let Some(path) = path else {
        return Ok(());
    };
    std::fs::write(path, format!("{value:#}\n"))
        .with_context(|| format!("cannot write {}", path.display()))
}

/// What this machine computes with.
fn threads() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// The middle one; between the two in the middle where there are two.
fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    match sorted.as_slice() {
        [] => f64::NAN,
        sorted => (sorted[(sorted.len() - 1) / 2] + sorted[sorted.len() / 2]) / 2.0,
    }
}

#[cfg(test)]
mod tests {
    use super::median;

    #[test]
    fn medians_are_in_the_middle() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), 2.5);
        assert!(median(&[]).is_nan());
    }
}
