//! The text of an answer, piece by piece, into the parts that OpenAI's clients know: content,
//! reasoning, tool calls.
//!
//! The order of reading: the tables [`TOOL_FORMATS`] and [`REASONING_FORMATS`], [`AnswerParser`],
//! the reader of a call's items, the readers of its objects, elements and values. Everything goes
//! character by character, so how the text is cut into pieces cannot matter, and every character is
//! read at most a few times.

mod formats;
mod literal;
mod object;
mod output;
mod parameters;
mod reader;
mod reasoning;
mod scan;
#[cfg(test)]
mod tests;

pub use formats::{TOOL_FORMATS, ToolFormat};
pub use reasoning::{REASONING_FORMATS, ReasoningFormat};

use formats::Marked;
use output::Output;
use reader::{Reader, Step};

/// A part of an answer. Neighbours of one kind are one text. It has no Debug: answers do not belong
/// in logs.
#[derive(Clone, PartialEq, Eq)]
#[cfg_attr(test, derive(Debug))]
pub enum Part {
    /// Text for the user.
    Content(String),
    /// Text of the model's reasoning.
    Reasoning(String),
    /// A call begins. It is given as soon as its name is known, so an answer may end or go astray
    /// behind it: then its arguments are not whole, and what is no part of them follows as content.
    Call {
        /// The number of the call in the answer, from 0.
        index: usize,
        /// The tool.
        name: String,
    },
    /// More of a call's arguments. All of a call's joined are a JSON object, or the beginning of
    /// one if the call is not whole.
    Arguments {
        /// The number of the call.
        index: usize,
        /// The next of the JSON text.
        text: String,
    },
}

/// Turns the text of an answer into parts, in time linear in its length. Text flows at once, except
/// what may be the beginning of a mark, white space before a possible call, and calls until they
/// have a name.
///
/// Calls begin at the format's marks. Objects without a mark count only if the answer, or what
/// follows a call, begins with them, and only with the name of a known tool. What turns out to be
/// no call is content, with its marks. White space alone around calls is dropped, and so are the
/// line feeds behind reasoning's marks; reasoning begins only where the answer does, or behind a
/// call or other reasoning.
pub struct AnswerParser {
    tools: Option<&'static ToolFormat>,
    reasoning: Option<&'static ReasoningFormat>,
    known_tools: Vec<String>,
    state: State,
    output: Output,
    /// Characters to be read again, the next one last.
    again: Vec<char>,
    #[cfg(test)]
    steps: usize,
}

enum State {
    Reasoning { begun: bool },
    Text(Text),
    Call(Reader),
}

/// Where in content the parser is.
#[derive(Clone, Copy)]
enum Text {
    /// Right behind reasoning, whose line feeds are dropped.
    BehindReasoning,
    /// Where only white space was, so many bytes, which are held.
    Fresh {
        spaces: usize,
    },
    Begun,
}

impl AnswerParser {
    /// A parser of answers with calls in the format `tools`, of which `known_tools` are offered,
    /// and with reasoning in the format `reasoning`, in which the prompt ended or not
    /// ([`ReasoningFormat::opened_by`]).
    #[must_use]
    pub fn new(
        tools: Option<&'static ToolFormat>,
        reasoning: Option<&'static ReasoningFormat>,
        inside_reasoning: bool,
        known_tools: Vec<String>,
    ) -> Self {
        let state = match (reasoning, tools) {
            (Some(_), _) if inside_reasoning => State::Reasoning { begun: false },
            (None, None) => State::Text(Text::Begun),
            _ => State::Text(Text::Fresh { spaces: 0 }),
        };
        Self {
            tools,
            reasoning,
            known_tools,
            state,
            output: Output::new(),
            again: Vec::new(),
            #[cfg(test)]
            steps: 0,
        }
    }

    /// Takes the next piece, cut anywhere, and appends what it completes.
    pub fn push(&mut self, piece: &str, parts: &mut Vec<Part>) {
        for c in piece.chars() {
            self.take(c);
            while let Some(c) = self.again.pop() {
                self.take(c);
            }
        }
        parts.append(&mut self.output.parts);
    }

    /// Ends the answer: what is held back is given out. An unfinished call's text, as far as it was
    /// not given, is content; of a complete one only the closing marks are dropped.
    pub fn finish(&mut self, parts: &mut Vec<Part>) {
        let output = &mut self.output;
        match std::mem::replace(&mut self.state, State::Text(Text::Begun)) {
            State::Reasoning { .. } => {
                let held = std::mem::take(&mut output.held);
                output.reasoning(&held);
            }
            State::Text(Text::Fresh { spaces })
                if output.calls > 0 && spaces == output.held.len() =>
            {
                output.held.clear();
            }
            State::Call(reader) if reader.complete() => output.held.clear(),
            State::Text(_) | State::Call(_) => output.held_as_content(),
        }
        parts.append(&mut output.parts);
    }

    /// Whether at least one call was given.
    #[must_use]
    pub fn called(&self) -> bool {
        self.output.calls > 0
    }

    fn take(&mut self, c: char) {
        #[cfg(test)]
        {
            self.steps += 1;
        }
        match &mut self.state {
            State::Reasoning { begun } => match (*begun, c) {
                (false, '\n' | '\r') => {}
                _ => {
                    *begun = true;
                    self.in_reasoning(c);
                }
            },
            State::Text(Text::BehindReasoning) if matches!(c, '\n' | '\r') => {}
            State::Text(text) => {
                let text = match *text {
                    Text::BehindReasoning => Text::Fresh { spaces: 0 },
                    text => text,
                };
                self.in_text(text, c);
            }
            State::Call(_) => {
                self.output.held.push(c);
                self.in_call(c);
            }
        }
    }

    fn in_reasoning(&mut self, c: char) {
        let output = &mut self.output;
        let close = self.reasoning.map_or("", ReasoningFormat::close);
        output.held.push(c);
        while !close.starts_with(&output.held) {
            let first = first_char(&mut output.held);
            output.reasoning(&first);
        }
        if output.held == close {
            output.held.clear();
            self.state = State::Text(Text::BehindReasoning);
        }
    }

    fn in_text(&mut self, mut text: Text, c: char) {
        self.output.held.push(c);
        let mut spaces = match text {
            Text::Fresh { spaces } => spaces,
            _ => 0,
        };
        if let Text::Fresh { .. } = text
            && spaces + c.len_utf8() == self.output.held.len()
        {
            if let Some(items) = self.bare(c) {
                self.state = State::Call(Reader::bare(items));
                return self.in_call(c);
            }
            if c.is_whitespace() && spaces < MOST_HELD {
                spaces += c.len_utf8();
                self.state = State::Text(Text::Fresh { spaces });
                return;
            }
        }
        while spaces < self.output.held.len() {
            match self.mark(
                &self.output.held[spaces..],
                matches!(text, Text::Fresh { .. }),
            ) {
                Mark::Beginning => break,
                Mark::Reasoning => {
                    self.output.held.clear();
                    self.state = State::Reasoning { begun: false };
                    return;
                }
                Mark::Call(marked) => {
                    self.state = State::Call(Reader::marked(marked));
                    return;
                }
                Mark::None => {
                    let rest = self.output.held.split_off(spaces);
                    self.output.held_as_content();
                    self.output.held = rest;
                    let first = first_char(&mut self.output.held);
                    self.output.content(&first);
                    spaces = 0;
                    text = Text::Begun;
                }
            }
        }
        self.state = State::Text(text);
    }

    fn in_call(&mut self, c: char) {
        let State::Call(reader) = &mut self.state else {
            return;
        };
        let output = &mut self.output;
        let back = match reader.step(c, &self.known_tools, output) {
            Step::More if output.held.len() <= MOST_HELD => return,
            Step::More => {
                output.held_as_content();
                self.state = State::Text(Text::Begun);
                return;
            }
            Step::Back(bytes) => output.take_back(bytes),
            Step::Done(bytes) => {
                let back = output.take_back(bytes);
                output.held.clear();
                self.state = State::Text(Text::Fresh { spaces: 0 });
                back
            }
            Step::Broken(bytes) => {
                let back = output.take_back(bytes);
                output.held_as_content();
                self.state = State::Text(Text::Begun);
                back
            }
        };
        self.again.extend(back.chars().rev());
    }

    fn bare(&self, c: char) -> Option<&'static [formats::Item]> {
        let bare = self.tools?.bare.iter();
        bare.filter(|(first, _)| *first == c)
            .map(|(_, items)| *items)
            .next()
    }

    /// What mark a text is, or is the beginning of; reasoning's counts only where all is fresh.
    fn mark(&self, text: &str, fresh: bool) -> Mark {
        let open = self.reasoning.filter(|_| fresh).map(ReasoningFormat::open);
        let marked = self.tools.map_or(&[][..], |format| format.marked);
        if let Some(marked) = marked.iter().find(|marked| marked.mark == text) {
            return Mark::Call(marked);
        }
        let mut marks = marked.iter().map(|marked| marked.mark).chain(open);
        match marks.any(|mark| mark.starts_with(text)) {
            true if open == Some(text) => Mark::Reasoning,
            true => Mark::Beginning,
            false => Mark::None,
        }
    }
}

enum Mark {
    None,
    Beginning,
    Reasoning,
    Call(&'static Marked),
}

fn first_char(text: &mut String) -> String {
    let rest = text.split_off(text.chars().next().map_or(0, char::len_utf8));
    std::mem::replace(text, rest)
}

/// The most bytes that are held of one call or of white space before one: what is longer is content.
const MOST_HELD: usize = 1 << 20;
