use std::io::{self, ErrorKind, Read, Write};

use thiserror::Error;
use zeroize::Zeroize;

use crate::Residues;
use crate::residues::append_words;

/// The version of the messages.
pub const VERSION: u8 = 1;
/// Bytes of a message behind its header, at most.
pub const MOST_PAYLOAD: usize = 64 << 20;

/// Why a message cannot be read or written.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum FrameError {
    /// The stream failed.
    #[error("the connection failed: {0}")]
    Stream(#[from] io::Error),
    /// The stream ended inside a message.
    #[error("the connection ended within a message")]
    CutOff,
    /// The other side speaks another version.
    #[error(
        "expected version {VERSION} of the protocol, found {found}; use the same version of equicrypt on both sides"
    )]
    Version {
        /// As the other side says.
        found: u8,
    },
    /// The message is not one that this side reads.
    #[error("expected {expected}, found kind {found}")]
    Kind {
        /// What it reads.
        expected: &'static str,
        /// As it says.
        found: u8,
    },
    /// The message is too long.
    #[error("a message of {found} bytes: expected at most {MOST_PAYLOAD}")]
    Length {
        /// As it says.
        found: usize,
    },
    /// The message has something else in it.
    #[error("expected {expected} in a message, found something else")]
    Content {
        /// What should be there.
        expected: &'static str,
    },
    /// What is in the message are no vectors.
    #[error(transparent)]
    Residues(#[from] crate::Error),
}

/// Writes a frame, a short one in one go; returns its bytes.
pub(super) fn write_frame(
    stream: &mut impl Write,
    kind: u8,
    fields: &[&[u8]],
    residues: Option<&Residues>,
) -> Result<usize, FrameError> {
    let short: usize = fields.iter().map(|field| field.len()).sum();
    let length = short + residues.map_or(0, |residues| 4 * residues.values().len());
    if length > MOST_PAYLOAD {
        return Err(FrameError::Length { found: length });
    }
    let mut bytes = Vec::with_capacity(HEADER + short + BLOCK.min(length - short));
    bytes.extend_from_slice(&(length as u32).to_le_bytes());
    bytes.extend_from_slice(&[VERSION, kind, 0, 0]);
    fields
        .iter()
        .for_each(|field| bytes.extend_from_slice(field));
    let mut written = Ok(());
    for block in residues
        .into_iter()
        .flat_map(|r| r.values().chunks(BLOCK / 4))
    {
        append_words(block, &mut bytes);
        written = written.and_then(|()| stream.write_all(&bytes));
        bytes.clear();
    }
    written = written.and_then(|()| stream.write_all(&bytes));
    let written = written.and_then(|()| stream.flush());
    // It may be a seed.
    bytes.iter_mut().take(SHORT).for_each(Zeroize::zeroize);
    written?;
    Ok(HEADER + length)
}

/// A frame as it came.
pub(super) struct Frame {
    pub(super) kind: u8,
    pub(super) payload: Vec<u8>,
}

impl Drop for Frame {
    fn drop(&mut self) {
        // It may be a seed; long ones are none.
        if self.payload.len() <= SHORT {
            self.payload.zeroize();
        }
    }
}

/// The next frame; none if the stream ends before it.
pub(super) fn read_frame(stream: &mut impl Read) -> Result<Option<Frame>, FrameError> {
    let mut header = [0; HEADER];
    let mut filled = 0;
    while filled < HEADER {
        match stream.read(&mut header[filled..]) {
            Ok(0) if filled == 0 => return Ok(None),
            Ok(0) => return Err(FrameError::CutOff),
            Ok(read) => filled += read,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error.into()),
        }
    }
    let [l0, l1, l2, l3, version, kind, rest @ ..] = header;
    if version != VERSION {
        return Err(FrameError::Version { found: version });
    }
    if rest != [0, 0] {
        let expected = "zeros behind the kind";
        return Err(FrameError::Content { expected });
    }
    let found = u32::from_le_bytes([l0, l1, l2, l3]) as usize;
    if found > MOST_PAYLOAD {
        return Err(FrameError::Length { found });
    }
    // What was announced and does not come takes no room.
    let mut payload = Vec::with_capacity(found.min(TRUSTED));
    (stream.by_ref().take(found as u64)).read_to_end(&mut payload)?;
    if payload.len() != found {
        return Err(FrameError::CutOff);
    }
    Ok(Some(Frame { kind, payload }))
}

/// What is left of a payload.
pub(super) struct Fields<'a>(pub(super) &'a [u8]);

impl Fields<'_> {
    pub(super) fn number(&mut self) -> Result<u32, FrameError> {
        let (number, rest) = self.0.split_first_chunk().ok_or(FrameError::Content {
            expected: "a number of four bytes",
        })?;
        self.0 = rest;
        Ok(u32::from_le_bytes(*number))
    }

    /// The rest, which must have this length.
    pub(super) fn last<const N: usize>(
        self,
        expected: &'static str,
    ) -> Result<[u8; N], FrameError> {
        let content = |_| FrameError::Content { expected };
        self.0.try_into().map_err(content)
    }

    /// `u32(rows) u32(width) residues`, to the end.
    pub(super) fn residues(&mut self) -> Result<Residues, FrameError> {
        let (rows, width) = (self.number()?, self.number()?);
        if u128::from(rows) * u128::from(width) * 8 != self.0.len() as u128 {
            let expected = "as many residues as the message says";
            return Err(FrameError::Content { expected });
        }
        Ok(Residues::from_bytes(width as usize, self.0)?)
    }
}

const HEADER: usize = 8;
/// Bytes of residues that are written at once.
const BLOCK: usize = 1 << 16;
/// No seed is longer.
const SHORT: usize = 64;
/// Room that is made before anything has come.
const TRUSTED: usize = 4 << 20;
