use std::fs::{self, DirBuilder, File};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::Path;

use zeroize::Zeroizing;

use crate::key::unhex;
use crate::{Error, TransportSecret};

impl TransportSecret {
    /// The secret in a file that only its owner can read.
    ///
    /// # Errors
    /// If there is none, others can read it, or something else is in it.
    pub fn load(path: &Path) -> Result<Self, Error> {
        let fail = |source| Error::File {
            path: path.to_owned(),
            source,
        };
        let mut file = File::open(path).map_err(fail)?;
        let mode = file.metadata().map_err(fail)?.permissions().mode() & 0o7777;
        if mode & 0o077 != 0 {
            return Err(Error::FileMode {
                path: path.to_owned(),
                mode,
            });
        }
        let mut bytes = Zeroizing::new(Vec::with_capacity(MOST_BYTES));
        (Read::take(&mut file, MOST_BYTES as u64).read_to_end(&mut bytes)).map_err(fail)?;
        let text = str::from_utf8(&bytes).ok();
        let mut lines = text.into_iter().flat_map(str::lines);
        let digits = lines.find_map(|line| line.trim().strip_prefix(PREFIX));
        let secret = digits.and_then(unhex).map(Self::from_bytes);
        secret.ok_or_else(|| Error::FileText {
            path: path.to_owned(),
        })
    }

    /// Puts the secret into a new file of mode 0600, whole or not at all; its folder is made if it is missing.
    ///
    /// # Errors
    /// If the file exists, or cannot be written.
    pub fn save(&self, path: &Path) -> Result<(), Error> {
        let text = Zeroizing::new(format!(
            "# equicrypt's transport secret: who has it reads the requests that were sealed to it\n{PREFIX}{}\n",
            *self.expose_hex()
        ));
        write_new(path, text.as_bytes()).map_err(|source| Error::File {
            path: path.to_owned(),
            source,
        })
    }

    /// The secret in a file, or a new one that is put there. Of several processes that come at the same time all get the
    /// same.
    pub fn load_or_create(path: &Path) -> Result<Self, Error> {
        let is = |error: &Error, kind| matches!(error, Error::File { source, .. } if source.kind() == kind);
        match Self::load(path) {
            Err(error) if is(&error, ErrorKind::NotFound) => {}
            loaded => return loaded,
        }
        let secret = Self::generate()?;
        match secret.save(path) {
            Ok(()) => Ok(secret),
            Err(error) if is(&error, ErrorKind::AlreadyExists) => Self::load(path),
            Err(error) => Err(error),
        }
    }
}

fn write_new(path: &Path, text: &[u8]) -> io::Result<()> {
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    if !folder.is_dir() {
        (DirBuilder::new().recursive(true).mode(0o700)).create(folder)?;
    }
    // A temporary file has mode 0600, and is removed if anything fails.
    let mut file = tempfile::NamedTempFile::new_in(folder)?;
    file.write_all(text)?;
    file.as_file().sync_all()?;
    file.persist_noclobber(path).map_err(|error| error.error)?;
    fs::File::open(folder)?.sync_all()
}

const PREFIX: &str = "equicrypt-transport-secret-1:";
/// Far more than there is.
const MOST_BYTES: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_outlives_the_process_in_a_private_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("deep/er/transport.key");
        let made = TransportSecret::load_or_create(&path).unwrap();
        let mode = path.metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let again = TransportSecret::load_or_create(&path).unwrap();
        assert_eq!(made.public().unwrap(), again.public().unwrap());
        assert!(made.save(&path).is_err());
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
    }

    #[test]
    fn of_many_that_start_together_all_have_the_same() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state/transport.key");
        let start = std::sync::Barrier::new(8);
        let publics: Vec<_> = std::thread::scope(|scope| {
            let open = || {
                start.wait();
                TransportSecret::load_or_create(&path)
                    .unwrap()
                    .public()
                    .unwrap()
            };
            let threads: Vec<_> = (0..8).map(|_| scope.spawn(open)).collect();
            threads
                .into_iter()
                .map(|thread| thread.join().unwrap())
                .collect()
        });
        assert!(publics.iter().all(|public| *public == publics[0]));
    }

    #[test]
    fn what_others_can_read_or_is_damaged_is_refused_and_stays() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        TransportSecret::generate().unwrap().save(&path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        let message = TransportSecret::load_or_create(&path)
            .err()
            .unwrap()
            .to_string();
        assert!(message.contains("640"), "{message}");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        let good = fs::read_to_string(&path).unwrap();
        for bad in [
            "",
            "\u{e9}",
            &good[..good.len() - 2],
            &good.replace("secret-1", "secret-2"),
        ] {
            fs::write(&path, bad).unwrap();
            let error = TransportSecret::load_or_create(&path).err().unwrap();
            assert!(matches!(error, Error::FileText { .. }), "{error}");
            assert_eq!(fs::read_to_string(&path).unwrap(), bad);
        }
    }
}
