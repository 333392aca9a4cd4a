use super::output::Output;
use super::scan::{self, Scan, Scanner};

/// Reads `{"name": .., "arguments": {..}}`, in either order, with `parameters` for `arguments` and
/// other keys passed over. The call is given once the name is read; arguments that come behind it
/// are given as they come.
pub(super) struct CallObject {
    /// Whether only calls of known tools count, in objects without foreign keys before the name.
    known_only: bool,
    at: At,
    scanner: Scanner,
    field: Field,
    /// The text of the key or value being read, where it is kept.
    text: String,
    named: bool,
    arguments: Arguments,
}

#[derive(Clone, Copy)]
enum At {
    Start,
    FirstKey,
    NextKey,
    Key,
    Colon,
    Value,
    InValue,
    Comma,
}

#[derive(Clone, Copy)]
enum Field {
    Name,
    Arguments,
    Other,
}

enum Arguments {
    Missing,
    /// Read before the name.
    Kept(String),
    /// Being given as they come.
    Flowing,
    Given,
}

/// What an item of a call's writing says of a character.
pub(super) enum Taken {
    /// Taken; the item goes on.
    More,
    /// Taken, and the item ends with it.
    Last,
    /// Not taken: the item ended before it.
    Before,
    /// Not taken: the item cannot go on so.
    Broken,
}

impl CallObject {
    pub(super) fn new(known_only: bool) -> Self {
        Self {
            known_only,
            at: At::Start,
            scanner: Scanner::new(),
            field: Field::Other,
            text: String::new(),
            named: false,
            arguments: Arguments::Missing,
        }
    }

    /// Whether the call and all its arguments were given.
    pub(super) fn complete(&self) -> bool {
        self.named && matches!(self.arguments, Arguments::Given)
    }

    pub(super) fn step(&mut self, c: char, known: &[String], output: &mut Output) -> Taken {
        let taken = self.read(c, known, output);
        match taken {
            // A closing brace forgotten behind the arguments does not undo the call.
            Taken::Broken if self.complete() => Taken::Before,
            taken => taken,
        }
    }

    fn read(&mut self, c: char, known: &[String], output: &mut Output) -> Taken {
        let space = matches!(c, ' ' | '\t' | '\n' | '\r');
        self.at = match (self.at, c) {
            (At::Key, c) => match self.keep(c) {
                Scan::More => At::Key,
                Scan::Last if self.begin_field() => At::Colon,
                _ => return Taken::Broken,
            },
            (At::InValue, c) => return self.value(c, known, output),
            (at, _) if space => at,
            (At::Start, '{') => At::FirstKey,
            (At::FirstKey | At::NextKey, '"') => {
                self.begin();
                self.keep(c);
                At::Key
            }
            (At::Colon, ':') => At::Value,
            (At::Value, c) => {
                self.begin();
                let arguments = matches!(self.field, Field::Arguments);
                if arguments && self.named && c == '{' {
                    self.arguments = Arguments::Flowing;
                }
                self.at = At::InValue;
                return self.value(c, known, output);
            }
            (At::Comma, ',') => At::NextKey,
            (At::FirstKey | At::Comma, '}') => return self.end(output),
            _ => return Taken::Broken,
        };
        Taken::More
    }

    fn begin(&mut self) {
        self.scanner = Scanner::new();
        self.text.clear();
    }

    fn keep(&mut self, c: char) -> Scan {
        let scan = self.scanner.step(c);
        if matches!(scan, Scan::More | Scan::Last) {
            self.text.push(c);
        }
        scan
    }

    /// The field of the key just read; false if it shows that the object is no call.
    fn begin_field(&mut self) -> bool {
        let key: Option<String> = serde_json::from_str(&self.text).ok();
        let missing = matches!(self.arguments, Arguments::Missing);
        self.field = match key.as_deref() {
            Some("name") if !self.named => Field::Name,
            Some("arguments" | "parameters") if missing => Field::Arguments,
            Some("type" | "id") => Field::Other,
            _ if self.known_only && !self.named => return false,
            _ => Field::Other,
        };
        true
    }

    fn value(&mut self, c: char, known: &[String], output: &mut Output) -> Taken {
        let flowing = matches!(
            (self.field, &self.arguments),
            (Field::Arguments, Arguments::Flowing)
        );
        let scan = match (self.field, flowing) {
            (Field::Other, _) | (_, true) => self.scanner.step(c),
            _ => self.keep(c),
        };
        if flowing && matches!(scan, Scan::More | Scan::Last) {
            output.arguments(c.encode_utf8(&mut [0; 4]));
        }
        match scan {
            Scan::More => return Taken::More,
            Scan::Broken => return Taken::Broken,
            Scan::Last | Scan::Before => {}
        }
        let fits = match self.field {
            Field::Name => self.name(known, output),
            Field::Arguments => self.end_arguments(output),
            Field::Other => true,
        };
        self.at = At::Comma;
        match (fits, scan) {
            (false, _) => Taken::Broken,
            (true, Scan::Before) => self.read(c, known, output),
            (true, _) => Taken::More,
        }
    }

    fn name(&mut self, known: &[String], output: &mut Output) -> bool {
        let name: Option<String> = serde_json::from_str(&self.text).ok();
        let Some(name) = name.filter(|name| valid_name(name)) else {
            return false;
        };
        if self.known_only && !known.contains(&name) {
            return false;
        }
        self.named = true;
        output.call(&name);
        if let Arguments::Kept(arguments) = &self.arguments {
            output.arguments(arguments);
            self.arguments = Arguments::Given;
        }
        true
    }

    fn end_arguments(&mut self, output: &mut Output) -> bool {
        if matches!(self.arguments, Arguments::Flowing) {
            self.arguments = Arguments::Given;
            return true;
        }
        let Some(arguments) = object_of(&self.text) else {
            return false;
        };
        self.arguments = match self.named {
            true => {
                output.arguments(&arguments);
                Arguments::Given
            }
            false => Arguments::Kept(arguments),
        };
        true
    }

    fn end(&mut self, output: &mut Output) -> Taken {
        if !self.named {
            return Taken::Broken;
        }
        if !self.complete() {
            output.arguments("{}");
            self.arguments = Arguments::Given;
        }
        Taken::Last
    }
}

/// Whether a text can be a tool's name. OpenAI's are of at most 64 letters, digits, `_` and `-`;
/// other servers' also have dots, slashes and colons.
pub(super) fn valid_name(name: &str) -> bool {
    !name.trim().is_empty() && name.len() <= MOST_NAME && !name.chars().any(char::is_control)
}

/// Arguments as the text of an object, from the JSON text of an object, of a string with one in it,
/// or of nothing; `None` if they are something else.
pub(super) fn object_of(value: &str) -> Option<String> {
    let text = match value.starts_with('"') {
        true => serde_json::from_str::<String>(value).ok()?,
        false => value.to_owned(),
    };
    match text.trim() {
        "" | "null" => Some("{}".to_owned()),
        text => scan::value(text)
            .filter(|text| text.starts_with('{'))
            .map(str::to_owned),
    }
}

/// The most bytes of a tool's name.
pub(super) const MOST_NAME: usize = 256;
