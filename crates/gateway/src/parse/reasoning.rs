/// How a family marks its reasoning: one row of the table [`REASONING_FORMATS`].
pub struct ReasoningFormat {
    /// The name, for a command line.
    pub name: &'static str,
    /// What is before the reasoning, and what behind it.
    marks: &'static [&'static str; 2],
}

/// Every format, in the order in which a template is asked for their marks.
pub static REASONING_FORMATS: &[ReasoningFormat] = &[
    // Magistral, Ministral 3.
    ReasoningFormat {
        name: "mistral",
        marks: &["[THINK]", "[/THINK]"],
    },
    // Qwen3, QwQ, DeepSeek R1, SmolLM3.
    ReasoningFormat {
        name: "think",
        marks: &["<think>", "</think>"],
    },
];

impl ReasoningFormat {
    /// The format that a chat template's source speaks, by the marks in it.
    #[must_use]
    pub fn of_template(source: &str) -> Option<&'static Self> {
        REASONING_FORMATS
            .iter()
            .find(|format| format.marks.iter().any(|mark| source.contains(mark)))
    }

    /// The marks, as text: those that are special tokens must stay in the decoded text.
    #[must_use]
    pub fn marks(&self) -> &'static [&'static str] {
        self.marks
    }

    /// Whether the prompt, a rendered text, ends inside reasoning: with the opening mark.
    #[must_use]
    pub fn opened_by(&self, prompt: &str) -> bool {
        prompt.trim_end().ends_with(self.marks[0])
    }

    pub(super) fn open(&self) -> &'static str {
        self.marks[0]
    }

    pub(super) fn close(&self) -> &'static str {
        self.marks[1]
    }
}
