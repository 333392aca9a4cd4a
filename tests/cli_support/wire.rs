//! What somebody looks for in the bytes that passed, and in what the host wrote.

use std::collections::{BTreeMap, HashSet};

/// Sum of (found - expected)^2 / expected over the values of a byte: 255 ± 23 if all are equally likely.
pub fn chi_square(bytes: &[u8]) -> f64 {
    let mut counts = [0.0; 256];
    bytes
        .iter()
        .for_each(|byte| counts[usize::from(*byte)] += 1.0);
    let expected = bytes.len() as f64 / 256.0;
    counts
        .iter()
        .map(|count: &f64| (count - expected).powi(2) / expected)
        .sum()
}

/// They may be uniformly random.
#[track_caller]
pub fn assert_noise(bytes: &[u8]) {
    let chi_square = chi_square(bytes);
    assert!((120.0..400.0).contains(&chi_square), "{chi_square}");
}

/// Neighbouring ids as somebody might find them, by their length: in decimal, and in the memory's order.
#[derive(Default)]
pub struct Spellings(BTreeMap<usize, HashSet<Vec<u8>>>);

impl Spellings {
    pub fn of<'a>(texts: impl IntoIterator<Item = &'a [u32]>) -> Self {
        let mut all = Self::default();
        for ids in texts.into_iter().flat_map(|ids| ids.windows(NEIGHBOURS)) {
            let decimal: Vec<String> = ids.iter().map(u32::to_string).collect();
            let joined = [",", ", ", " "].map(|between| decimal.join(between).into_bytes());
            let narrow = ids.iter().flat_map(|id| (*id as u16).to_le_bytes());
            let wide = ids.iter().flat_map(|id| id.to_le_bytes());
            let widest = ids.iter().flat_map(|id| u64::from(*id).to_le_bytes());
            let in_memory = [narrow.collect(), wide.collect(), widest.collect()];
            for spelling in joined.into_iter().chain(in_memory) {
                all.0.entry(spelling.len()).or_default().insert(spelling);
            }
        }
        all
    }

    /// Whether any of them is somewhere in there.
    pub fn are_in(&self, bytes: &[u8]) -> bool {
        let mut lengths = self.0.iter();
        lengths.any(|(length, parts)| bytes.windows(*length).any(|part| parts.contains(part)))
    }
}

/// `METHOD ROUTE STATUS sealed in N out N ms N` in each line, with one of these routes; returns how many were sealed.
#[track_caller]
pub fn sealed_in_log(log: &str, routes: &[&str]) -> usize {
    for line in log.lines() {
        let words: Vec<&str> = line.split(' ').collect();
        let [
            method,
            route,
            status,
            sealed,
            "in",
            bytes_in,
            "out",
            bytes_out,
            "ms",
            ms,
        ] = words[..]
        else {
            panic!("{line}");
        };
        let known = [&GETS[..], routes].concat();
        let counts = [status, bytes_in, bytes_out, ms];
        assert!(
            ["GET", "POST"].contains(&method)
                && known.contains(&route)
                && ["sealed", "unsealed"].contains(&sealed)
                && counts.iter().all(|count| count.parse::<u64>().is_ok()),
            "{line}"
        );
    }
    log.lines().filter(|line| line.contains(" sealed ")).count()
}

/// Fewer are in random bytes by chance.
const NEIGHBOURS: usize = 4;

/// What owners ask before they ask anything else.
const GETS: [&str; 4] = ["/v1/models", "/transport-key", "/health", "/version"];
