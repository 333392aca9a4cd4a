//! One file a verb.

mod ask;
mod demo;
mod encrypt;
mod export;
mod fetch;
mod import;
mod inspect;
mod keygen;
mod serve;
mod tokens;
mod verify;

use anyhow::Result;

use crate::args::Command;

/// Runs one command.
pub(crate) fn run(command: Command) -> Result<()> {
    match command {
        Command::Demo(args) => demo::run(&args),
        Command::Fetch(args) => fetch::run(&args),
        Command::Import(args) => import::run(&args),
        Command::Export(args) => export::run(&args),
        Command::Keygen(args) => keygen::run(&args),
        Command::Encrypt(args) => encrypt::run(&args),
        Command::Inspect(args) => inspect::run(&args),
        Command::Tokens(args) => tokens::run(&args),
        Command::Serve(args) => serve::run(&args),
        Command::Ask(args) => ask::run(&args),
        Command::Verify(args) => verify::run(&args),
    }
}
