use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use equicrypt_sealed::TransportPublic;
use serde::{Deserialize, Serialize};

use crate::Error;

/// Which transport key each host had on first contact: a file, changed by one process at a time and whole or not at all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostKeys(PathBuf);

/// What is in it.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Pins {
    format_version: u32,
    /// By address.
    hosts: BTreeMap<String, String>,
}

impl HostKeys {
    /// The keys in this file, which is made with the first one.
    #[must_use]
    pub fn new(path: PathBuf) -> Self {
        Self(path)
    }

    /// The file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// The key of a host, if there was contact with it.
    pub(super) fn of(&self, url: &str) -> Result<Option<TransportPublic>, Error> {
        let pins = self.read()?;
        let key = pins.hosts.get(url).map(|key| key.parse());
        key.transpose()
            .map_err(|error| self.bad(format!("{url}: {error}")))
    }

    /// Keeps the key of a host that had none, and returns the one that is kept.
    pub(super) fn keep(&self, url: &str, key: &TransportPublic) -> Result<TransportPublic, Error> {
        if let Some(kept) = self.of(url)? {
            return Ok(kept);
        }
        let unwritable = |error: std::io::Error| self.bad(format!("it cannot be written: {error}"));
        let folder = match self.0.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder,
            _ => Path::new("."),
        };
        (DirBuilder::new().recursive(true).mode(0o700))
            .create(folder)
            .map_err(unwritable)?;
        // The file itself is replaced, and a lock on what was replaced locks nobody out.
        let lock = private(&self.beside(".lock"), false).map_err(unwritable)?;
        lock.lock().map_err(unwritable)?;
        // Another process may have come first.
        if let Some(kept) = self.of(url)? {
            return Ok(kept);
        }
        let mut pins = self.read()?;
        pins.hosts.insert(url.to_owned(), key.to_string());
        let text = serde_json::to_vec_pretty(&pins).map_err(|error| unwritable(error.into()))?;
        let partial = self.beside(".partial");
        let mut file = private(&partial, true).map_err(unwritable)?;
        (file.write_all(&text).and_then(|()| file.sync_all())).map_err(unwritable)?;
        fs::rename(&partial, &self.0).map_err(unwritable)?;
        (File::open(folder).and_then(|folder| folder.sync_all())).map_err(unwritable)?;
        Ok(key.clone())
    }

    fn read(&self) -> Result<Pins, Error> {
        let text = match fs::read(&self.0) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => {
                return Ok(Pins {
                    format_version: FORMAT_VERSION,
                    hosts: BTreeMap::new(),
                });
            }
            Err(error) => return Err(self.bad(format!("it cannot be read: {error}"))),
        };
        let pins: Pins = serde_json::from_slice(&text)
            .map_err(|error| self.bad(format!("it is damaged: {error}")))?;
        match pins.format_version {
            FORMAT_VERSION => Ok(pins),
            found => Err(self.bad(format!(
                "it has format_version {found}, this version knows {FORMAT_VERSION}"
            ))),
        }
    }

    fn bad(&self, problem: impl Into<String>) -> Error {
        Error::HostKeys {
            path: self.0.clone(),
            problem: problem.into(),
        }
    }

    fn beside(&self, ending: &str) -> PathBuf {
        let mut path = self.0.clone().into_os_string();
        path.push(ending);
        path.into()
    }
}

/// A file for its owner only.
fn private(path: &Path, empty: bool) -> std::io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(empty).mode(0o600);
    options.open(path)
}

const FORMAT_VERSION: u32 = 1;

#[cfg(test)]
mod tests {
    use equicrypt_sealed::TransportSecret;

    use super::*;

    fn key() -> TransportPublic {
        TransportSecret::generate().unwrap().public().unwrap()
    }

    #[test]
    fn the_first_key_of_each_host_stays() {
        let dir = tempfile::tempdir().unwrap();
        let keys = HostKeys::new(dir.path().join("state/hosts.json"));
        assert_eq!(keys.of("http://a").unwrap(), None);
        let (first, second) = (key(), key());
        assert_eq!(keys.keep("http://a", &first).unwrap(), first);
        assert_eq!(keys.keep("http://a", &second).unwrap(), first);
        assert_eq!(keys.keep("http://b", &second).unwrap(), second);
        let again = HostKeys::new(keys.path().to_owned());
        assert_eq!(again.of("http://a").unwrap(), Some(first));
        assert_eq!(again.of("http://b").unwrap(), Some(second));
    }

    #[test]
    fn of_many_that_come_first_one_does() {
        let dir = tempfile::tempdir().unwrap();
        let keys = HostKeys::new(dir.path().join("hosts.json"));
        let kept: Vec<_> = std::thread::scope(|scope| {
            let keep = |_| scope.spawn(|| keys.keep("http://a", &key()).unwrap());
            let threads: Vec<_> = (0..8).map(keep).collect();
            threads
                .into_iter()
                .map(|thread| thread.join().unwrap())
                .collect()
        });
        assert!(kept.iter().all(|key| *key == kept[0]));
    }

    #[test]
    fn a_damaged_file_is_refused_and_stays() {
        let dir = tempfile::tempdir().unwrap();
        let keys = HostKeys::new(dir.path().join("hosts.json"));
        keys.keep("http://a", &key()).unwrap();
        let good = fs::read_to_string(keys.path()).unwrap();
        for bad in [
            "",
            "{}",
            &good[..good.len() - 3],
            &good.replace("1,", "2,"),
            &good.replace("transport-1", "x"),
        ] {
            fs::write(keys.path(), bad).unwrap();
            let message = keys.keep("http://a", &key()).unwrap_err().to_string();
            assert!(message.contains("hosts.json"), "{message}");
            assert_eq!(fs::read_to_string(keys.path()).unwrap(), bad);
        }
    }
}
