//! `equicrypt bench`.

use std::num::{NonZeroU16, NonZeroU64, NonZeroUsize};
use std::path::PathBuf;

use clap::{Subcommand, ValueEnum};

use super::{ProfileName, StorageName};

#[derive(Subcommand)]
pub(crate) enum Bench {
    /// Time encrypting beside copying the same files
    ///
    /// Every round copies the folder twice (a loop of reads and writes, and cp) and encrypts it in every way that is asked for,
    /// each in a process of its own. Times are told twice: until everything is written, which is where cp stops, and until
    /// everything is on the disk, which is where encrypt stops.
    Encrypt(BenchEncrypt),
    /// Time a decoder in this engine, plain and encrypted in turn: answers, many at once, behind long contexts, and prompts
    ///
    /// The model is encrypted under a key that is thrown away. Every round runs each case on the plain and on the encrypted
    /// model, one directly after the other, in the other order every second time; a ratio is taken within its round.
    /// `equicrypt verify` says whether both compute the same.
    Engine(BenchEngine),
    /// Time a decoder whose linear layers two hosts compute (shares), without and with a network between
    ///
    /// Both hosts run on this machine, each in a process of its own; a network is a relay in front of each that holds bytes back
    /// for half a round trip, at the line's pace. Beside it stands the engine alone. Bytes of a token are counted.
    Shares(BenchShares),
}

#[derive(clap::Args)]
pub(crate) struct BenchShares {
    /// The public decoder's Hugging Face folder
    #[arg(value_name = "MODEL")]
    pub(crate) model: PathBuf,
    /// Round trips between the owner and each host, in milliseconds; may be given several times
    #[arg(long = "round-trip", value_name = "MS", value_parser = milliseconds, default_values = ["0.2", "1", "5", "20"])]
    pub(crate) round_trips: Vec<f64>,
    /// Megabits a second of each direction of each line
    #[arg(long, value_name = "N", default_value = "1000")]
    pub(crate) megabits: NonZeroU64,
    /// Also time every case with masks for all of a round in reserve, which host B computed before it
    #[arg(long)]
    pub(crate) reserve: bool,
    /// Ids of the prompt
    #[arg(long, value_name = "N", default_value = "256")]
    pub(crate) prompt: NonZeroUsize,
    /// Ids of the answer
    #[arg(long, value_name = "N", default_value = "16")]
    pub(crate) tokens: NonZeroUsize,
    /// How often each is timed; the table shows medians
    #[arg(long, value_name = "N", default_value = "3")]
    pub(crate) rounds: NonZeroU16,
    /// Write all figures, round by round, as JSON into this file; - for standard output, in place of the table
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
}

#[derive(clap::Args)]
pub(crate) struct BenchEngine {
    /// The plain decoder's Hugging Face folder
    #[arg(value_name = "MODEL")]
    pub(crate) model: PathBuf,
    /// Which kinds of secrets; rotate is stored as f32
    #[arg(long, value_enum, default_value = "permute")]
    pub(crate) profile: ProfileName,
    /// How the linear layers' weights are kept; computing is in f32
    #[arg(long, value_enum, default_value = "f32")]
    pub(crate) dtype: StorageName,
    /// Ids in front of the answers that are timed; may be given several times
    #[arg(long = "context", value_name = "IDS", default_values = ["128", "1024", "8192"])]
    pub(crate) contexts: Vec<NonZeroUsize>,
    /// Answers at once, behind the first context; may be given several times
    #[arg(long = "batch", value_name = "N", default_values = ["1", "4", "8", "16"])]
    pub(crate) batches: Vec<NonZeroUsize>,
    /// How often each is timed; the table shows medians
    #[arg(long, value_name = "N", default_value = "5")]
    pub(crate) rounds: NonZeroU16,
    /// Write all figures, round by round, as JSON into this file; - for standard output, in place of the table
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
}

#[derive(clap::Args)]
pub(crate) struct BenchEncrypt {
    /// Encrypt this Hugging Face folder, in place of a Llama with random weights
    #[arg(long, value_name = "DIR")]
    pub(crate) model: Option<PathBuf>,
    /// Bytes of the random Llama's bf16 weights, about: a number, with K, M or G for powers of 1,000
    #[arg(long, value_name = "BYTES", default_value = "1G", value_parser = bytes, conflicts_with = "model")]
    pub(crate) size: u64,
    /// Only this way; may be given several times
    #[arg(long = "way", value_name = "WAY", value_enum)]
    pub(crate) ways: Vec<Way>,
    /// How often each is timed; the table shows medians
    #[arg(long, value_name = "N", default_value = "5")]
    pub(crate) rounds: NonZeroU16,
    /// Where the folders are made and deleted again: the file system that is measured; the system's temporary folder if not given
    #[arg(long, value_name = "DIR")]
    pub(crate) scratch: Option<PathBuf>,
    /// Write all figures, round by round, as JSON into this file; - for standard output, in place of the table
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
}

/// A profile and the dtype of what is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Way {
    /// The default profile, in the original's dtype
    Permute,
    /// Rotations, stored as bf16
    RotateBf16,
    /// Rotations, stored as f32: twice the bytes of a bf16 model are written
    RotateF32,
}

impl BenchEncrypt {
    /// The ways that were asked for; all of them if none was.
    pub(crate) fn ways(&self) -> &[Way] {
        match self.ways.as_slice() {
            [] => Way::value_variants(),
            some => some,
        }
    }
}

fn milliseconds(text: &str) -> Result<f64, String> {
    let number = text.parse().ok().filter(|ms| (0.0..=60_000.0).contains(ms));
    number.ok_or_else(|| "expected milliseconds from 0 to 60000, like 0.2".to_owned())
}

fn bytes(text: &str) -> Result<u64, String> {
    let unit = |suffix: char| match suffix.to_ascii_uppercase() {
        'K' => Some(1_000),
        'M' => Some(1_000_000),
        'G' => Some(1_000_000_000),
        _ => None,
    };
    let last = text.chars().next_back();
    let (number, unit) = match last.and_then(unit) {
        Some(unit) => (&text[..text.len() - 1], unit),
        None => (text, 1),
    };
    let bytes = number.parse().ok().and_then(|n: u64| n.checked_mul(unit));
    bytes.ok_or_else(|| "expected a number of bytes, like 500M or 8G".to_owned())
}

#[cfg(test)]
mod tests {
    use super::{bytes, milliseconds};

    #[test]
    fn round_trips_are_short_and_finite() {
        assert_eq!(milliseconds("0.2"), Ok(0.2));
        for bad in ["", "-1", "inf", "NaN", "60001", "1ms"] {
            assert!(milliseconds(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn sizes_have_units() {
        assert_eq!(bytes("1G"), Ok(1_000_000_000));
        assert_eq!(bytes("20m"), Ok(20_000_000));
        assert_eq!(bytes("7"), Ok(7));
        for bad in ["", "G", "1T", "-1", "1.5G", "99999999999G", "é"] {
            assert!(bytes(bad).is_err(), "{bad}");
        }
    }
}
