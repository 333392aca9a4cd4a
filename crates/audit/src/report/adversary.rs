//! The adversaries in words.

use crate::Adversary;

impl Adversary {
    /// All, those who hold most first.
    pub(super) const ALL: [Self; 7] = [
        Self::BaseModelHost,
        Self::KnownPlaintextHost,
        Self::CacheReader,
        Self::KnownPlaintextReader,
        Self::SourceLogReader,
        Self::DomainLogReader,
        Self::LogReader,
    ];

    /// As the subject of a sentence.
    pub(super) fn subject(self) -> &'static str {
        match self {
            Self::BaseModelHost => "A host that has the original checkpoint",
            Self::KnownPlaintextHost => {
                "A host that has the original checkpoint and knows what some of the traffic says"
            }
            Self::CacheReader => {
                "A reader of activations, caches or embeddings who has the original checkpoint"
            }
            Self::KnownPlaintextReader => {
                "A reader of cipher ids who knows or chooses a part of some prompts"
            }
            Self::LogReader => "A reader of cipher ids alone",
            Self::DomainLogReader => {
                "A reader of cipher ids alone who knows text on the same matters"
            }
            Self::SourceLogReader => {
                "A reader of cipher ids alone who knows text from the same source"
            }
        }
    }

    /// For a column.
    pub(super) fn short(self) -> &'static str {
        match self {
            Self::BaseModelHost => "host",
            Self::KnownPlaintextHost => "host, known text",
            Self::CacheReader => "cache reader",
            Self::KnownPlaintextReader => "reader, known text",
            Self::LogReader => "log reader",
            Self::DomainLogReader => "log reader, domain",
            Self::SourceLogReader => "log reader, source",
        }
    }

    /// For a file's name.
    pub(super) fn file(self) -> &'static str {
        match self {
            Self::BaseModelHost => "host",
            Self::KnownPlaintextHost => "host-known-text",
            Self::CacheReader => "cache",
            Self::KnownPlaintextReader => "known-text",
            Self::LogReader => "general",
            Self::DomainLogReader => "domain",
            Self::SourceLogReader => "source",
        }
    }

    /// Who holds less, so that all attacks of theirs are this one's too.
    pub(super) fn weaker(self) -> &'static [Self] {
        match self {
            Self::KnownPlaintextHost => &[
                Self::BaseModelHost,
                Self::CacheReader,
                Self::KnownPlaintextReader,
                Self::LogReader,
            ],
            Self::BaseModelHost => &[Self::CacheReader, Self::LogReader],
            Self::KnownPlaintextReader | Self::DomainLogReader => &[Self::LogReader],
            Self::SourceLogReader => &[Self::DomainLogReader, Self::LogReader],
            Self::CacheReader | Self::LogReader => &[],
        }
    }
}
