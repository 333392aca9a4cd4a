use zeroize::Zeroizing;

use crate::frame::{FrameKey, Kind, is_length};
use crate::{Error, Head};

/// Opens the answer to one request, in whatever pieces it comes. It holds one frame at most.
pub struct ResponseOpener {
    enc: [u8; 32],
    secret: Zeroizing<[u8; 32]>,
    state: State,
    /// What came of the next part.
    part: Vec<u8>,
    frames: u64,
    head: Option<Head>,
}

/// What comes next.
enum State {
    Nonce,
    Length(FrameKey),
    Frame(FrameKey, usize),
    Ended,
    Failed,
}

impl ResponseOpener {
    pub(crate) fn new(enc: [u8; 32], secret: Zeroizing<[u8; 32]>) -> Self {
        Self {
            enc,
            secret,
            state: State::Nonce,
            part: Vec::new(),
            frames: 0,
            head: None,
        }
    }

    /// Takes more bytes, and adds what is in the frames that are whole now to `out`.
    ///
    /// # Errors
    /// If frames are not the next ones as the host sealed them. Nothing is opened afterwards.
    pub fn push(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> Result<(), Error> {
        let pushed = self.advance(bytes, out);
        if pushed.is_err() {
            self.state = State::Failed;
        }
        pushed
    }

    /// What the answer begins with, once it has come.
    #[must_use]
    pub fn head(&self) -> Option<&Head> {
        self.head.as_ref()
    }

    /// Whether the last frame has come.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        matches!(self.state, State::Ended)
    }

    /// To be asked when no more bytes come.
    ///
    /// # Errors
    /// Unless the last frame has come.
    pub fn finish(&self) -> Result<(), Error> {
        match self.is_whole() {
            true => Ok(()),
            false => Err(Error::Truncated {
                frames: self.frames,
            }),
        }
    }

    fn advance(&mut self, mut bytes: &[u8], out: &mut Vec<u8>) -> Result<(), Error> {
        while !bytes.is_empty() {
            let size = match &self.state {
                State::Nonce => 32,
                State::Length(_) => 4,
                State::Frame(_, size) => *size,
                State::Ended => return Err(Error::Appended),
                State::Failed => return Err(Error::Forged { frame: self.frames }),
            };
            let missing = size.saturating_sub(self.part.len()).min(bytes.len());
            let (now, later) = bytes.split_at(missing);
            self.part.extend_from_slice(now);
            bytes = later;
            if self.part.len() == size {
                self.take(out)?;
                self.part.clear();
            }
        }
        Ok(())
    }

    /// The part is whole.
    fn take(&mut self, out: &mut Vec<u8>) -> Result<(), Error> {
        self.state = match std::mem::replace(&mut self.state, State::Failed) {
            State::Nonce => {
                let nonce = self.part.first_chunk().ok_or(Error::Unopenable)?;
                State::Length(FrameKey::derive(&self.enc, nonce, &self.secret)?)
            }
            State::Length(key) => {
                let length = self.part.first_chunk().ok_or(Error::Unopenable)?;
                let found = u32::from_be_bytes(*length);
                if !is_length(found) {
                    let frame = self.frames;
                    return Err(Error::FrameLength { frame, found });
                }
                State::Frame(key, found as usize)
            }
            State::Frame(key, _) => {
                let mut part = Zeroizing::new(std::mem::take(&mut self.part));
                let (kind, data) = key.open_in_place(self.frames, &mut part)?;
                let is_last = self.frame(kind, &part[data], out)?;
                self.frames += 1;
                match is_last {
                    true => State::Ended,
                    false => State::Length(key),
                }
            }
            over @ (State::Ended | State::Failed) => over,
        };
        Ok(())
    }

    /// Whether it is the last one.
    fn frame(&mut self, kind: Kind, data: &[u8], out: &mut Vec<u8>) -> Result<bool, Error> {
        let content = |expected| Error::FrameContent {
            frame: self.frames,
            expected,
        };
        match (self.frames, kind) {
            (0, Kind::Head) => {
                let head = Head::from_bytes(data);
                self.head =
                    Some(head.ok_or_else(|| content("a status, a window and a content type"))?);
            }
            (0, _) => return Err(content("the head")),
            (_, Kind::Head) => return Err(content("no second head")),
            (_, Kind::Data | Kind::Last) => out.extend_from_slice(data),
        }
        Ok(kind == Kind::Last)
    }
}
