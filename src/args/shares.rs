//! `equicrypt shares`.

use std::path::PathBuf;

use clap::{Subcommand, ValueEnum};
use equicrypt_sealed::Address;

#[derive(Subcommand)]
pub(crate) enum Shares {
    /// Make the owner's folder of a public model: what is not computed by hosts, and how their answers are checked
    Prepare(SharesPrepare),
    /// Compute the linear layers of a public model for owners, on numbers that say nothing
    ///
    /// Two hosts that do not collude are needed, and neither has to know which of the two it is. It has no key of an owner's.
    Serve(SharesServe),
}

#[derive(clap::Args)]
pub(crate) struct SharesPrepare {
    /// The public model: a Hugging Face folder
    #[arg(value_name = "MODEL")]
    pub(crate) model: PathBuf,
    /// The folder to make
    #[arg(short, long, value_name = "OWNER_DIR")]
    pub(crate) output: PathBuf,
    /// Where logits are computed, if the head is not the embedding; else by the owner, who has it in any case
    #[arg(long, value_enum, default_value = "remote")]
    pub(crate) head: HeadPlaceName,
}

#[derive(clap::Args)]
pub(crate) struct SharesServe {
    /// The public model: a Hugging Face folder
    #[arg(value_name = "MODEL")]
    pub(crate) model: PathBuf,
    /// Where to listen: tcp://HOST:PORT, with port 0 for a free one, or unix:PATH
    #[arg(long, value_name = "ADDRESS", default_value = "tcp://127.0.0.1:8701")]
    pub(crate) listen: Address,
    /// The file with the key by which owners recognise this host, made if it is not there; without it
    /// $XDG_STATE_HOME/equicrypt/transport.key or ~/.local/state/equicrypt/transport.key
    #[arg(long, value_name = "FILE")]
    pub(crate) transport_key: Option<PathBuf>,
    /// Owners who may be connected at the same time
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) most_owners: u16,
}

#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum HeadPlaceName {
    /// By the owner: a larger folder, less traffic
    Local,
    /// By the hosts
    Remote,
}
