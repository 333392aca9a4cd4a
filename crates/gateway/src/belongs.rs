use std::path::Path;

use equicrypt_checkpoint::Checkpoint;
use equicrypt_spec::{Manifest, ModelConfig};

use crate::Error;
use crate::terminal::excerpt;

/// Fails unless the manifest is of an encryption of the model in `dir`: architecture, vocabulary,
/// and, if the folder has weights, their fingerprint. Without weights the fingerprint is believed.
pub(crate) fn belongs(dir: &Path, config: &ModelConfig, manifest: &Manifest) -> Result<(), Error> {
    let other = |what, expected: String, found: String| {
        Err(Error::OtherModel {
            what,
            expected,
            found,
            dir: dir.to_owned(),
        })
    };
    let architecture = config.architecture.model_type;
    if manifest.architecture != architecture {
        let found = excerpt(&manifest.architecture);
        return other("architecture", architecture.into(), found);
    }
    let vocab_size = config.vocab_size;
    if manifest.plain_vocab_size != vocab_size {
        let found = manifest.plain_vocab_size.to_string();
        return other("plain_vocab_size", vocab_size.to_string(), found);
    }
    let most = vocab_size.saturating_add(MOST_EXTRA_IDS);
    if !(vocab_size..=most).contains(&manifest.vocab_size) {
        let expected = format!("{vocab_size} to {most}");
        return other("vocab_size", expected, manifest.vocab_size.to_string());
    }
    // With another one, the vocabulary would not be the encrypted model's.
    let kept = config.uncounted_id();
    if manifest.kept_id != kept {
        let name = |id: Option<u32>| id.map_or("none".to_owned(), |id| id.to_string());
        return other("kept_id", name(kept), name(manifest.kept_id));
    }
    if has_weights(dir)? {
        let local = Checkpoint::open(dir)?.fingerprint()?;
        if local != manifest.fingerprint()? {
            let found = manifest.source_fingerprint.clone();
            return other("source_fingerprint", hex(&local), found);
        }
    }
    Ok(())
}

fn has_weights(dir: &Path) -> Result<bool, Error> {
    let unreadable = |source| Error::File {
        path: dir.to_owned(),
        source,
    };
    for entry in std::fs::read_dir(dir).map_err(unreadable)? {
        let name = entry.map_err(unreadable)?.file_name();
        let name = name.to_string_lossy();
        if name.ends_with(".safetensors") || name.ends_with(".safetensors.index.json") {
            return Ok(true);
        }
    }
    Ok(false)
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A manifest from a host must not make the owner fill the memory with a table.
const MOST_EXTRA_IDS: usize = 1 << 20;
