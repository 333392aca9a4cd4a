use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use equicrypt_spec::{KeyId, Manifest};
use serde::{Deserialize, Serialize};

use crate::Error;

/// Counts in a file, changed by one process at a time and whole or not at all.
pub(super) struct StateFile {
    path: PathBuf,
    key_id: KeyId,
    source_fingerprint: String,
    /// Whether it was there once: then it must not be gone.
    was_there: AtomicBool,
}

/// What is in it: counts, never ids or texts.
#[derive(Serialize, Deserialize)]
struct State {
    format_version: u32,
    key_id: KeyId,
    source_fingerprint: String,
    /// By epoch.
    tokens: BTreeMap<u32, u64>,
}

impl StateFile {
    pub(super) fn new(path: PathBuf, manifest: &Manifest) -> Self {
        Self {
            path,
            key_id: manifest.key_id,
            source_fingerprint: manifest.source_fingerprint.clone(),
            was_there: AtomicBool::new(false),
        }
    }

    /// The counts; none if there is no file yet.
    pub(super) fn read(&self) -> Result<BTreeMap<u32, u64>, Error> {
        let text = match fs::read(&self.path) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => {
                return match self.was_there.load(Ordering::Relaxed) {
                    true => Err(self.bad("is gone")),
                    false => Ok(BTreeMap::new()),
                };
            }
            Err(error) => return Err(self.bad(format!("cannot be read: {error}"))),
        };
        let state: State = serde_json::from_slice(&text)
            .map_err(|error| self.bad(format!("is damaged: {error}")))?;
        if state.format_version != FORMAT_VERSION {
            let found = state.format_version;
            return Err(self.bad(format!(
                "has format_version {found}, this version knows {FORMAT_VERSION}"
            )));
        }
        if state.key_id != self.key_id || state.source_fingerprint != self.source_fingerprint {
            return Err(self.bad("counts for another key or model"));
        }
        self.was_there.store(true, Ordering::Relaxed);
        Ok(state.tokens)
    }

    /// Adds to an epoch's count, and returns it once it is on the disk.
    pub(super) fn add(&self, epoch: u32, change: i128) -> Result<u64, Error> {
        let unwritable = |error: std::io::Error| self.bad(format!("cannot be written: {error}"));
        let folder = match self.path.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder,
            _ => Path::new("."),
        };
        let mut builder = DirBuilder::new();
        (builder.recursive(true).mode(0o700))
            .create(folder)
            .map_err(unwritable)?;
        // The file itself is replaced, and a lock on what was replaced locks nobody out.
        let lock = secret(&self.sibling(".lock"), false).map_err(unwritable)?;
        lock.lock().map_err(unwritable)?;
        let mut tokens = self.read()?;
        let count = tokens.entry(epoch).or_default();
        let sum = i128::from(*count) + change;
        *count = u64::try_from(sum.max(0)).map_err(|_| self.bad("counts more than 2^64 tokens"))?;
        let count = *count;
        let state = State {
            format_version: FORMAT_VERSION,
            key_id: self.key_id,
            source_fingerprint: self.source_fingerprint.clone(),
            tokens,
        };
        let text = serde_json::to_vec_pretty(&state).map_err(|error| unwritable(error.into()))?;
        let partial = self.sibling(".partial");
        let mut file = secret(&partial, true).map_err(unwritable)?;
        (file.write_all(&text).and_then(|()| file.sync_all())).map_err(unwritable)?;
        fs::rename(&partial, &self.path).map_err(unwritable)?;
        (File::open(folder).and_then(|folder| folder.sync_all())).map_err(unwritable)?;
        self.was_there.store(true, Ordering::Relaxed);
        Ok(count)
    }

    pub(super) fn bad(&self, problem: impl Into<String>) -> Error {
        Error::State {
            path: self.path.clone(),
            problem: problem.into(),
        }
    }

    fn sibling(&self, ending: &str) -> PathBuf {
        let mut path = self.path.clone().into_os_string();
        path.push(ending);
        path.into()
    }
}

/// A file for its owner only.
fn secret(path: &Path, empty: bool) -> std::io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(empty).mode(0o600);
    options.open(path)
}

const FORMAT_VERSION: u32 = 1;
