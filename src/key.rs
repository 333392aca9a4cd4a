//! Where keys and passphrases come from: files and the terminal, never arguments or the environment.

use std::fs::File;
use std::io::{BufRead, BufReader, IsTerminal, Read};
use std::path::Path;

use anyhow::{Context, Result, anyhow, bail};
use equicrypt_cipher::{Error, MasterKey, Passphrase, read_key_file};

use crate::args::{KeyArgs, Keygen};

/// The key that the arguments name, asking for its passphrase if it has one.
pub(crate) fn open(args: &KeyArgs) -> Result<MasterKey> {
    let from_file = args
        .passphrase_file
        .as_deref()
        .map(passphrase_in)
        .transpose()?;
    let ask = || match from_file {
        Some(passphrase) => Ok(passphrase),
        None => prompt("Passphrase: ").map_err(|_| Error::PassphraseNeeded),
    };
    let file = args.key.display();
    read_key_file(&args.key, ask).map_err(|error| match error {
        Error::KeyFile { .. } | Error::KeyFileMode { .. } => error.into(),
        Error::PassphraseNeeded => anyhow!(
            "key file {file} is protected by a passphrase; enter it on a terminal, or give --passphrase-file"
        ),
        _ => anyhow::Error::from(error).context(format!("key file {file}")),
    })
}

/// The passphrase for a new key file, if one is wanted.
pub(crate) fn new_passphrase(args: &Keygen) -> Result<Option<Passphrase>> {
    let passphrase = match &args.passphrase_file {
        Some(file) => passphrase_in(file)?,
        None if args.passphrase => {
            let first = prompt("New passphrase: ")
                .context("--passphrase needs a terminal; in scripts use --passphrase-file")?;
            let second = prompt("The same again: ")?;
            if !first.matches(&second) {
                bail!("the two passphrases differ; nothing was written");
            }
            first
        }
        None => return Ok(None),
    };
    if passphrase.is_empty() {
        bail!("the passphrase is empty; nothing was written");
    }
    Ok(Some(passphrase))
}

/// The first line of a small file, without its line end: for passphrases and bearer tokens.
pub(crate) fn first_line(path: &Path) -> Result<String> {
    let file = File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
    let mut line = String::new();
    BufReader::new(file.take(4096))
        .read_line(&mut line)
        .with_context(|| format!("cannot read {}", path.display()))?;
    line.truncate(line.trim_end_matches(['\r', '\n']).len());
    if line.is_empty() {
        bail!(
            "{} is empty; its first line should hold the secret",
            path.display()
        );
    }
    Ok(line)
}

fn passphrase_in(path: &Path) -> Result<Passphrase> {
    first_line(path).map(Passphrase::new)
}

fn prompt(text: &str) -> std::io::Result<Passphrase> {
    if !std::io::stderr().is_terminal() {
        return Err(std::io::ErrorKind::NotConnected.into());
    }
    rpassword::prompt_password(text).map(Passphrase::new)
}
