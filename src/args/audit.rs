//! `equicrypt audit`.

use std::path::PathBuf;

use clap::builder::PossibleValuesParser;
use equicrypt_audit::ATTACKS;

use crate::args::KeyArgs;

#[derive(clap::Args)]
pub(crate) struct Audit {
    /// The original: a Hugging Face folder
    pub(crate) model: PathBuf,
    /// The encrypted folder
    #[arg(
        required_unless_present_any = ["matrix", "traffic"],
        conflicts_with = "matrix",
        requires = "key"
    )]
    pub(crate) encrypted: Option<PathBuf>,
    /// The owner's key file: what is recovered is scored with it
    #[arg(
        long,
        value_name = "FILE",
        requires = "encrypted",
        conflicts_with = "matrix"
    )]
    key: Option<PathBuf>,
    /// Read the key file's passphrase from the first line of this file, not from the terminal
    #[arg(long, value_name = "FILE", requires = "key")]
    passphrase_file: Option<PathBuf>,
    /// Encrypt the original in every way, and by a published scheme, and compare them
    #[arg(long)]
    pub(crate) matrix: bool,
    /// Attack the log instead: this text stands for what the owner sends, a message a line
    #[arg(long, value_name = "FILE", conflicts_with_all = ["matrix", "encrypted", "text", "no_fidelity"])]
    pub(crate) traffic: Option<PathBuf>,
    /// An attacker knows this text, from the same source as the traffic
    #[arg(long, value_name = "FILE", requires = "traffic")]
    pub(crate) same_source: Option<PathBuf>,
    /// An attacker knows this text, on the same matters
    #[arg(long, value_name = "FILE", requires = "traffic")]
    pub(crate) same_domain: Option<PathBuf>,
    /// An attacker knows this text, of any kind
    #[arg(long, value_name = "FILE", requires = "traffic")]
    pub(crate) general: Option<PathBuf>,
    /// Against this many homophones, in place of a list of defences
    #[arg(long, value_name = "N", requires = "traffic")]
    pub(crate) homophones: Option<usize>,
    /// Against epochs of this many tokens, in place of a list of defences
    #[arg(long, value_name = "TOKENS", requires = "traffic", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) epoch_tokens: Option<u64>,
    /// Only this attack; may be given several times
    #[arg(long = "attack", value_name = "NAME", value_parser = PossibleValuesParser::new(ATTACKS.iter().map(|attack| attack.name)))]
    pub(crate) attacks: Vec<String>,
    /// How many keys each attack is tried under: the given one, and fresh ones for which copies are made
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=100))]
    pub(crate) keys: u16,
    /// Count occurrences in this text, in place of 60 built-in ones
    #[arg(long, value_name = "FILE")]
    pub(crate) text: Option<PathBuf>,
    /// Write a report as a web page
    #[arg(long, value_name = "FILE")]
    pub(crate) report: Option<PathBuf>,
    /// Write the table as Markdown and the plots as SVG files into this folder
    #[arg(long, value_name = "DIR")]
    pub(crate) docs: Option<PathBuf>,
    /// Write all figures as JSON; `-` for standard output
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
    /// Exit with 1 if an attack recovers more than this share (0 to 1) of types or of occurrences
    #[arg(long, value_name = "SHARE", value_parser = share)]
    pub(crate) fail_above: Option<f64>,
    /// Do not measure fidelity
    #[arg(long)]
    pub(crate) no_fidelity: bool,
}

impl Audit {
    /// Where the key is, if one was given.
    pub(crate) fn key(&self) -> Option<KeyArgs> {
        Some(KeyArgs {
            key: self.key.clone()?,
            passphrase_file: self.passphrase_file.clone(),
        })
    }
}

fn share(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(share) if (0.0..=1.0).contains(&share) => Ok(share),
        _ => Err("expected a number from 0 to 1".into()),
    }
}
