use std::io::{self, ErrorKind, Read, Write};

use crate::frame::{FrameKey, Kind, MOST_DATA, is_length};

/// Opens what comes out of a stream.
pub(super) struct SealedReader<R> {
    stream: R,
    key: FrameKey,
    frames: u64,
    opened: Vec<u8>,
    used: usize,
    ended: bool,
}

/// Seals what goes into a stream. What was not flushed has not gone.
pub(super) struct SealedWriter<W: Write> {
    stream: W,
    key: FrameKey,
    frames: u64,
    waiting: Vec<u8>,
    sealed: Vec<u8>,
}

impl<R: Read> SealedReader<R> {
    pub(super) fn new(stream: R, key: FrameKey) -> Self {
        Self {
            stream,
            key,
            frames: 0,
            opened: Vec::new(),
            used: 0,
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
        let mut sealed = vec![0; length as usize];
        self.stream.read_exact(&mut sealed)?;
        let (kind, data) = (self.key.open(self.frames, &sealed)).map_err(|_| broken())?;
        self.frames += 1;
        match kind {
            Kind::Data => {}
            Kind::Last if data.is_empty() => self.ended = true,
            _ => return Err(broken()),
        }
        (self.opened, self.used) = (data, 0);
        Ok(())
    }
}

impl<R: Read> Read for SealedReader<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        while self.used == self.opened.len() && !self.ended && !out.is_empty() {
            self.advance()?;
        }
        let rest = &self.opened[self.used..];
        let read = rest.len().min(out.len());
        out[..read].copy_from_slice(&rest[..read]);
        self.used += read;
        Ok(read)
    }
}

impl<W: Write> SealedWriter<W> {
    pub(super) fn new(stream: W, key: FrameKey) -> Self {
        Self {
            stream,
            key,
            frames: 0,
            waiting: Vec::new(),
            sealed: Vec::new(),
        }
    }

    /// Says that nothing follows.
    pub(super) fn finish(&mut self) -> io::Result<()> {
        self.flush()?;
        seal(
            &self.key,
            &mut self.frames,
            Kind::Last,
            &[],
            &mut self.sealed,
        )?;
        self.send()
    }

    fn seal_waiting(&mut self) -> io::Result<()> {
        seal(
            &self.key,
            &mut self.frames,
            Kind::Data,
            &self.waiting,
            &mut self.sealed,
        )?;
        self.waiting.clear();
        Ok(())
    }

    fn send(&mut self) -> io::Result<()> {
        let sent = self.stream.write_all(&self.sealed);
        self.sealed.clear();
        sent?;
        self.stream.flush()
    }
}

impl<W: Write> Write for SealedWriter<W> {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        let taken = data.len().min(MOST_DATA - self.waiting.len());
        self.waiting.extend_from_slice(&data[..taken]);
        if self.waiting.len() == MOST_DATA {
            self.seal_waiting()?;
            self.send()?;
        }
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        if !self.waiting.is_empty() {
            self.seal_waiting()?;
        }
        self.send()
    }
}

fn seal(
    key: &FrameKey,
    frames: &mut u64,
    kind: Kind,
    data: &[u8],
    out: &mut Vec<u8>,
) -> io::Result<()> {
    key.seal(*frames, kind, data, out).map_err(|_| broken())?;
    *frames += 1;
    Ok(())
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
