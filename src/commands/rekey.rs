use std::path::Path;
use std::time::Instant;

use anyhow::{Result, bail};
use equicrypt_checkpoint::Checkpoint;
use equicrypt_cipher::NextEpoch;
use equicrypt_spec::MANIFEST_FILE;
use serde_json::json;

use super::export::GGUF_FILE;
use super::tokens::read_manifest;
use crate::args::Rekey;
use crate::terminal::Terminal;
use crate::{key, progress};

pub(super) fn run(args: &Rekey) -> Result<()> {
    refuse_gguf(&args.folder)?;
    let manifest = read_manifest(&args.folder.join(MANIFEST_FILE))?;
    let encrypted = Checkpoint::open(&args.folder)?;
    let key = key::open(&args.key)?;
    let epoch = match (args.epoch, args.allow_lower) {
        (None, _) => NextEpoch::Next,
        (Some(epoch), false) => NextEpoch::Later(epoch),
        (Some(epoch), true) => NextEpoch::Any(epoch),
    };
    let start = Instant::now();
    let total = encrypted.tensors().map(|tensor| tensor.byte_len).sum();
    let bar = progress::bytes("rekeying", total);
    let (output, count) = (&args.output, |bytes| bar.inc(bytes));
    let rekeyed = equicrypt_cipher::rekey(&encrypted, &manifest, output, &key, epoch, &count);
    bar.finish_and_clear();
    let rekeyed = rekeyed?;
    let seconds = start.elapsed().as_secs_f64();

    let files = rekeyed.files;
    let mut terminal = Terminal::new();
    if args.json {
        return terminal.json(&json!({
            "output": output,
            "manifest": rekeyed.manifest,
            "tensors": rekeyed.tensors,
            "bytes": rekeyed.bytes,
            "files": {
                "linked": files.linked, "copied": files.copied, "rewritten": files.rewritten,
            },
            "seconds": seconds,
        }));
    }
    terminal.line(&format!(
        "rekeyed epoch {} to epoch {} in {} under key {}: {} MB in tensors with a vocabulary axis: {}",
        manifest.epoch,
        rekeyed.manifest.epoch,
        output.display(),
        rekeyed.manifest.key_id,
        rekeyed.bytes / 1_000_000,
        rekeyed.tensors,
    ))?;
    terminal.line(&format!(
        "{seconds:.2} s; of the weights' files {} rewritten, {} linked, {} copied",
        files.rewritten, files.linked, files.copied
    ))
}

/// A quantised file holds rows in blocks of its own; the folder that it was made from is the way.
fn refuse_gguf(path: &Path) -> Result<()> {
    let is_file = path.is_file() && path.extension().is_some_and(|end| end == "gguf");
    if is_file || (path.join(GGUF_FILE).exists() && !path.join("config.json").exists()) {
        bail!(
            "{} is encrypted as GGUF, which cannot be rekeyed; rekey the encrypted folder and export that again \
             (`equicrypt export`), or encrypt the original again with another --epoch",
            path.display()
        );
    }
    Ok(())
}
