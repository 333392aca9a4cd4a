use zeroize::Zeroizing;

use crate::frame::{FrameKey, Kind, MOST_DATA};
use crate::{Error, Window};

/// What an answer begins with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    /// The HTTP status of what is inside.
    pub status: u16,
    /// The host's window now, for the next request.
    pub window: Window,
    /// The content type of what is inside.
    pub content_type: String,
}

/// Seals the answer to one request: a random nonce (32 bytes), then frames. The key and the frames' base nonce are
/// `Expand(Extract(enc || nonce, secret), "key" | "nonce")` of HKDF-SHA256, where HPKE exports `secret`.
pub struct ResponseSealer {
    enc: [u8; 32],
    secret: Zeroizing<[u8; 32]>,
    nonce: [u8; 32],
}

/// Seals an answer piece by piece.
pub struct StreamSealer {
    key: FrameKey,
    frames: u64,
}

impl ResponseSealer {
    pub(crate) fn new(enc: [u8; 32], secret: Zeroizing<[u8; 32]>, nonce: [u8; 32]) -> Self {
        Self { enc, secret, nonce }
    }

    /// The beginning of the answer, and what seals the rest.
    pub fn start(self, head: &Head) -> Result<(Vec<u8>, StreamSealer), Error> {
        let key = FrameKey::derive(&self.enc, &self.nonce, &self.secret)?;
        let mut stream = StreamSealer { key, frames: 0 };
        let mut bytes = self.nonce.to_vec();
        stream.push(Kind::Head, &head.to_bytes(), &mut bytes)?;
        Ok((bytes, stream))
    }
}

impl StreamSealer {
    /// The next frames, with this in them: at least one, and one for each 65,531 bytes.
    pub fn data(&mut self, data: &[u8]) -> Result<Vec<u8>, Error> {
        let mut bytes = Vec::new();
        let mut rest = data;
        loop {
            let (now, later) = rest.split_at(rest.len().min(MOST_DATA));
            self.push(Kind::Data, now, &mut bytes)?;
            rest = later;
            if rest.is_empty() {
                return Ok(bytes);
            }
        }
    }

    /// The last frames, with this in them. An answer without the last one is none.
    pub fn finish(mut self, data: &[u8]) -> Result<Vec<u8>, Error> {
        let (first, last) = data.split_at(data.len() - data.len().min(MOST_DATA));
        let mut bytes = match first {
            [] => Vec::new(),
            first => self.data(first)?,
        };
        self.push(Kind::Last, last, &mut bytes)?;
        Ok(bytes)
    }

    fn push(&mut self, kind: Kind, data: &[u8], out: &mut Vec<u8>) -> Result<(), Error> {
        self.key.seal(self.frames, kind, data, out)?;
        // At a frame a nanosecond it overflows after 500 years.
        self.frames = self.frames.saturating_add(1);
        Ok(())
    }
}

impl Head {
    /// `status (u16, big-endian) || window (16) || content type`.
    fn to_bytes(&self) -> Vec<u8> {
        let window = self.window.as_bytes().as_slice();
        [
            &self.status.to_be_bytes(),
            window,
            self.content_type.as_bytes(),
        ]
        .concat()
    }

    pub(crate) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (status, rest) = bytes.split_first_chunk()?;
        let (window, kind) = rest.split_first_chunk()?;
        Some(Self {
            status: u16::from_be_bytes(*status),
            window: Window::from_bytes(*window),
            content_type: str::from_utf8(kind).ok()?.to_owned(),
        })
    }
}
