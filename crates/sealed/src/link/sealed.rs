use std::io::{self, ErrorKind, Read, Write};
use std::ops::Range;

use zeroize::Zeroize;

use crate::frame::{FrameKey, HEAD, Kind, MOST_DATA, MOST_SEALED, is_length};

/// Opens what comes out of a stream.
pub(super) struct SealedReader<R> {
    stream: R,
    key: FrameKey,
    frames: u64,
    /// A frame, opened where it stands; room for the longest.
    frame: Vec<u8>,
    /// Where data stand that were not read.
    unread: Range<usize>,
    ended: bool,
}

/// Seals what goes into a stream. What was not flushed has not gone.
pub(super) struct SealedWriter<W: Write> {
    stream: W,
    key: FrameKey,
    frames: u64,
    /// Room for a frame's head, and data that wait; sealed where they stand.
    frame: Vec<u8>,
}

impl<R: Read> SealedReader<R> {
    pub(super) fn new(stream: R, key: FrameKey) -> Self {
        Self {
            stream,
            key,
            frames: 0,
            frame: vec![0; MOST_SEALED],
            unread: 0..0,
            ended: false,
        }
    }

    /// Opens the next frame.
    fn advance(&mut self) -> io::Result<()> {
        let mut length = [0; 4];
        self.stream.read_exact(&mut length)?;
        let length = u32::from_be_bytes(length);
        if !is_length(length) {
            return Err(broken());
        }
        let sealed = &mut self.frame[..length as usize];
        self.stream.read_exact(sealed)?;
        let (kind, data) = (self.key.open_in_place(self.frames, sealed)).map_err(|_| broken())?;
        self.frames += 1;
        match kind {
            Kind::Data => {}
            Kind::Last if data.is_empty() => self.ended = true,
            _ => return Err(broken()),
        }
        self.unread = data;
        Ok(())
    }
}

impl<R: Read> Read for SealedReader<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        while self.unread.is_empty() && !self.ended && !out.is_empty() {
            self.advance()?;
        }
        let rest = &self.frame[self.unread.clone()];
        let read = rest.len().min(out.len());
        out[..read].copy_from_slice(&rest[..read]);
        self.unread.start += read;
        Ok(read)
    }
}

impl<R> Drop for SealedReader<R> {
    fn drop(&mut self) {
        self.frame.zeroize();
    }
}

impl<W: Write> SealedWriter<W> {
    pub(super) fn new(stream: W, key: FrameKey) -> Self {
        let mut frame = Vec::with_capacity(MOST_SEALED + HEAD);
        frame.resize(HEAD, 0);
        Self {
            stream,
            key,
            frames: 0,
            frame,
        }
    }

    /// Says that nothing follows.
    pub(super) fn finish(&mut self) -> io::Result<()> {
        self.flush()?;
        self.send(Kind::Last)?;
        self.stream.flush()
    }

    /// Seals what waits, and sends it.
    fn send(&mut self, kind: Kind) -> io::Result<()> {
        let sealed = (self.key).seal_in_place(self.frames, kind, &mut self.frame, 0);
        sealed.map_err(|_| broken())?;
        self.frames += 1;
        let sent = self.stream.write_all(&self.frame);
        self.frame.truncate(HEAD);
        sent
    }
}

impl<W: Write> Write for SealedWriter<W> {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        let taken = data.len().min(HEAD + MOST_DATA - self.frame.len());
        self.frame.extend_from_slice(&data[..taken]);
        if self.frame.len() == HEAD + MOST_DATA {
            self.send(Kind::Data)?;
        }
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.frame.len() > HEAD {
            self.send(Kind::Data)?;
        }
        self.stream.flush()
    }
}

fn broken() -> io::Error {
    let text =
        "a frame of the sealed connection was changed, dropped, repeated or moved on the way";
    io::Error::new(ErrorKind::InvalidData, text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(byte: u8) -> FrameKey {
        FrameKey::derive(&[1; 32], &[2; 32], &[byte; 32]).unwrap()
    }

    /// What a writer makes of the parts, each flushed.
    fn stream(parts: &[&[u8]]) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut writer = SealedWriter::new(&mut bytes, key(3));
        for part in parts {
            writer.write_all(part).unwrap();
            writer.flush().unwrap();
        }
        writer.finish().unwrap();
        bytes
    }

    fn read(bytes: &[u8], key: FrameKey) -> io::Result<Vec<u8>> {
        let mut out = Vec::new();
        SealedReader::new(bytes, key).read_to_end(&mut out)?;
        Ok(out)
    }

    #[test]
    fn long_and_short_parts_come_back() {
        let long: Vec<u8> = (0..200_000u32).map(|i| (i % 251) as u8).collect();
        let bytes = stream(&[b"a", &long, b"", b"bc"]);
        let expected = [b"a", &long[..], b"bc"].concat();
        assert_eq!(read(&bytes, key(3)).unwrap(), expected);
        assert!(read(&bytes, key(4)).is_err());
    }

    #[test]
    fn whatever_is_done_to_the_frames_is_seen() {
        let bytes = stream(&[b"one", b"two"]);
        for cut in 0..bytes.len() {
            assert!(read(&bytes[..cut], key(3)).is_err(), "{cut}");
        }
        for bit in 0..8 * bytes.len() {
            let mut bytes = bytes.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(read(&bytes, key(3)).is_err(), "{bit}");
        }
        let frame = 4 + 64 + 16;
        let (one, rest) = bytes.split_at(frame);
        let (two, last) = rest.split_at(frame);
        for moved in [[two, one, last], [one, one, last], [one, last, two]] {
            let read = read(&moved.concat(), key(3));
            assert!(read.is_err(), "{read:?}");
        }
    }
}
