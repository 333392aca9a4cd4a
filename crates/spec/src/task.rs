/// What a model's last layers answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Task {
    /// The logits of the next token, at each token: a decoder.
    NextToken,
    /// The vectors of all tokens, and what pools them.
    Features,
    /// Labels of the whole text, or of a pair of texts.
    SequenceLabels,
    /// Labels of each token.
    TokenLabels,
    /// The logits of the token that a mask hides, at each token.
    MaskedToken,
}

impl Task {
    /// The tasks of encoders, with what the names of their classes end with in transformers. The one whose name begins like
    /// another's comes first.
    pub(crate) const OF_ENCODERS: [(Self, &'static str); 4] = [
        (Self::SequenceLabels, "ForSequenceClassification"),
        (Self::TokenLabels, "ForTokenClassification"),
        (Self::MaskedToken, "ForMaskedLM"),
        (Self::Features, "Model"),
    ];

    /// Whether every token sees every other one, and answers come from all of them at once.
    #[must_use]
    pub fn is_of_encoder(self) -> bool {
        self != Self::NextToken
    }

    /// Whether the answer is made of labels.
    #[must_use]
    pub fn has_labels(self) -> bool {
        matches!(self, Self::SequenceLabels | Self::TokenLabels)
    }

    /// The name in messages and listings.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::NextToken => "next token",
            Self::Features => "features",
            Self::SequenceLabels => "sequence classification",
            Self::TokenLabels => "token classification",
            Self::MaskedToken => "masked token",
        }
    }

    /// What the class' name ends with.
    pub(crate) fn suffix(self) -> &'static str {
        (Self::OF_ENCODERS.iter())
            .find(|(task, _)| *task == self)
            .map_or("", |(_, suffix)| suffix)
    }
}
