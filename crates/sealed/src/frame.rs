//! `length (u32, big-endian) || ciphertext`; the plaintext is `kind || length || data || zeros`, a multiple of 64 bytes, and
//! the nonce is the base nonce with the frame's number XORed into its last 8 bytes.

use std::ops::Range;

use chacha20poly1305::aead::{AeadInOut, KeyInit};
use chacha20poly1305::{ChaCha20Poly1305, Key, Nonce, Tag};
use hkdf::Hkdf;
use sha2::Sha256;
use zeroize::Zeroizing;

use crate::Error;
use crate::padding::{BLOCK, padded_length, unpad};

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

    /// Appends a sealed frame with this data.
    pub(crate) fn seal(
        &self,
        number: u64,
        kind: Kind,
        data: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<(), Error> {
        let start = out.len();
        out.resize(start + HEAD, 0);
        out.extend_from_slice(data);
        self.seal_in_place(number, kind, out, start)
    }

    /// Seals the frame that `out` ends with: from `start` on, [`HEAD`] bytes of any value and then its data.
    pub(crate) fn seal_in_place(
        &self,
        number: u64,
        kind: Kind,
        out: &mut Vec<u8>,
        start: usize,
    ) -> Result<(), Error> {
        let bytes = out.len().saturating_sub(start + HEAD);
        let too_long = || Error::TooLong { bytes };
        let padded = padded_length(HEAD - LENGTH + bytes).ok_or_else(too_long)?;
        let data = u32::try_from(bytes).map_err(|_| too_long())?;
        let sealed = u32::try_from(padded + TAG).map_err(|_| too_long())?;
        out.resize(start + LENGTH + padded, 0);
        let (length, frame) = out[start..].split_at_mut(LENGTH);
        length.copy_from_slice(&sealed.to_be_bytes());
        frame[0] = kind.byte();
        frame[1..1 + LENGTH].copy_from_slice(&data.to_be_bytes());
        let tag = (self.cipher).encrypt_inout_detached(&self.nonce(number), b"", frame.into());
        out.extend_from_slice(&tag.map_err(|_| too_long())?);
        Ok(())
    }

    /// Opens a frame where it stands, if it is this one of this answer: its kind, and where its data are.
    pub(crate) fn open_in_place(
        &self,
        number: u64,
        sealed: &mut [u8],
    ) -> Result<(Kind, Range<usize>), Error> {
        if !self.try_open(number, sealed) {
            return Err(self.wrong(number, sealed));
        }
        let opened = &sealed[..sealed.len() - TAG];
        let content = |expected| Error::FrameContent {
            frame: number,
            expected,
        };
        let kind = opened.first().and_then(|byte| Kind::of(*byte));
        let kind = kind.ok_or_else(|| content("a known kind"))?;
        let data = unpad(opened, 1).ok_or_else(|| content("padding with zeros"))?;
        let start = HEAD - LENGTH;
        Ok((kind, start..start + data.len()))
    }

    /// What is not this frame stays as it is: its tag is looked at first.
    fn try_open(&self, number: u64, sealed: &mut [u8]) -> bool {
        let Some((text, tag)) = sealed.split_last_chunk_mut::<TAG>() else {
            return false;
        };
        let (nonce, tag) = (self.nonce(number), Tag::from(*tag));
        let opened = (self.cipher).decrypt_inout_detached(&nonce, b"", text.into(), &tag);
        opened.is_ok()
    }

    /// What came in place of a frame: the frames around it are tried, once in an answer's life.
    fn wrong(&self, expected: u64, sealed: &mut [u8]) -> Error {
        let mut is = |number: &u64| self.try_open(*number, sealed);
        let mut earlier = (expected.saturating_sub(NEAR)..expected).rev();
        let mut later = (expected.saturating_add(1)..).take(NEAR as usize);
        if let Some(found) = later.find(&mut is) {
            return Error::Skipped { expected, found };
        }
        match earlier.find(&mut is) {
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

/// What stands before a frame's data: two lengths, and the kind between them.
pub(crate) const HEAD: usize = LENGTH + 1 + LENGTH;
/// Data in one frame, at most.
pub(crate) const MOST_DATA: usize = MOST_PLAIN - (HEAD - LENGTH);
/// Bytes of a frame, with all that is around its data.
pub(crate) const MOST_SEALED: usize = MOST_PLAIN + TAG;
const LENGTH: usize = 4;
const MOST_PLAIN: usize = 1 << 16;
const TAG: usize = 16;
/// Frames on either side that are tried for an error's sake.
const NEAR: u64 = 64;
