/// Looks for stop strings in a text that comes in pieces. What may be the beginning of one is held
/// back.
pub(crate) struct Stops {
    stops: Vec<String>,
    held: String,
}

impl Stops {
    /// Empty stop strings are left out.
    pub(crate) fn new(stops: Vec<String>) -> Self {
        Self {
            stops: stops.into_iter().filter(|stop| !stop.is_empty()).collect(),
            held: String::new(),
        }
    }

    /// Takes the next piece; gives the text that can be shown, and whether a stop string came: then
    /// the text ends before it.
    pub(crate) fn push(&mut self, piece: &str) -> (String, bool) {
        if self.stops.is_empty() {
            return (piece.to_owned(), false);
        }
        self.held.push_str(piece);
        let found = self
            .stops
            .iter()
            .filter_map(|stop| self.held.find(stop.as_str()));
        if let Some(place) = found.min() {
            self.held.truncate(place);
            return (std::mem::take(&mut self.held), true);
        }
        let shown = self.held.len() - self.beginning();
        let rest = self.held.split_off(shown);
        (std::mem::replace(&mut self.held, rest), false)
    }

    /// The answer is over: what was held back is no stop string.
    pub(crate) fn finish(&mut self) -> String {
        std::mem::take(&mut self.held)
    }

    /// The length of the longest end of the text that is the beginning of a stop string.
    fn beginning(&self) -> usize {
        let longest = self.stops.iter().map(|stop| stop.len() - 1).max();
        let from = self.held.len().saturating_sub(longest.unwrap_or(0));
        let starts = (from..self.held.len()).filter(|start| self.held.is_char_boundary(*start));
        let ends = starts.map(|start| &self.held[start..]);
        let begins = |end: &&str| self.stops.iter().any(|stop| stop.starts_with(end));
        ends.into_iter().find(begins).map_or(0, str::len)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn run(stops: &[&str], pieces: &[&str]) -> (String, bool) {
        let mut found = Stops::new(stops.iter().map(|stop| (*stop).to_owned()).collect());
        let mut text = String::new();
        for piece in pieces {
            let (shown, stopped) = found.push(piece);
            text.push_str(&shown);
            if stopped {
                return (text, true);
            }
        }
        text.push_str(&found.finish());
        (text, false)
    }

    #[test]
    fn only_what_may_be_a_stop_is_held_back() {
        let mut stops = Stops::new(vec!["END".into(), "é!".into()]);
        assert_eq!(stops.push("a"), ("a".into(), false));
        assert_eq!(stops.push("bE"), ("b".into(), false));
        assert_eq!(stops.push("N"), (String::new(), false));
        assert_eq!(stops.push("d"), ("ENd".into(), false));
        assert_eq!(stops.push("é"), (String::new(), false));
        assert_eq!(stops.push("!x"), (String::new(), true));
    }

    proptest! {
        #[test]
        fn any_cutting_stops_where_the_whole_text_does(
            text in "[abé]{0,30}",
            stops in prop::collection::vec("[abé]{0,4}", 0..3),
            cuts in prop::collection::vec(0usize..30, 0..8),
        ) {
            let stops: Vec<&str> = stops.iter().map(String::as_str).collect();
            let first = stops.iter().filter(|stop| !stop.is_empty()).filter_map(|stop| text.find(stop));
            let expected = match first.min() {
                Some(place) => (text[..place].to_owned(), true),
                None => (text.clone(), false),
            };
            prop_assert_eq!(run(&stops, &[&text]), expected.clone());
            let mut cuts: Vec<usize> = cuts.into_iter().filter(|cut| text.is_char_boundary(*cut)).collect();
            cuts.extend([0, text.len()]);
            cuts.sort_unstable();
            let pieces: Vec<&str> = cuts.windows(2).map(|pair| &text[pair[0]..pair[1]]).collect();
            let found = run(&stops, &pieces);
            // A stop string that is complete earlier ends the text, though another one that ends
            // later begins before it.
            if found.1 && found != expected {
                prop_assert!(expected.1 && expected.0.len() <= found.0.len());
            } else {
                prop_assert_eq!(found, expected);
            }
        }
    }
}
