//! One file a verb, and what several of them do.

mod ask;
mod audit;
mod bench;
mod classify;
mod demo;
mod embed;
mod encoder;
mod encrypt;
mod export;
mod fetch;
mod fill_mask;
mod folder;
mod frequencies;
mod gateway;
mod host_process;
mod import;
mod inspect;
mod keygen;
mod owner_engine;
mod rekey;
mod rerank;
mod sealing;
mod serve;
mod shares;
mod shares_view;
mod stop;
mod tokenizer;
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
        Command::Rekey(args) => rekey::run(&args),
        Command::Inspect(args) => inspect::run(&args),
        Command::Tokens(args) => tokens::run(&args),
        Command::Tokenizer(args) => tokenizer::run(&args),
        Command::Serve(args) => serve::run(&args),
        Command::Ask(args) => ask::run(&args),
        Command::Gateway(args) => gateway::run(&args),
        Command::Embed(args) => embed::run(&args),
        Command::Classify(args) => classify::run(&args),
        Command::Rerank(args) => rerank::run(&args),
        Command::FillMask(args) => fill_mask::run(&args),
        Command::Verify(args) => verify::run(&args),
        Command::Audit(args) => audit::run(&args),
        Command::Shares(shares) => shares::run(&shares),
        Command::Bench(bench) => bench::run(&bench),
    }
}
