/// What JSON's grammar leaves open and its readers do not bear: how deep values nest and how long
/// a number is. Fed byte by byte, beside the grammar.
///
/// A number has at most [`NUMBER`] bytes and its exponent two digits, so it is a finite `f64`;
/// nesting stays below the 128 levels at which readers give up.
#[derive(Clone, Copy, Default)]
pub(super) struct Guard {
    depth: u8,
    place: Place,
}

impl Guard {
    /// Whether all of the bytes are within bounds; goes on behind them if so.
    pub(super) fn feed(&mut self, bytes: &[u8]) -> bool {
        let mut next = *self;
        let within = bytes.iter().all(|byte| next.step(*byte));
        if within {
            *self = next;
        }
        within
    }

    pub(super) fn in_string(&self) -> bool {
        matches!(self.place, Place::String | Place::Escape)
    }

    fn step(&mut self, byte: u8) -> bool {
        self.place = match (self.place, byte) {
            (Place::Escape, _) => Place::String,
            (Place::String, b'\\') => Place::Escape,
            (Place::String, b'"') => Place::Outside,
            (Place::String, _) => Place::String,
            (_, b'"') => Place::String,
            (Place::Number { length, exponent }, b'0'..=b'9') => {
                let exponent = exponent.map(|digits| digits + 1);
                if length >= NUMBER || exponent > Some(2) {
                    return false;
                }
                Place::Number {
                    length: length + 1,
                    exponent,
                }
            }
            // A sign or a point needs a digit behind it, for which there must be room.
            (Place::Number { length, exponent }, b'.' | b'e' | b'E' | b'+' | b'-') => {
                if length + 8 > NUMBER {
                    return false;
                }
                let starts = matches!(byte, b'e' | b'E');
                Place::Number {
                    length: length + 1,
                    exponent: exponent.or(starts.then_some(0)),
                }
            }
            (_, b'-' | b'0'..=b'9') => Place::Number {
                length: 1,
                exponent: None,
            },
            (_, b'{' | b'[') => {
                self.depth += 1;
                if self.depth > DEPTH {
                    return false;
                }
                Place::Outside
            }
            (_, b'}' | b']') => {
                self.depth = self.depth.saturating_sub(1);
                Place::Outside
            }
            _ => Place::Outside,
        };
        true
    }
}

#[derive(Clone, Copy, Default)]
enum Place {
    #[default]
    Outside,
    String,
    /// Behind a backslash.
    Escape,
    Number {
        /// Bytes until here.
        length: u8,
        /// Digits of the exponent, once there is one.
        exponent: Option<u8>,
    },
}

/// The longest number: with an exponent of two digits it is below 1e228.
const NUMBER: u8 = 128;
const DEPTH: u8 = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_hold_outside_strings_only() {
        let fits = |text: &str| Guard::default().feed(text.as_bytes());
        assert!(fits(&"[".repeat(64)) && !fits(&"[".repeat(65)));
        assert!(fits(&"[]".repeat(500)));
        assert!(fits(&format!("\"{}\"", "[\\\"".repeat(500))));
        assert!(!fits(&format!("\"\\\\\"{}", "[".repeat(65))));
        assert!(fits(&"1".repeat(128)) && !fits(&"1".repeat(129)));
        assert!(fits(&format!("[{}]", "1234567890,".repeat(50))));
        assert!(fits("1e99") && fits("1E-99") && !fits("1e100") && !fits("[-1.5e+001]"));
        assert!(!fits(&format!("{}.", "1".repeat(121))));
        let largest: f64 = format!("{}e99", "9".repeat(117)).parse().unwrap();
        assert!(largest.is_finite());
    }

    #[test]
    fn what_does_not_fit_changes_nothing() {
        let mut guard = Guard::default();
        assert!(guard.feed(b"[\"a"));
        assert!(!guard.feed(format!("\"{}", "[".repeat(64)).as_bytes()));
        assert!(guard.in_string());
    }
}
