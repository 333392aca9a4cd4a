use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

use age::secrecy::{ExposeSecret, SecretString};
use zeroize::Zeroizing;

use crate::{Error, MasterKey};

/// A passphrase that protects a key file.
pub struct Passphrase(SecretString);

impl Passphrase {
    /// Takes the text over.
    #[must_use]
    pub fn new(text: String) -> Self {
        Self(SecretString::from(text))
    }

    /// Whether there is nothing in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.expose_secret().is_empty()
    }

    /// Whether both are the same text: for asking twice.
    #[must_use]
    pub fn matches(&self, other: &Self) -> bool {
        self.0.expose_secret() == other.0.expose_secret()
    }
}

/// Writes `key` to a new file that only its owner can read (mode 0600): the text form after a comment with the key id, or,
/// with a passphrase, the same inside an armored age file (age-encryption.org/v1, scrypt recipient). Fails if the file
/// exists; a file that could not be written whole is removed.
pub fn write_key_file(
    path: &Path,
    key: &MasterKey,
    passphrase: Option<&Passphrase>,
) -> Result<(), Error> {
    let text = key.to_text();
    let mut contents = Zeroizing::new(format!(
        "# equicrypt key {}: keep it secret, keep a copy\n{}\n",
        key.id(),
        *text
    ));
    if let Some(Passphrase(passphrase)) = passphrase {
        let recipient = age::scrypt::Recipient::new(passphrase.clone());
        let sealed = age::encrypt_and_armor(&recipient, contents.as_bytes())
            .map_err(|error| Error::Passphrase(error.to_string()))?;
        contents = Zeroizing::new(sealed);
    }
    let opened = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path);
    let mut file = match opened {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
            return Err(Error::KeyFileExists {
                path: path.to_owned(),
            });
        }
        Err(source) => {
            return Err(Error::KeyFile {
                path: path.to_owned(),
                source,
            });
        }
    };
    file.write_all(contents.as_bytes())
        .and_then(|()| file.sync_all())
        .map_err(|source| {
            // What is there is no key; leaving it would look like one.
            let _ = std::fs::remove_file(path);
            Error::KeyFile {
                path: path.to_owned(),
                source,
            }
        })
}

/// Reads a key file. `ask` is called once if the file is protected. Fails if others can read the file, if its text is
/// damaged, and if the passphrase is wrong.
pub fn read_key_file(
    path: &Path,
    ask: impl FnOnce() -> Result<Passphrase, Error>,
) -> Result<MasterKey, Error> {
    let fail = |source| Error::KeyFile {
        path: path.to_owned(),
        source,
    };
    let mut file = File::open(path).map_err(fail)?;
    let mode = file.metadata().map_err(fail)?.permissions().mode() & 0o7777;
    if mode & 0o077 != 0 {
        return Err(Error::KeyFileMode {
            path: path.to_owned(),
            mode,
        });
    }
    let mut bytes = Zeroizing::new(Vec::new());
    Read::take(&mut file, MAX_FILE)
        .read_to_end(&mut bytes)
        .map_err(fail)?;
    let text = std::str::from_utf8(&bytes).map_err(|_| Error::KeyText { found: "no text" })?;
    if !text.starts_with("-----BEGIN AGE ENCRYPTED FILE-----") {
        return MasterKey::from_text(text);
    }
    let Passphrase(passphrase) = ask()?;
    let identity = age::scrypt::Identity::new(passphrase);
    let opened = age::decrypt(&identity, text.as_bytes())
        .map_err(|error| Error::Passphrase(error.to_string()))?;
    let opened = Zeroizing::new(opened);
    let text = std::str::from_utf8(&opened).map_err(|_| Error::KeyText { found: "no text" })?;
    MasterKey::from_text(text)
}

/// Far more than a key file holds.
const MAX_FILE: u64 = 64 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> MasterKey {
        MasterKey::from_bytes([9; 32])
    }

    fn never() -> Result<Passphrase, Error> {
        Err(Error::PassphraseNeeded)
    }

    #[test]
    fn a_key_file_is_private_and_reads_back() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("owner.key");
        write_key_file(&path, &key(), None).unwrap();
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        assert!(read_key_file(&path, never).unwrap().id() == key().id());
        assert!(matches!(
            write_key_file(&path, &key(), None),
            Err(Error::KeyFileExists { .. })
        ));
    }

    #[test]
    fn a_file_that_others_can_read_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("owner.key");
        write_key_file(&path, &key(), None).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
        let error = read_key_file(&path, never).err().unwrap();
        assert!(matches!(error, Error::KeyFileMode { mode: 0o640, .. }));
        assert!(error.to_string().contains("chmod 600"));
    }

    #[test]
    fn a_protected_file_opens_with_its_passphrase_only() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("owner.key");
        let right = || Ok(Passphrase::new("correct horse".into()));
        write_key_file(&path, &key(), Some(&right().unwrap())).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(!text.contains("EQUICRYPT"));
        assert!(read_key_file(&path, right).unwrap().id() == key().id());
        let wrong = read_key_file(&path, || Ok(Passphrase::new("battery staple".into())));
        assert!(matches!(wrong, Err(Error::Passphrase(_))));
        assert!(matches!(
            read_key_file(&path, never),
            Err(Error::PassphraseNeeded)
        ));
    }

    #[test]
    fn damaged_text_is_refused_without_quoting_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("owner.key");
        write_key_file(&path, &key(), None).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        let secret = text.lines().last().unwrap().to_owned();
        for damaged in [
            text.replace("SECRET-KEY-1", "SECRET-KEY-1Q"),
            text.replace("EQUICRYPT-", "ACRYPT-"),
            text[..text.len() - 9].to_owned(),
            format!("{text}{text}"),
            String::new(),
        ] {
            std::fs::write(&path, &damaged).unwrap();
            let error = read_key_file(&path, never).err().unwrap().to_string();
            assert!(
                error.starts_with("key: expected EQUICRYPT-SECRET-KEY-1"),
                "{error}"
            );
            assert!(!error.contains(&secret[30..40]), "{error}");
        }
    }
}
