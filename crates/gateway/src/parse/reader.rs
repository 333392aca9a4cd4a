use super::formats::{Item, Marked};
use super::literal::{Literal, Match};
use super::object::{CallObject, MOST_NAME, Taken, object_of};
use super::output::Output;
use super::parameters::{Element, Parameters};
use super::scan::{Scan, Scanner};

/// Reads what follows the beginning of a call, item by item, and gives the calls in it.
pub(super) struct Reader {
    items: &'static [Item],
    at: usize,
    now: Now,
    known_only: bool,
    /// The name that was read and is not given.
    name: String,
    complete: bool,
}

/// What was read of an item.
enum Now {
    Nothing,
    Text(Literal),
    Arguments(Scanner),
    /// Arguments in a string, and its text.
    Quoted(Scanner, String),
    Object(CallObject),
    Parameters(Parameters),
}

/// What a [`Reader`] says of a character.
pub(super) enum Step {
    /// Taken; there is more.
    More,
    /// The last bytes, so many, are to be read again, by this reader.
    Back(usize),
    /// The calls are over; the last bytes, so many, are no part of them.
    Done(usize),
    /// This is no call, or none that goes on; the last bytes, so many, are to be read as text.
    Broken(usize),
}

impl Reader {
    /// A reader of what follows a mark.
    pub(super) fn marked(marked: &Marked) -> Self {
        Self::new(marked.body, marked.known_only)
    }

    /// A reader of calls that no mark begins: those of known tools count.
    pub(super) fn bare(items: &'static [Item]) -> Self {
        Self::new(items, true)
    }

    fn new(items: &'static [Item], known_only: bool) -> Self {
        Self {
            items,
            at: 0,
            now: Now::Nothing,
            known_only,
            name: String::new(),
            complete: false,
        }
    }

    /// Whether every call begun was given to its end, so that only closing marks may be missing.
    pub(super) fn complete(&self) -> bool {
        match &self.now {
            Now::Object(object) => object.complete(),
            _ => self.complete,
        }
    }

    /// Takes the next character, which is already held.
    pub(super) fn step(&mut self, c: char, known: &[String], output: &mut Output) -> Step {
        let Some(item) = self.items.get(self.at) else {
            return Step::Done(c.len_utf8());
        };
        match item {
            Item::Mark(text) => match self.literal(text, c) {
                Match::More => Step::More,
                Match::Whole(_) if self.complete => self.completed(output),
                Match::Whole(_) => {
                    if !self.name.is_empty() {
                        output.call(&self.name);
                        self.name.clear();
                    }
                    self.go_on()
                }
                Match::None { bytes } if self.complete => Step::Done(bytes),
                Match::None { bytes } => Step::Broken(bytes),
            },
            Item::Maybe(text) => match self.literal(text, c) {
                Match::More => Step::More,
                Match::Whole(_) => self.go_on(),
                Match::None { bytes } => self.leave(bytes),
            },
            Item::Again(text, first) => match self.literal(text, c) {
                Match::More => Step::More,
                Match::Whole(_) => {
                    self.complete = false;
                    self.go_to(*first)
                }
                Match::None { bytes } => self.leave(bytes),
            },
            Item::When(first, items) if *first == c => {
                self.items = items;
                self.at = 0;
                Step::Back(c.len_utf8())
            }
            Item::When(..) if c.is_whitespace() => Step::More,
            Item::When(..) => self.leave(c.len_utf8()),
            Item::Name if self.name.is_empty() && c.is_whitespace() => Step::More,
            Item::Name if in_name(c) && self.name.len() < MOST_NAME => {
                self.name.push(c);
                Step::More
            }
            Item::Name if self.name.is_empty() || in_name(c) => Step::Broken(c.len_utf8()),
            Item::Word if in_name(c) => Step::More,
            Item::Name | Item::Word => self.leave(c.len_utf8()),
            Item::Arguments => self.arguments(c, output),
            Item::Object => self.object(c, known, output),
            Item::Parameters => self.parameters(c, output),
        }
    }

    fn literal(&mut self, text: &'static &'static str, c: char) -> Match {
        if !matches!(self.now, Now::Text(_)) {
            self.now = Now::Text(Literal::new(std::slice::from_ref(text)));
        }
        match &mut self.now {
            Now::Text(literal) => literal.step(c),
            _ => Match::None {
                bytes: c.len_utf8(),
            },
        }
    }

    fn arguments(&mut self, c: char, output: &mut Output) -> Step {
        if matches!(self.now, Now::Nothing) {
            self.now = match c {
                '{' => Now::Arguments(Scanner::new()),
                '"' => Now::Quoted(Scanner::new(), String::new()),
                _ if c.is_whitespace() => return Step::More,
                _ => return Step::Broken(c.len_utf8()),
            };
        }
        let (scan, quoted) = match &mut self.now {
            Now::Arguments(scanner) => (scanner.step(c), None),
            Now::Quoted(scanner, text) => {
                text.push(c);
                (scanner.step(c), Some(text))
            }
            _ => (Scan::Broken, None),
        };
        match (scan, quoted) {
            (Scan::Before | Scan::Broken, _) => return Step::Broken(c.len_utf8()),
            (_, None) => output.arguments(c.encode_utf8(&mut [0; 4])),
            (Scan::More, Some(_)) => {}
            (Scan::Last, Some(text)) => match object_of(text) {
                Some(arguments) => output.arguments(&arguments),
                None => return Step::Broken(c.len_utf8()),
            },
        }
        match scan {
            Scan::Last => self.completed(output),
            _ => Step::More,
        }
    }

    fn object(&mut self, c: char, known: &[String], output: &mut Output) -> Step {
        if !matches!(self.now, Now::Object(_)) {
            self.now = Now::Object(CallObject::new(self.known_only));
        }
        let taken = match &mut self.now {
            Now::Object(object) => object.step(c, known, output),
            _ => Taken::Broken,
        };
        match taken {
            Taken::More => Step::More,
            Taken::Last => self.completed(output),
            Taken::Before => {
                output.hold_only(c.len_utf8());
                self.complete = true;
                self.leave(c.len_utf8())
            }
            Taken::Broken => Step::Broken(c.len_utf8()),
        }
    }

    fn parameters(&mut self, c: char, output: &mut Output) -> Step {
        if !matches!(self.now, Now::Parameters(_)) {
            self.now = Now::Parameters(Parameters::new());
        }
        let element = match &mut self.now {
            Now::Parameters(parameters) => parameters.step(c, output),
            _ => Element::Broken(c.len_utf8()),
        };
        match element {
            Element::More => Step::More,
            Element::Last => self.completed(output),
            Element::Broken(bytes) => Step::Broken(bytes),
        }
    }

    fn completed(&mut self, output: &mut Output) -> Step {
        output.hold_only(0);
        self.complete = true;
        self.go_on()
    }

    fn go_on(&mut self) -> Step {
        self.go_to(self.at + 1)
    }

    fn go_to(&mut self, at: usize) -> Step {
        self.at = at;
        self.now = Now::Nothing;
        match at < self.items.len() {
            true => Step::More,
            false => Step::Done(0),
        }
    }

    /// Goes on to the next item, which the last bytes, so many, belong to.
    fn leave(&mut self, bytes: usize) -> Step {
        match self.go_on() {
            Step::More => Step::Back(bytes),
            _ => Step::Done(bytes),
        }
    }
}

fn in_name(c: char) -> bool {
    c.is_alphanumeric() || matches!(c, '_' | '-' | '.' | ':' | '/' | '@')
}
