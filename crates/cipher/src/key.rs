use bech32::primitives::decode::CheckedHrpstring;
use bech32::{Bech32, Hrp};
use equicrypt_spec::KeyId;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use crate::Error;
use crate::schedule::expand;

/// The owner's master secret: 32 bytes from the operating system. Its text form is Bech32 (BIP 173) with the prefix
/// `EQUICRYPT-SECRET-KEY-`, which secret scanners can find.
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct MasterKey([u8; 32]);

impl MasterKey {
    /// A fresh key.
    pub fn generate() -> Result<Self, Error> {
        let mut key = Self([0; 32]);
        getrandom::fill(&mut key.0).map_err(Error::Randomness)?;
        Ok(key)
    }

    /// The key with these bytes; for keys that come from elsewhere, and for golden vectors.
    #[must_use]
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Reads the text form. Blank lines and lines that begin with `#` are skipped; exactly one key must remain.
    pub fn from_text(text: &str) -> Result<Self, Error> {
        let mut lines = text
            .lines()
            .map(str::trim)
            .filter(|line| !line.is_empty() && !line.starts_with('#'));
        let (Some(line), None) = (lines.next(), lines.next()) else {
            return Err(Error::KeyText {
                found: "no key, or more than one",
            });
        };
        let decoded = CheckedHrpstring::new::<Bech32>(line).map_err(|_| Error::KeyText {
            found: "text that is damaged or not a key",
        })?;
        if !decoded.hrp().as_str().eq_ignore_ascii_case(PREFIX) {
            return Err(Error::KeyText {
                found: "another program's key",
            });
        }
        let bytes: Zeroizing<Vec<u8>> = Zeroizing::new(decoded.byte_iter().collect());
        let bytes = <[u8; 32]>::try_from(bytes.as_slice()).map_err(|_| Error::KeyText {
            found: "a key of another length",
        })?;
        Ok(Self(bytes))
    }

    /// The text form, `EQUICRYPT-SECRET-KEY-1...`.
    #[must_use]
    pub fn to_text(&self) -> Zeroizing<String> {
        let text = bech32::encode_upper::<Bech32>(Hrp::parse_unchecked(PREFIX), &self.0);
        Zeroizing::new(text.unwrap_or_default())
    }

    /// HKDF-SHA256(salt = none, info = "equicrypt v1 key id")(master, 8): a commitment that anyone may see.
    #[must_use]
    pub fn id(&self) -> KeyId {
        let mut id = [0; 8];
        expand(&self.0, &[], b"equicrypt v1 key id", &mut id);
        KeyId(id)
    }

    /// The 32 bytes, for the key schedule.
    pub(crate) fn expose(&self) -> &[u8; 32] {
        &self.0
    }
}

const PREFIX: &str = "equicrypt-secret-key-";

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn text_reads_back_and_one_wrong_letter_is_seen(bytes: [u8; 32], place in 0usize..80, with in 0usize..32) {
            let key = MasterKey::from_bytes(bytes);
            let text = key.to_text();
            prop_assert!(MasterKey::from_text(&text).unwrap().expose() == &bytes);
            let mut damaged = text.as_bytes().to_vec();
            let place = place % damaged.len();
            let with = b"QPZRY9X8GF2TVDW0S3JN54KHCE6MUA7L"[with];
            if damaged[place] != with {
                damaged[place] = with;
                let damaged = String::from_utf8(damaged).unwrap();
                prop_assert!(MasterKey::from_text(&damaged).is_err());
            }
        }

        #[test]
        fn arbitrary_text_never_panics(text in ".{0,120}") {
            let _ = MasterKey::from_text(&text);
        }
    }
}
