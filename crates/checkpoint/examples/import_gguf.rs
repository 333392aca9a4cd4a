//! Turns a GGUF file into a Hugging Face folder.
//!
//! ```text
//! cargo run --release -p equicrypt-checkpoint --example import_gguf -- MODEL.gguf OUT
//! ```
#![allow(clippy::print_stderr, reason = "an example's only output")]

use std::env;
use std::path::Path;
use std::process::ExitCode;

use equicrypt_checkpoint::import_gguf;

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [gguf, out] = arguments.as_slice() else {
        eprintln!("usage: import_gguf MODEL.gguf OUT");
        return ExitCode::from(2);
    };
    let mut report = |done: u64, total: u64| eprint!("\r{done} of {total} bytes");
    let outcome = import_gguf(Path::new(gguf), Path::new(out), &mut report);
    eprintln!();
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}
