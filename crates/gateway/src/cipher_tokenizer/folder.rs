use std::fs::{self, OpenOptions, Permissions};
use std::io::Write;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

use equicrypt_checkpoint::StagedDir;
use equicrypt_spec::MANIFEST_FILE;
use serde_json::Value;
use zeroize::Zeroizing;

use crate::Error;

/// A file to write.
pub(super) struct File {
    /// Its path in the folder.
    pub(super) name: String,
    pub(super) content: Zeroizing<Vec<u8>>,
}

impl File {
    pub(super) fn new(name: &str, content: Vec<u8>) -> Self {
        Self {
            name: name.to_owned(),
            content: Zeroizing::new(content),
        }
    }

    pub(super) fn json(name: &str, value: &Value) -> Self {
        Self::new(name, format!("{value:#}\n").into_bytes())
    }
}

pub(super) fn write(files: &[File], output: &Path) -> Result<(), Error> {
    let beside = output.parent().map(|parent| parent.join(MANIFEST_FILE));
    if beside.is_some_and(|manifest| manifest.exists()) {
        return Err(Error::SecretBesideWeights {
            path: output.to_owned(),
        });
    }
    let staged = StagedDir::new(output)?;
    close(staged.path())?;
    for file in files {
        let path = staged.path().join(&file.name);
        if let Some(parent) = path.parent().filter(|parent| !parent.exists()) {
            fs::create_dir(parent).map_err(unwritable(parent))?;
            close(parent)?;
        }
        OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)
            .and_then(|mut out| out.write_all(&file.content))
            .map_err(unwritable(&path))?;
    }
    Ok(staged.commit()?)
}

/// Nobody else may look into a folder.
fn close(dir: &Path) -> Result<(), Error> {
    fs::set_permissions(dir, Permissions::from_mode(0o700)).map_err(unwritable(dir))
}

fn unwritable(path: &Path) -> impl FnOnce(std::io::Error) -> Error {
    let path = path.to_owned();
    |source| Error::Unwritable { path, source }
}
