use std::path::PathBuf;

use super::KeyArgs;

#[derive(clap::Args)]
pub(crate) struct Rekey {
    /// The encrypted folder
    pub(crate) folder: PathBuf,
    /// The encrypted folder to make
    #[arg(short, long, value_name = "DIR")]
    pub(crate) output: PathBuf,
    #[command(flatten)]
    pub(crate) key: KeyArgs,
    /// The new epoch, above the present one; the next one if not given
    #[arg(long, value_name = "N")]
    pub(crate) epoch: Option<u32>,
    /// Take an epoch below the present one: whoever has seen traffic of that epoch counts on where they stopped
    #[arg(long, requires = "epoch")]
    pub(crate) allow_lower: bool,
    /// Print the summary as JSON
    #[arg(long)]
    pub(crate) json: bool,
}
