use super::Part;

/// What the text has given so far, and what was read of it without being given.
pub(super) struct Output {
    /// The parts, neighbours of one kind joined.
    pub(super) parts: Vec<Part>,
    /// Text that was read and not given out, in its order.
    pub(super) held: String,
    /// How many calls were given.
    pub(super) calls: usize,
}

impl Output {
    pub(super) fn new() -> Self {
        Self {
            parts: Vec::new(),
            held: String::new(),
            calls: 0,
        }
    }

    pub(super) fn content(&mut self, text: &str) {
        match self.parts.last_mut() {
            Some(Part::Content(content)) => content.push_str(text),
            _ if text.is_empty() => {}
            _ => self.parts.push(Part::Content(text.to_owned())),
        }
    }

    pub(super) fn reasoning(&mut self, text: &str) {
        match self.parts.last_mut() {
            Some(Part::Reasoning(reasoning)) => reasoning.push_str(text),
            _ if text.is_empty() => {}
            _ => self.parts.push(Part::Reasoning(text.to_owned())),
        }
    }

    /// Begins a call: what is held was its beginning.
    pub(super) fn call(&mut self, name: &str) {
        self.held.clear();
        self.parts.push(Part::Call {
            index: self.calls,
            name: name.to_owned(),
        });
        self.calls += 1;
    }

    /// Goes on with the arguments of the call begun last: what is held was them.
    pub(super) fn arguments(&mut self, text: &str) {
        self.held.clear();
        let begun = self.calls.saturating_sub(1);
        match self.parts.last_mut() {
            Some(Part::Arguments { index, text: given }) if *index == begun => given.push_str(text),
            _ if text.is_empty() => {}
            _ => self.parts.push(Part::Arguments {
                index: begun,
                text: text.to_owned(),
            }),
        }
    }

    /// Takes the last `bytes` of what is held out of it.
    pub(super) fn take_back(&mut self, bytes: usize) -> String {
        let at = self.held.len().saturating_sub(bytes);
        self.held.split_off(at)
    }

    /// Drops what is held but the last `bytes`: it belongs to calls that were given.
    pub(super) fn hold_only(&mut self, bytes: usize) {
        self.held = self.take_back(bytes);
    }

    /// Gives what is held as content.
    pub(super) fn held_as_content(&mut self) {
        let held = std::mem::take(&mut self.held);
        self.content(&held);
    }
}
