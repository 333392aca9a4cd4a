//! `length (u32, big-endian) || ciphertext`; the plaintext is `kind || length || data || zeros`, a multiple of 64 bytes, and
//! the nonce is the base nonce with the frame's number XORed into its last 8 bytes.

use chacha20poly1305::aead::{Aead, KeyInit};
use chacha20poly1305::{ChaCha20Poly1305, Key, Nonce};
use hkdf::Hkdf;
use sha2::Sha256;
use zeroize::Zeroizing;

use crate::Error;
use crate::padding::{BLOCK, pad, unpad};

/// What a frame is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The first one, and only it.
    Head,
    /// More follow.
    Data,
    /// None follows.
    Last,
}

/// Seals and opens the frames of one answer.
pub(crate) struct FrameKey {
    cipher: ChaCha20Poly1305,
    base: [u8; 12],
}

impl FrameKey {
    /// The key of section 4.4 of RFC 9458.
    pub(crate) fn derive(
        enc: &[u8; 32],
        nonce: &[u8; 32],
        secret: &[u8; 32],
    ) -> Result<Self, Error> {
        let kdf = Hkdf::<Sha256>::new(Some(&[*enc, *nonce].concat()), secret);
        let (mut key, mut base) = (Zeroizing::new([0; 32]), [0; 12]);
        // As long as HKDF can make them.
        kdf.expand(b"key", &mut *key)
            .map_err(|_| Error::Unopenable)?;
        kdf.expand(b"nonce", &mut base)
            .map_err(|_| Error::Unopenable)?;
        let cipher = ChaCha20Poly1305::new(&Key::from(*key));
        Ok(Self { cipher, base })
    }

    pub(crate) fn seal(
        &self,
        number: u64,
        kind: Kind,
        data: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<(), Error> {
        let too_long = || Error::TooLong { bytes: data.len() };
        let padded = pad(&[kind.byte()], data)?;
        let sealed = self.cipher.encrypt(&self.nonce(number), padded.as_slice());
        let sealed = sealed.map_err(|_| too_long())?;
        let length = u32::try_from(sealed.len()).map_err(|_| too_long())?;
        out.extend_from_slice(&length.to_be_bytes());
        out.extend_from_slice(&sealed);
        Ok(())
    }

    /// The frame's kind and data, if it is this one of this answer.
    pub(crate) fn open(&self, number: u64, sealed: &[u8]) -> Result<(Kind, Vec<u8>), Error> {
        let Some(opened) = self.try_open(number, sealed) else {
            return Err(self.wrong(number, sealed));
        };
        let content = |expected| Error::FrameContent {
            frame: number,
            expected,
        };
        let kind = opened.first().and_then(|byte| Kind::of(*byte));
        let kind = kind.ok_or_else(|| content("a known kind"))?;
        let data = unpad(&opened, 1).ok_or_else(|| content("padding with zeros"))?;
        Ok((kind, data.to_vec()))
    }

    fn try_open(&self, number: u64, sealed: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
        let opened = self.cipher.decrypt(&self.nonce(number), sealed);
        opened.ok().map(Zeroizing::new)
    }

    /// What came in place of a frame: the frames around it are tried, once in an answer's life.
    fn wrong(&self, expected: u64, sealed: &[u8]) -> Error {
        let is = |number: &u64| self.try_open(*number, sealed).is_some();
        let mut earlier = (expected.saturating_sub(NEAR)..expected).rev();
        let mut later = (expected.saturating_add(1)..).take(NEAR as usize);
        if let Some(found) = later.find(is) {
            return Error::Skipped { expected, found };
        }
        match earlier.find(is) {
            Some(found) => Error::Repeated { expected, found },
            None => Error::Forged { frame: expected },
        }
    }

    fn nonce(&self, number: u64) -> Nonce {
        let mut nonce = self.base;
        for (byte, number) in nonce.iter_mut().skip(4).zip(number.to_be_bytes()) {
            *byte ^= number;
        }
        Nonce::from(nonce)
    }
}

impl Kind {
    fn byte(self) -> u8 {
        match self {
            Self::Head => 0,
            Self::Data => 1,
            Self::Last => 2,
        }
    }

    fn of(byte: u8) -> Option<Self> {
        [Self::Head, Self::Data, Self::Last]
            .into_iter()
            .find(|kind| kind.byte() == byte)
    }
}

/// Whether a frame's ciphertext can have this length.
pub(crate) fn is_length(length: u32) -> bool {
    let plain = (length as usize).checked_sub(TAG);
    plain.is_some_and(|plain| (BLOCK..=MOST_PLAIN).contains(&plain) && plain.is_multiple_of(BLOCK))
}

/// Data in one frame, at most.
pub(crate) const MOST_DATA: usize = MOST_PLAIN - 5;
const MOST_PLAIN: usize = 1 << 16;
const TAG: usize = 16;
/// Frames on either side that are tried for an error's sake.
const NEAR: u64 = 64;
