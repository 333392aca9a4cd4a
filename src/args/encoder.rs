//! The commands for encoders.

use std::path::PathBuf;

use clap::ArgGroup;
use equicrypt_shares::HostAddress;

use super::{KeyArgs, SealArgs};

/// Whose encoder, where it is served, and how it is asked.
#[derive(clap::Args)]
#[command(group = ArgGroup::new("mode").required(true).args(["key", "shares"]))]
pub(crate) struct EncoderArgs {
    #[command(flatten)]
    pub(crate) key: Option<KeyArgs>,
    /// Encrypt nothing; compute the linear layers of the public model at two hosts, which learn nothing of the text if they do not collude: A,B as
    /// `equicrypt shares serve` prints them. --model is then the folder that `equicrypt shares prepare` has made
    #[arg(long, value_name = "A,B", value_delimiter = ',', conflicts_with_all = ["host", "manifest", "seal_to", "unsealed", "host_keys", "api_key_file"])]
    pub(crate) shares: Vec<HostAddress>,
    /// The original's folder: tokenizer, labels and configuration are read from it
    #[arg(long, value_name = "DIR")]
    pub(crate) model: PathBuf,
    /// Where the encrypted model is served
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:8700")]
    pub(crate) host: String,
    /// The encrypted folder's equicrypt.json, for hosts that do not publish it
    #[arg(long, value_name = "FILE")]
    pub(crate) manifest: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) sealing: SealArgs,
    /// Send the bearer token in the first line of this file
    #[arg(long, value_name = "FILE")]
    pub(crate) api_key_file: Option<PathBuf>,
    /// Fail on a text that is longer than the model reads, in place of cutting it and saying so
    #[arg(long)]
    pub(crate) refuse_long: bool,
}

/// How many texts at a time.
#[derive(clap::Args)]
pub(crate) struct BatchArgs {
    /// Texts in one request, at most
    #[arg(long, value_name = "N", default_value_t = 32, value_parser = clap::value_parser!(u16).range(1..=4096))]
    pub(crate) batch: u16,
}

#[derive(clap::Args)]
pub(crate) struct Embed {
    /// The texts; without any, one a line from standard input, which other users of this machine cannot list
    #[arg(value_name = "TEXT")]
    pub(crate) texts: Vec<String>,
    #[command(flatten)]
    pub(crate) encoder: EncoderArgs,
    #[command(flatten)]
    pub(crate) batch: BatchArgs,
    /// Put the model's prompt of this name in front of each text, in place of its default one
    #[arg(long, value_name = "NAME")]
    pub(crate) prompt: Option<String>,
    /// Encrypt the embeddings again, for a database: rotated and scaled under the key, cosines as they were
    #[arg(long, conflicts_with = "shares")]
    pub(crate) encrypted: bool,
    /// Add noise to encrypted embeddings, which changes a distance between two by half of B at most
    #[arg(long, value_name = "B", default_value_t = 0.0, requires = "encrypted")]
    pub(crate) perturb: f64,
    /// Leave the embeddings in the host's coordinates, for a search that the host makes
    #[arg(long, conflicts_with_all = ["encrypted", "shares"])]
    pub(crate) as_host: bool,
}

#[derive(clap::Args)]
pub(crate) struct Classify {
    /// The texts; without any, one a line from standard input, which other users of this machine cannot list
    #[arg(value_name = "TEXT")]
    pub(crate) texts: Vec<String>,
    #[command(flatten)]
    pub(crate) encoder: EncoderArgs,
    #[command(flatten)]
    pub(crate) batch: BatchArgs,
}

#[derive(clap::Args)]
pub(crate) struct Rerank {
    /// What is looked for
    pub(crate) query: String,
    /// The documents; without any, one a line from standard input, which other users of this machine cannot list
    #[arg(value_name = "DOC")]
    pub(crate) documents: Vec<String>,
    #[command(flatten)]
    pub(crate) encoder: EncoderArgs,
    #[command(flatten)]
    pub(crate) batch: BatchArgs,
    /// Only the best N
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) top: Option<u32>,
}

#[derive(clap::Args)]
pub(crate) struct FillMask {
    /// The text, with the model's mask, such as [MASK], where a word is to be found
    pub(crate) text: String,
    #[command(flatten)]
    pub(crate) encoder: EncoderArgs,
    /// How many words for each mask
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) top: u16,
}
