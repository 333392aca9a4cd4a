//! The messages between an owner and a host, for any stream of bytes that keeps them whole and in order.
//!
//! ```text
//! frame = u32(len payload) u8(version = 1) u8(kind) u16(0) payload
//!
//! owner to host                                                      host to owner
//! 1 hello          digest (32)                                       17 welcome  digest (32)
//! 2 seed           seed (32)                                         18 product  u32(request) u32(rows) u32(width) residues
//! 3 multiply       u32(request) u32(layer) u32(rows) u32(width)      19 refusal  text
//!                  residues
//! 4 multiply mask  u32(request) u32(layer) u32(rows) u64(counter)
//! ```
//!
//! Integers are little-endian; residues stand as [`Residues::append_bytes`] writes them. A connection begins with hello and
//! welcome. Requests are answered in their order, and more may be sent before an answer comes. A length is checked against
//! [`MOST_PAYLOAD`] before there is room made for it.

mod frame;

use std::io::{Read, Write};

use crate::{MaskSeed, ModelDigest, Residues, SEED_BYTES};
use frame::{Fields, read_frame, write_frame};
pub use frame::{FrameError, MOST_PAYLOAD, VERSION};

/// What an owner says.
pub enum Request {
    /// Which model it is about; the first message.
    Hello(ModelDigest),
    /// What masks are expanded from, from now on; counters start anew.
    Seed(MaskSeed),
    /// `W q` for each vector q.
    Multiply {
        /// Which answer is which.
        request: u32,
        /// The layer, by its place in the table.
        layer: u32,
        /// The vectors.
        queries: Residues,
    },
    /// `W r` for each mask r that belongs to one of the counters from `first` on.
    MultiplyMask {
        /// Which answer is which.
        request: u32,
        /// The layer, by its place in the table.
        layer: u32,
        /// How many masks.
        rows: u32,
        /// The first counter.
        first: u64,
    },
}

/// What a host says.
#[derive(Debug)]
pub enum Answer {
    /// Which model it has.
    Welcome(ModelDigest),
    /// A vector for each one that was asked about.
    Product {
        /// As in the question.
        request: u32,
        /// The vectors.
        answers: Residues,
    },
    /// Why it does not go on.
    Refusal(String),
}

/// The residues of a product in its frame, which is longer by what stands before them.
pub const PRODUCT_HEAD: usize = 8 + 12;
/// The same for the vectors of a question.
pub const MULTIPLY_HEAD: usize = 8 + 16;
/// A question about masks, whole.
pub const MULTIPLY_MASK_BYTES: usize = 8 + 20;

impl Request {
    /// Writes the message, whole; returns how many bytes it has.
    ///
    /// # Errors
    /// If it is too long, or the stream fails.
    pub fn write(&self, stream: &mut impl Write) -> Result<usize, FrameError> {
        match self {
            Self::Hello(digest) => write_frame(stream, HELLO, &[digest.as_bytes()], None),
            Self::Seed(seed) => write_frame(stream, SEED, &[seed.expose()], None),
            Self::Multiply {
                request,
                layer,
                queries,
            } => write_multiply(stream, *request, *layer, queries),
            Self::MultiplyMask {
                request,
                layer,
                rows,
                first,
            } => write_frame(
                stream,
                MULTIPLY_MASK,
                &[
                    &request.to_le_bytes(),
                    &layer.to_le_bytes(),
                    &rows.to_le_bytes(),
                    &first.to_le_bytes(),
                ],
                None,
            ),
        }
    }

    /// Reads a message; none at the end of the stream. With it, how many bytes it has.
    ///
    /// # Errors
    /// If it is none of an owner's, or the stream fails or ends within it.
    pub fn read(stream: &mut impl Read) -> Result<Option<(Self, usize)>, FrameError> {
        let Some(frame) = read_frame(stream)? else {
            return Ok(None);
        };
        let payload = frame.payload.as_slice();
        let mut fields = Fields(payload);
        let message = match frame.kind {
            HELLO => Self::Hello(ModelDigest::from_bytes(fields.last("a digest")?)),
            SEED => Self::Seed(MaskSeed::from_bytes(
                fields.last::<SEED_BYTES>("a seed of 32 bytes")?,
            )),
            MULTIPLY => Self::Multiply {
                request: fields.number()?,
                layer: fields.number()?,
                queries: fields.residues()?,
            },
            MULTIPLY_MASK => Self::MultiplyMask {
                request: fields.number()?,
                layer: fields.number()?,
                rows: fields.number()?,
                first: u64::from_le_bytes(fields.last("a counter")?),
            },
            found => {
                let expected = "a message of an owner, 1 to 4";
                return Err(FrameError::Kind { expected, found });
            }
        };
        Ok(Some((message, 8 + payload.len())))
    }
}

impl Answer {
    /// Writes the message, whole; returns how many bytes it has.
    ///
    /// # Errors
    /// If it is too long, or the stream fails.
    pub fn write(&self, stream: &mut impl Write) -> Result<usize, FrameError> {
        match self {
            Self::Welcome(digest) => write_frame(stream, WELCOME, &[digest.as_bytes()], None),
            Self::Product { request, answers } => write_frame(
                stream,
                PRODUCT,
                &[
                    &request.to_le_bytes(),
                    &(answers.rows() as u32).to_le_bytes(),
                    &(answers.width() as u32).to_le_bytes(),
                ],
                Some(answers),
            ),
            Self::Refusal(text) => {
                let end = (0..=text.len().min(MOST_TEXT)).rev();
                let end = end.into_iter().find(|end| text.is_char_boundary(*end));
                let text = &text[..end.unwrap_or(0)];
                write_frame(stream, REFUSAL, &[text.as_bytes()], None)
            }
        }
    }

    /// Reads a message; none at the end of the stream. With it, how many bytes it has.
    ///
    /// # Errors
    /// If it is none of a host's, or the stream fails or ends within it.
    pub fn read(stream: &mut impl Read) -> Result<Option<(Self, usize)>, FrameError> {
        let Some(frame) = read_frame(stream)? else {
            return Ok(None);
        };
        let payload = frame.payload.as_slice();
        let mut fields = Fields(payload);
        let message = match frame.kind {
            WELCOME => Self::Welcome(ModelDigest::from_bytes(fields.last("a digest")?)),
            PRODUCT => Self::Product {
                request: fields.number()?,
                answers: fields.residues()?,
            },
            REFUSAL => Self::Refusal(shown(payload)),
            found => {
                let expected = "a message of a host, 17 to 19";
                return Err(FrameError::Kind { expected, found });
            }
        };
        Ok(Some((message, 8 + payload.len())))
    }
}

/// Writes [`Request::Multiply`] with vectors that the caller keeps; returns how many bytes it has.
///
/// # Errors
/// If it is too long, or the stream fails.
pub fn write_multiply(
    stream: &mut impl Write,
    request: u32,
    layer: u32,
    queries: &Residues,
) -> Result<usize, FrameError> {
    write_frame(
        stream,
        MULTIPLY,
        &[
            &request.to_le_bytes(),
            &layer.to_le_bytes(),
            &(queries.rows() as u32).to_le_bytes(),
            &(queries.width() as u32).to_le_bytes(),
        ],
        Some(queries),
    )
}

/// As much of a host's text as may stand in a message, without what terminals obey.
fn shown(text: &[u8]) -> String {
    let text = String::from_utf8_lossy(&text[..text.len().min(MOST_TEXT)]);
    text.chars().filter(|char| !char.is_control()).collect()
}

const HELLO: u8 = 1;
const SEED: u8 = 2;
const MULTIPLY: u8 = 3;
const MULTIPLY_MASK: u8 = 4;
const WELCOME: u8 = 17;
const PRODUCT: u8 = 18;
const REFUSAL: u8 = 19;
const MOST_TEXT: usize = 512;

#[cfg(test)]
mod tests;
