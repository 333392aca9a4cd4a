use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;

use clap::{ArgGroup, ValueEnum};
use equicrypt_gateway::default_budget;
use equicrypt_shares::HostAddress;

use super::{KeyArgs, SealArgs};

#[derive(clap::Args)]
#[command(group = ArgGroup::new("mode").required(true).args(["key", "shares"]))]
pub(crate) struct Gateway {
    #[command(flatten)]
    pub(crate) key: Option<KeyArgs>,
    /// Encrypt nothing; compute the linear layers of the public model at two hosts, which learn nothing of the text if they do not collude: A,B as
    /// `equicrypt shares serve` prints them. --model is then the folder that `equicrypt shares prepare` has made
    #[arg(long, value_name = "A,B", value_delimiter = ',', conflicts_with_all = ["upstream", "engine", "manifest", "seal_to", "unsealed", "host_keys", "budget", "state", "hide_stops", "upstream_api_key_file"])]
    pub(crate) shares: Vec<HostAddress>,
    /// While nothing is asked, have host B compute masks for prompts of so many tokens to come, which then wait for host A alone. Each takes
    /// memory here: as many bytes as `equicrypt shares prepare` says that a token brings from B
    #[arg(long, value_name = "TOKENS", default_value_t = 0, conflicts_with = "key", value_parser = clap::value_parser!(u32).range(..=131_072))]
    pub(crate) reserve: u32,
    /// The original's folder: tokenizer, chat template and configuration are read from it
    #[arg(long, value_name = "DIR")]
    pub(crate) model: PathBuf,
    /// Where the encrypted model is served; given several times, requests go to the least loaded
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:8700")]
    pub(crate) upstream: Vec<String>,
    /// Which engine runs there; asked for if not given
    #[arg(long, value_enum)]
    pub(crate) engine: Option<EngineName>,
    #[command(flatten)]
    pub(crate) sealing: SealArgs,
    /// The encrypted folder's equicrypt.json, for hosts that do not publish it: all but equicrypt. Given once it is of all hosts, else one
    /// for each --upstream in their order; a host must then serve that epoch. Without it hosts may have different epochs, and
    /// change over to new ones
    #[arg(long, value_name = "FILE")]
    pub(crate) manifest: Vec<PathBuf>,
    /// Tokens of prompts and answers that may go out under one epoch, over all runs: a number, "off", or "measured", where an attacker
    /// who knows text from the same source reads 5 % of the tokens: 9,000 with 1,024 homophones, 190,000 with 16,384, and 100, too few to
    /// work with, under a one-to-one vocabulary ("equicrypt audit MODEL --traffic FILE --same-source FILE --attack cooccurrence" measures it on your
    /// texts). At half of it there is a warning, at the budget prompts are refused, and an answer that runs may pass it by a tenth
    #[arg(long, value_name = "TOKENS", env = "EQUICRYPT_GATEWAY_BUDGET", default_value_t = Budget::Measured)]
    pub(crate) budget: Budget,
    /// The file with the counts, for several gateways too; without it one for each key and model in $XDG_STATE_HOME/equicrypt, or
    /// ~/.local/state/equicrypt
    #[arg(long, value_name = "FILE")]
    pub(crate) state: Option<PathBuf>,
    /// The address to listen on; port 0 takes a free one
    #[arg(
        long,
        value_name = "ADDRESS",
        env = "EQUICRYPT_GATEWAY_LISTEN",
        default_value = "127.0.0.1:8080"
    )]
    pub(crate) listen: SocketAddr,
    /// The model's name for clients; the folder's name if not given
    #[arg(long)]
    pub(crate) name: Option<String>,
    /// Require the bearer token in the first line of this file from clients
    #[arg(long, value_name = "FILE")]
    pub(crate) api_key_file: Option<PathBuf>,
    /// Send the bearer token in the first line of this file to the hosts
    #[arg(long, value_name = "FILE")]
    pub(crate) upstream_api_key_file: Option<PathBuf>,
    /// Do not tell hosts which ids end an answer: close the connection when one comes
    #[arg(long)]
    pub(crate) hide_stops: bool,
    /// How the model writes tool calls; by its chat template if not given
    #[arg(long, value_name = "NAME")]
    pub(crate) tool_format: Option<String>,
    /// Give a host up that sends nothing for so many seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 120, value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) upstream_timeout: u64,
}

/// How many tokens may go out under one epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Budget {
    /// As many as measurements advise.
    Measured,
    Tokens(u64),
    /// Any number.
    Off,
}

impl Budget {
    /// Under a vocabulary with so many homophones; none for any number.
    pub(crate) fn tokens(self, homophones: usize) -> Option<u64> {
        match self {
            Self::Measured => Some(default_budget(homophones)),
            Self::Tokens(tokens) => Some(tokens),
            Self::Off => None,
        }
    }
}

impl FromStr for Budget {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match (text, text.parse()) {
            ("off", _) => Ok(Self::Off),
            ("measured", _) => Ok(Self::Measured),
            (_, Ok(tokens)) if tokens > 0 => Ok(Self::Tokens(tokens)),
            _ => Err("expected a number of tokens above 0, measured, or off"),
        }
    }
}

impl fmt::Display for Budget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Measured => f.write_str("measured"),
            Self::Tokens(tokens) => write!(f, "{tokens}"),
            Self::Off => f.write_str("off"),
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum EngineName {
    Equicrypt,
    /// Asks which of its two routes is open
    Vllm,
    VllmCompletions,
    Sglang,
    Llamacpp,
}

impl EngineName {
    /// Its row in the gateway's table.
    pub(crate) fn row(self) -> &'static str {
        match self {
            Self::Equicrypt => "equicrypt",
            Self::Vllm => "vllm",
            Self::VllmCompletions => "vllm-completions",
            Self::Sglang => "sglang",
            Self::Llamacpp => "llamacpp",
        }
    }
}
