use std::path::PathBuf;

use equicrypt_gateway::Pin;

/// How requests to hosts are sealed.
#[derive(clap::Args)]
pub(crate) struct SealArgs {
    /// Seal requests to this transport key, or to the one with this fingerprint, as the host prints it: in place of the key that
    /// the host has on first contact. Of several hosts given once for all, or once for each in their order
    #[arg(long, value_name = "KEY_OR_FINGERPRINT", conflicts_with = "unsealed")]
    pub(crate) seal_to: Vec<Pin>,
    /// Send requests as they are: whoever is between here and the host sees token ids
    #[arg(long)]
    pub(crate) unsealed: bool,
    /// The file with the keys that hosts had on first contact; $XDG_STATE_HOME/equicrypt/hosts.json or
    /// ~/.local/state/equicrypt/hosts.json if not given
    #[arg(long, value_name = "FILE", conflicts_with_all = ["unsealed", "seal_to"])]
    pub(crate) host_keys: Option<PathBuf>,
}
