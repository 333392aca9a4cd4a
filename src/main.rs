//! The `equicrypt` command: Equivariant Encryption of language models.

#![allow(
    clippy::print_stderr,
    reason = "the binary reports its errors on standard error"
)]

mod args;
mod commands;
mod key;
mod models;
mod progress;
mod terminal;

use std::io;
use std::process::ExitCode;

use clap::Parser;

use crate::args::Args;

fn main() -> ExitCode {
    match commands::run(Args::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("equicrypt: {}", message(&error));
            ExitCode::FAILURE
        }
    }
}

/// The reasons from the outside in, each once: most of our messages end with the reason that is also their source.
fn message(error: &anyhow::Error) -> String {
    let reasons = error.chain().map(ToString::to_string);
    let all = reasons.reduce(|said, reason| match said.ends_with(&reason) {
        true => said,
        false => format!("{said}: {reason}"),
    });
    all.unwrap_or_default()
}

/// Whoever read our output has seen enough.
fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error
        .downcast_ref::<io::Error>()
        .is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}
