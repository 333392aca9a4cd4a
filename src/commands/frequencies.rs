//! How frequent each plain id is, for whoever has to guess before anything was sent.

use std::path::Path;

use anyhow::{Context, Result, bail};
use equicrypt_audit::DOCUMENT;
use equicrypt_gateway::Text;

/// How often each of `ids` plain ids occurs in a text under the model's own tokenizer: in the file, or in a built-in sample of
/// English prose. A folder without tokenizer.json has Zipf's law over the order of ids, which is that of frequency in vocabularies
/// made by byte-pair encoding.
pub(super) fn frequencies(model: &Path, ids: usize, text: Option<&Path>) -> Result<Vec<f64>> {
    if !model.join("tokenizer.json").exists() {
        if text.is_some() {
            bail!(
                "--homophones-text: {} has no tokenizer.json to read a text with; leave it out",
                model.display()
            );
        }
        return Ok((1..=ids).map(|rank| 1.0 / rank as f64).collect());
    }
    let given = text.map(|path| {
        std::fs::read_to_string(path)
            .with_context(|| format!("--homophones-text: cannot read {}", path.display()))
    });
    let given = given.transpose()?;
    let tokenizer = Text::open(model)?;
    let mut counts = vec![0.0; ids];
    for line in given.as_deref().unwrap_or(DOCUMENT).lines() {
        for id in tokenizer.encode(line)? {
            if let Some(count) = counts.get_mut(id as usize) {
                *count += 1.0;
            }
        }
    }
    Ok(counts)
}
