use crate::Error;

/// Reads a stream of server-sent events (the event stream format of the HTML standard): bytes in,
/// the data of each event out. Lines end with LF, CR or CR LF; comments, `event`, `id` and `retry`
/// are skipped; the `data` lines of one event are joined by LF; an event without data is none; what
/// a stream leaves unfinished at its end is dropped.
pub struct EventParser {
    limit: usize,
    line: Vec<u8>,
    data: Option<Vec<u8>>,
    after_cr: bool,
    at_start: bool,
}

impl EventParser {
    /// A parser that refuses lines and events of more than `limit` bytes.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        Self {
            limit,
            line: Vec::new(),
            data: None,
            after_cr: false,
            at_start: true,
        }
    }

    /// Takes the next bytes, cut anywhere, and appends the data of every event that they complete.
    /// Bytes that are no UTF-8 become U+FFFD. After an error the stream cannot be read on.
    pub fn push(&mut self, bytes: &[u8], events: &mut Vec<String>) -> Result<(), Error> {
        for byte in bytes {
            let after_cr = std::mem::replace(&mut self.after_cr, *byte == b'\r');
            match byte {
                b'\n' if after_cr => {}
                b'\n' | b'\r' => self.end_line(events)?,
                _ if self.line.len() >= self.limit => return Err(self.too_long()),
                _ => self.line.push(*byte),
            }
        }
        Ok(())
    }

    fn end_line(&mut self, events: &mut Vec<String>) -> Result<(), Error> {
        let line = std::mem::take(&mut self.line);
        let mut line = line.as_slice();
        if std::mem::take(&mut self.at_start) {
            line = line.strip_prefix(BYTE_ORDER_MARK).unwrap_or(line);
        }
        if line.is_empty() {
            let data = self.data.take();
            events.extend(data.map(|data| String::from_utf8_lossy(&data).into_owned()));
            return Ok(());
        }
        let value = match line.strip_prefix(b"data") {
            Some([]) => &[],
            Some([b':', b' ', value @ ..] | [b':', value @ ..]) => value,
            _ => return Ok(()),
        };
        match &mut self.data {
            None => self.data = Some(value.to_vec()),
            Some(data) if data.len() + 1 + value.len() > self.limit => {
                return Err(self.too_long());
            }
            Some(data) => {
                data.push(b'\n');
                data.extend_from_slice(value);
            }
        }
        Ok(())
    }

    fn too_long(&self) -> Error {
        Error::EventTooLong { limit: self.limit }
    }
}

const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn events(chunks: &[&[u8]], limit: usize) -> Result<Vec<String>, Error> {
        let mut parser = EventParser::new(limit);
        let mut events = Vec::new();
        for chunk in chunks {
            parser.push(chunk, &mut events)?;
        }
        Ok(events)
    }

    #[test]
    fn every_form_of_the_standard() {
        for (text, expected) in [
            (
                "data: a\n\ndata:b\r\n\r\ndata:  c\r\r",
                vec!["a", "b", " c"],
            ),
            ("data: a\ndata: b\n\n", vec!["a\nb"]),
            ("data\ndata\n\n", vec!["\n"]),
            ("data\n\n", vec![""]),
            ("\u{feff}data: a\n\n", vec!["a"]),
            ("data: b\n\n\u{feff}data: a\n\n", vec!["b"]),
            (": comment\nevent: x\nid: 1\nretry: 3\n\n", vec![]),
            (": keep-alive\n\ndata: a\n:\n\n", vec!["a"]),
            ("datax: a\nDATA: b\n data: c\n\n", vec![]),
            ("data: a\n", vec![]),
            (
                "data: {\"a\": 1}\n\ndata: [DONE]\n\n",
                vec!["{\"a\": 1}", "[DONE]"],
            ),
        ] {
            assert_eq!(
                events(&[text.as_bytes()], 100).unwrap(),
                expected,
                "{text:?}"
            );
        }
    }

    #[test]
    fn long_lines_and_events_are_refused() {
        let line = format!("data: {}\n\n", "a".repeat(94));
        assert_eq!(events(&[line.as_bytes()], 100).unwrap().len(), 1);
        let line = format!("data: {}", "a".repeat(95));
        assert!(events(&[line.as_bytes()], 100).is_err());
        let lines = "data: aaaaaaaaa\n".repeat(11);
        assert!(events(&[lines.as_bytes()], 100).is_err());
    }

    proptest! {
        #[test]
        fn any_cutting_gives_the_same_events(
            lines in prop::collection::vec(
                prop::sample::select(vec![
                    "data: x", "data:", ":c", "", "", "data: é😀", "\r", "event: e", "\u{feff}",
                ]),
                0..30,
            ),
            endings in prop::collection::vec(prop::sample::select(vec!["\n", "\r", "\r\n"]), 30),
            cuts in prop::collection::vec(0usize..400, 0..12),
        ) {
            let lines = lines.iter().zip(&endings);
            let text: String = lines.map(|(line, end)| format!("{line}{end}")).collect();
            let bytes = text.as_bytes();
            let whole = events(&[bytes], 1000).unwrap();
            let mut cuts: Vec<usize> = cuts.into_iter().filter(|cut| *cut <= bytes.len()).collect();
            cuts.extend([0, bytes.len()]);
            cuts.sort_unstable();
            let chunks: Vec<&[u8]> = cuts.windows(2).map(|pair| &bytes[pair[0]..pair[1]]).collect();
            prop_assert_eq!(&events(&chunks, 1000).unwrap(), &whole);
            let single: Vec<&[u8]> = bytes.chunks(1).collect();
            prop_assert_eq!(&events(&single, 1000).unwrap(), &whole);
        }

        #[test]
        fn arbitrary_bytes_never_panic(
            bytes in prop::collection::vec(any::<u8>(), 0..300),
            limit in 0usize..64,
        ) {
            let _ = events(&[&bytes], limit);
        }

        #[test]
        fn what_is_written_is_read(
            data in prop::collection::vec("[^\r\n\u{feff}]{0,20}(\n[^\r\n]{0,9}){0,3}", 1..6),
        ) {
            let text: String = data
                .iter()
                .map(|data| format!("data: {}\n\n", data.replace('\n', "\ndata: ")))
                .collect();
            prop_assert_eq!(events(&[text.as_bytes()], 1000).unwrap(), data);
        }
    }
}
