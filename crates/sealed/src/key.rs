use std::fmt;
use std::str::FromStr;

use hpke::kem::X25519HkdfSha256;
use hpke::{Deserializable, Kem, Serializable};
use sha2::{Digest, Sha256};
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use crate::Error;

/// What opens requests: an X25519 secret key. It cannot be printed, copied or serialised, only kept in a file.
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct TransportSecret([u8; 32]);

/// What requests are sealed to: an X25519 public key, in text `equicrypt-transport-1:` and 64 hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TransportPublic([u8; 32]);

/// The first 16 bytes of SHA-256 of `equicrypt transport key 1` and a public key: what people compare, in text eight groups
/// of four hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fingerprint([u8; 16]);

impl TransportSecret {
    /// A new one, from the operating system's randomness.
    pub fn generate() -> Result<Self, Error> {
        let mut bytes = [0; 32];
        getrandom::fill(&mut bytes).map_err(Error::Randomness)?;
        Ok(Self(bytes))
    }

    /// What requests are sealed to so that this opens them.
    pub fn public(&self) -> Result<TransportPublic, Error> {
        let public = X25519HkdfSha256::sk_to_pk(&self.key()?);
        Ok(TransportPublic(public.to_bytes().into()))
    }

    pub(crate) fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The one form in which it leaves: 64 hexadecimal digits.
    pub(crate) fn expose_hex(&self) -> Zeroizing<String> {
        Zeroizing::new(hex(&self.0))
    }

    pub(crate) fn key(&self) -> Result<<X25519HkdfSha256 as Kem>::PrivateKey, Error> {
        // Any 32 bytes are a key of this kind.
        Deserializable::from_bytes(&self.0).map_err(|_| Error::UnusableKey)
    }
}

impl TransportPublic {
    /// What people compare.
    #[must_use]
    pub fn fingerprint(&self) -> Fingerprint {
        let mut hash = Sha256::new();
        hash.update(b"equicrypt transport key 1");
        hash.update(self.0);
        let mut fingerprint = [0; 16];
        fingerprint.copy_from_slice(&hash.finalize()[..16]);
        Fingerprint(fingerprint)
    }

    pub(crate) fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    pub(crate) fn to_bytes(&self) -> [u8; 32] {
        self.0
    }

    pub(crate) fn key(&self) -> Result<<X25519HkdfSha256 as Kem>::PublicKey, Error> {
        Deserializable::from_bytes(&self.0).map_err(|_| Error::UnusableKey)
    }
}

impl fmt::Display for TransportPublic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PREFIX}{}", hex(&self.0))
    }
}

impl FromStr for TransportPublic {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let digits = text.trim().strip_prefix(PREFIX);
        let digits = digits.ok_or(Error::PublicText {
            found: "another beginning",
        })?;
        unhex(digits).map(Self).ok_or(Error::PublicText {
            found: "something else behind it",
        })
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, pair) in self.0.chunks(2).enumerate() {
            let dash = if place == 0 { "" } else { "-" };
            write!(f, "{dash}{}", hex(pair))?;
        }
        Ok(())
    }
}

impl FromStr for Fingerprint {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let digits: String = (text.trim().chars()).filter(|char| *char != '-').collect();
        unhex(&digits).map(Self).ok_or(Error::FingerprintText {
            found: match digits.len() {
                32 => "other characters",
                _ => "another length",
            },
        })
    }
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Exactly two hexadecimal digits for each byte.
pub(crate) fn unhex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    if pairs.len() != N || !rest.is_empty() {
        return None;
    }
    let mut bytes = [0; N];
    for (byte, [high, low]) in bytes.iter_mut().zip(pairs) {
        let digit = |digit: u8| char::from(digit).to_digit(16);
        *byte = u8::try_from(digit(*high)? << 4 | digit(*low)?).ok()?;
    }
    Some(bytes)
}

const PREFIX: &str = "equicrypt-transport-1:";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_and_fingerprints_read_back_and_other_texts_do_not() {
        let public = TransportSecret::generate().unwrap().public().unwrap();
        let text = public.to_string();
        assert_eq!(text.parse::<TransportPublic>().unwrap(), public);
        let fingerprint = public.fingerprint();
        let shown = fingerprint.to_string();
        assert_eq!(shown.len(), 39);
        for text in [shown.clone(), shown.replace('-', ""), shown.to_uppercase()] {
            assert_eq!(text.parse::<Fingerprint>().unwrap(), fingerprint);
        }
        for bad in [
            "",
            "abc",
            &text[..text.len() - 1],
            &format!("{text}0"),
            &text[1..],
        ] {
            assert!(bad.parse::<TransportPublic>().is_err(), "{bad}");
        }
        for bad in [
            "",
            "0",
            &shown[1..],
            &format!("{shown}0"),
            &"g".repeat(32),
            "é",
        ] {
            assert!(bad.parse::<Fingerprint>().is_err(), "{bad}");
        }
    }

    #[test]
    fn two_keys_are_two() {
        let publics = [1, 2].map(|_| TransportSecret::generate().unwrap().public().unwrap());
        assert_ne!(publics[0], publics[1]);
        assert_ne!(publics[0].fingerprint(), publics[1].fingerprint());
    }
}
