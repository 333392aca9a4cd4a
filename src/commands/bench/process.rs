//! `equicrypt encrypt` in a process of its own, so that its memory is its own.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use equicrypt_cipher::{MasterKey, write_key_file};
use serde_json::Value;

/// A new key file in `place`, that goes with it.
pub(super) fn key(place: &Path) -> Result<PathBuf> {
    let key = place.join("owner.key");
    write_key_file(&key, &MasterKey::generate()?, None)?;
    Ok(key)
}

/// Encrypts the folder `model` into the new folder `out`; returns what was printed.
pub(super) fn encrypt(model: &Path, key: &Path, out: &Path, options: &[&str]) -> Result<Value> {
    let program = std::env::current_exe().context("cannot find this program's own file")?;
    let output = Command::new(program)
        .args(["encrypt", "--json", "--key"])
        .arg(key)
        .arg("--output")
        .arg(out)
        .args(options)
        .arg(model)
        .output()
        .context("cannot start the process that encrypts")?;
    if !output.status.success() {
        let why = String::from_utf8_lossy(&output.stderr);
        bail!("{}", why.trim().trim_start_matches("equicrypt: "));
    }
    serde_json::from_slice(&output.stdout).context("encrypt --json printed no JSON")
}
