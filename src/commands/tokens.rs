use std::io::Read;
use std::path::Path;

use anyhow::{Context, Result};
use equicrypt_cipher::Vocabulary;
use equicrypt_spec::Manifest;

use crate::args::{Direction, Tokens};
use crate::key;
use crate::terminal::Terminal;

pub(super) fn run(args: &Tokens) -> Result<()> {
    let (Direction::Encrypt(shared) | Direction::Decrypt(shared)) = &args.direction;
    let manifest = read_manifest(&shared.manifest)?;
    let vocabulary = Vocabulary::open(&key::open(&shared.key)?, &manifest)?;
    let mut input = String::new();
    std::io::stdin()
        .read_to_string(&mut input)
        .context("cannot read standard input")?;
    // serde_json's own message could quote an id.
    let ids: Vec<u32> = serde_json::from_str(&input).map_err(|error| {
        anyhow::anyhow!(
            "standard input, line {} column {}: expected a JSON list of token ids, such as [17, 5]",
            error.line(),
            error.column()
        )
    })?;
    let out = match args.direction {
        Direction::Encrypt(_) => vocabulary.encrypt(&ids)?.as_slice().to_vec(),
        Direction::Decrypt(_) => vocabulary.decrypt(&ids)?,
    };
    Terminal::new().line(&serde_json::to_string(&out)?)
}

/// Reads a manifest from a file.
pub(super) fn read_manifest(path: &Path) -> Result<Manifest> {
    let text = std::fs::read(path)
        .with_context(|| format!("cannot read the manifest {}", path.display()))?;
    Manifest::parse(&text).with_context(|| format!("in {}", path.display()))
}
