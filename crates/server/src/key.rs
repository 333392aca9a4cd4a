use std::hint::black_box;
use std::path::Path;

use crate::Error;

/// What clients must send as `Authorization: Bearer ...`. Cannot be printed or copied.
pub struct ApiKey(Vec<u8>);

impl ApiKey {
    /// A key of 1 to 512 visible ASCII characters; white space around it is ignored.
    pub fn new(text: &str) -> Result<Self, Error> {
        let text = text.trim();
        let found = match text.len() {
            0 => "nothing",
            1..=MAX_LENGTH if text.bytes().all(|byte| byte.is_ascii_graphic()) => {
                return Ok(Self(text.as_bytes().to_vec()));
            }
            1..=MAX_LENGTH => "white space or other characters inside",
            _ => "more",
        };
        Err(Error::ApiKey { found })
    }

    /// The key in a file.
    pub fn from_file(path: &Path) -> Result<Self, Error> {
        let text = std::fs::read_to_string(path).map_err(|source| Error::Read {
            path: path.to_owned(),
            source,
        })?;
        Self::new(&text)
    }

    /// Whether `given` is the key. How long the comparison takes depends on the length of `given`
    /// alone, so that timing it finds no byte of the key.
    pub(crate) fn matches(&self, given: &[u8]) -> bool {
        let expected = self.0.iter().copied().chain(std::iter::repeat(0));
        let differences = given
            .iter()
            .zip(expected)
            .fold(0, |seen, (a, b)| black_box(seen | (a ^ b)));
        (differences == 0) & (given.len() == self.0.len())
    }
}

const MAX_LENGTH: usize = 512;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_key_itself_matches() {
        let key = ApiKey::new(" secret-Key\n").unwrap();
        assert!(key.matches(b"secret-Key"));
        for other in [
            "",
            "s",
            "secret-Ke",
            "secret-Key\0",
            "secret-Keyy",
            "Secret-Key",
        ] {
            assert!(!key.matches(other.as_bytes()), "{other:?}");
        }
    }

    #[test]
    fn keys_that_no_header_can_carry_are_refused() {
        for text in ["", " \n", "a b", "kéy", &"k".repeat(513)] {
            assert!(ApiKey::new(text).is_err(), "{text:?}");
        }
        let folder = tempfile::tempdir().unwrap();
        assert!(ApiKey::from_file(&folder.path().join("none")).is_err());
        let file = folder.path().join("key");
        std::fs::write(&file, "abc\n").unwrap();
        assert!(ApiKey::from_file(&file).unwrap().matches(b"abc"));
    }
}
