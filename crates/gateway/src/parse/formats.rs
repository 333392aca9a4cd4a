/// How a family writes tool calls: one row of the table [`TOOL_FORMATS`].
pub struct ToolFormat {
    /// The name, for a command line.
    pub name: &'static str,
    /// What a chat template's source has, all of it, if it speaks this format.
    signs: &'static [&'static str],
    /// An answer's beginning that makes it a call: before the tool's name, and behind it.
    opening: (&'static str, &'static str),
    /// Whether the arguments behind the opening are a JSON object.
    opens_json: bool,
    marks: &'static [&'static str],
    /// The marks that begin calls, anywhere in an answer.
    pub(super) marked: &'static [Marked],
    /// The characters that, as the first of an answer or behind a call, may begin calls of known
    /// tools; what they begin is read with them.
    pub(super) bare: &'static [(char, &'static [Item])],
}

/// A mark, and what follows it.
pub(super) struct Marked {
    pub(super) mark: &'static str,
    pub(super) body: &'static [Item],
    /// Whether the mark also has other uses, so that only calls of known tools count.
    pub(super) known_only: bool,
}

/// One thing of a call's writing. White space may stand before each.
#[derive(Clone, Copy)]
pub(super) enum Item {
    /// This text. Behind a complete call it may be missing, and the rest with it.
    Mark(&'static str),
    /// This text, or nothing.
    Maybe(&'static str),
    /// The tool's name: letters and the like. With the next [`Item::Mark`] it is given.
    Name,
    /// Letters and the like that say nothing, or none.
    Word,
    /// The arguments, a JSON object or a string with one in it.
    Arguments,
    /// A JSON object of the tool's name and the arguments.
    Object,
    /// The arguments, an element each, as far as `</function>`.
    Parameters,
    /// If the next character is this one, these items instead of the rest.
    When(char, &'static [Item]),
    /// If this text follows, on from the item of that number.
    Again(&'static str, usize),
}

/// Every format, in the order in which a template is asked for their signs. Each is the shape that
/// the family's own chat template writes.
pub static TOOL_FORMATS: &[ToolFormat] = &[
    // Qwen3-Coder, Qwen 3.5, Nemotron 3.
    ToolFormat {
        name: "qwen3-coder",
        signs: &["<tool_call>", "<function=", "<parameter="],
        opening: ("<tool_call>\n<function=", ">\n"),
        opens_json: false,
        marks: &["<tool_call>", "</tool_call>"],
        marked: &[TOOL_CALL, FUNCTION],
        bare: &[],
    },
    // Hermes 2 Pro and 3, Qwen 2.5 and 3, QwQ, SmolLM3, Granite 4.
    ToolFormat {
        name: "hermes",
        signs: &["<tool_call>", "\"name"],
        opening: ("<tool_call>\n{\"name\": \"", "\", \"arguments\":"),
        opens_json: true,
        marks: &["<tool_call>", "</tool_call>"],
        marked: &[TOOL_CALL],
        bare: &[],
    },
    // Mistral from tokenizer version 11: Small 3.2, Devstral, Ministral 3.
    ToolFormat {
        name: "mistral-args",
        signs: &["[TOOL_CALLS]", "[ARGS]"],
        opening: ("[TOOL_CALLS]", "[ARGS]"),
        opens_json: true,
        marks: &["[TOOL_CALLS]", "[CALL_ID]", "[ARGS]"],
        marked: &[TOOL_CALLS],
        bare: &[],
    },
    // Mistral before: 7B 0.3, Nemo, Small 3.1.
    ToolFormat {
        name: "mistral",
        signs: &["[TOOL_CALLS]"],
        opening: ("[TOOL_CALLS][{\"name\": \"", "\", \"arguments\":"),
        opens_json: true,
        marks: &["[TOOL_CALLS]", "[CALL_ID]", "[ARGS]"],
        marked: &[TOOL_CALLS],
        bare: &[],
    },
    // DeepSeek V3 and R1.
    ToolFormat {
        name: "deepseek",
        signs: &["<｜tool▁calls▁begin｜>", "```json"],
        opening: (
            "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>",
            "\n```json\n",
        ),
        opens_json: true,
        marks: DEEPSEEK_MARKS,
        marked: &[Marked {
            mark: "<｜tool▁calls▁begin｜>",
            body: &[
                Item::Mark("<｜tool▁call▁begin｜>"),
                Item::Mark("function"),
                Item::Mark("<｜tool▁sep｜>"),
                Item::Name,
                Item::Mark("```json"),
                Item::Arguments,
                Item::Mark("```"),
                Item::Mark("<｜tool▁call▁end｜>"),
                Item::Again("<｜tool▁call▁begin｜>", 1),
                Item::Mark("<｜tool▁calls▁end｜>"),
            ],
            known_only: false,
        }],
        bare: &[],
    },
    ToolFormat {
        name: "deepseek-v3.1",
        signs: &["<｜tool▁calls▁begin｜>"],
        opening: (
            "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>",
            "<｜tool▁sep｜>",
        ),
        opens_json: true,
        marks: DEEPSEEK_MARKS,
        marked: &[Marked {
            mark: "<｜tool▁calls▁begin｜>",
            body: &[
                Item::Mark("<｜tool▁call▁begin｜>"),
                Item::Name,
                Item::Mark("<｜tool▁sep｜>"),
                Item::Arguments,
                Item::Mark("<｜tool▁call▁end｜>"),
                Item::Again("<｜tool▁call▁begin｜>", 1),
                Item::Mark("<｜tool▁calls▁end｜>"),
            ],
            known_only: false,
        }],
        bare: &[],
    },
    // Llama 3.1, 3.2, 3.3 and 4.
    ToolFormat {
        name: "llama3",
        signs: &["{\"name\": function name, \"parameters\""],
        opening: ("{\"name\": \"", "\", \"parameters\":"),
        opens_json: true,
        marks: &["<|python_tag|>"],
        marked: &[Marked {
            mark: "<|python_tag|>",
            body: OBJECTS,
            known_only: false,
        }],
        bare: &[('{', OBJECTS)],
    },
    // Whoever was told in words to answer with JSON.
    ToolFormat {
        name: "json",
        signs: &["tools"],
        opening: ("{\"name\": \"", "\", \"arguments\":"),
        opens_json: true,
        marks: &[],
        marked: &[Marked {
            mark: "```",
            body: &[
                Item::Maybe("json"),
                Item::When('[', FENCED_LIST),
                Item::Object,
                Item::Mark("```"),
            ],
            known_only: true,
        }],
        bare: &[('{', &[Item::Object]), ('[', LIST)],
    },
];

impl ToolFormat {
    /// The format of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<&'static Self> {
        TOOL_FORMATS.iter().find(|format| format.name == name)
    }

    /// The format that a chat template's source speaks, by the marks in it; `json` if it names tools
    /// and none of the marks, `None` if it knows no tools.
    #[must_use]
    pub fn of_template(source: &str) -> Option<&'static Self> {
        TOOL_FORMATS
            .iter()
            .find(|format| format.signs.iter().all(|sign| source.contains(sign)))
    }

    /// The text that an answer must begin with so that it is a call, of that tool if one is named.
    /// The generation goes on behind it, and the parser is given it first.
    #[must_use]
    pub fn opening(&self, tool: Option<&str>) -> String {
        let (before, behind) = self.opening;
        let Some(tool) = tool else {
            return before.to_owned();
        };
        let escaped = serde_json::Value::from(tool).to_string();
        let tool = match before.ends_with('"') {
            true => escaped.trim_start_matches('"').strip_suffix('"'),
            false => None,
        }
        .unwrap_or(tool);
        format!("{before}{tool}{behind}")
    }

    /// What an opening has before the tool's name, and behind it.
    pub(crate) fn around_name(&self) -> [&'static str; 2] {
        [self.opening.0, self.opening.1]
    }

    /// Whether an opening with a tool's name goes on with a JSON object of its arguments.
    pub(crate) fn opens_json(&self) -> bool {
        self.opens_json
    }

    /// The special tokens, as text, that the format uses as marks: they must stay in the decoded
    /// text.
    #[must_use]
    pub fn marks(&self) -> &'static [&'static str] {
        self.marks
    }
}

const TOOL_CALL: Marked = Marked {
    mark: "<tool_call>",
    body: &[
        Item::When(
            '<',
            &[
                Item::Mark("<function="),
                Item::Name,
                Item::Mark(">"),
                Item::Parameters,
                Item::Mark("</tool_call>"),
            ],
        ),
        Item::When(
            '[',
            &[
                Item::Mark("["),
                Item::Object,
                Item::Again(",", 1),
                Item::Mark("]"),
                Item::Mark("</tool_call>"),
            ],
        ),
        Item::Object,
        Item::Mark("</tool_call>"),
    ],
    known_only: false,
};

/// Qwen3-Coder forgets `<tool_call>` at times, but not `</tool_call>`.
const FUNCTION: Marked = Marked {
    mark: "<function=",
    body: &[
        Item::Name,
        Item::Mark(">"),
        Item::Parameters,
        Item::Mark("</tool_call>"),
    ],
    known_only: false,
};

const TOOL_CALLS: Marked = Marked {
    mark: "[TOOL_CALLS]",
    body: &[
        Item::When('[', LIST),
        Item::When('{', &[Item::Object]),
        Item::Name,
        Item::Maybe("[CALL_ID]"),
        Item::Word,
        Item::Mark("[ARGS]"),
        Item::Arguments,
    ],
    known_only: false,
};

const DEEPSEEK_MARKS: &[&str] = &[
    "<｜tool▁calls▁begin｜>",
    "<｜tool▁call▁begin｜>",
    "<｜tool▁sep｜>",
    "<｜tool▁call▁end｜>",
    "<｜tool▁calls▁end｜>",
];

const OBJECTS: &[Item] = &[Item::Object, Item::Again(";", 0)];

const LIST: &[Item] = &[
    Item::Mark("["),
    Item::Object,
    Item::Again(",", 1),
    Item::Mark("]"),
];

const FENCED_LIST: &[Item] = &[
    Item::Mark("["),
    Item::Object,
    Item::Again(",", 1),
    Item::Mark("]"),
    Item::Mark("```"),
];
