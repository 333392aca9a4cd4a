//! Text as ids, message by message.

/// Messages of ids.
#[derive(Clone, Default)]
pub struct Corpus {
    ids: Vec<u32>,
    /// Where each message ends.
    ends: Vec<usize>,
}

impl Corpus {
    /// Of these messages; empty ones are left out.
    pub fn of<'a>(messages: impl IntoIterator<Item = &'a [u32]>) -> Self {
        let mut corpus = Self::default();
        for message in messages {
            corpus.push(message);
        }
        corpus
    }

    /// One more message.
    pub fn push(&mut self, message: &[u32]) {
        if !message.is_empty() {
            self.ids.extend(message);
            self.ends.push(self.ids.len());
        }
    }

    /// The messages.
    pub fn messages(&self) -> impl Iterator<Item = &[u32]> {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        starts
            .zip(&self.ends)
            .map(|(start, end)| &self.ids[start..*end])
    }

    /// All ids, one message behind the other.
    #[must_use]
    pub fn ids(&self) -> &[u32] {
        &self.ids
    }

    /// The first `tokens` ids of it; the last message may be cut.
    #[must_use]
    pub fn first(&self, tokens: usize) -> Self {
        let mut left = tokens;
        let mut first = Self::default();
        for message in self.messages() {
            let take = left.min(message.len());
            first.push(&message[..take]);
            left -= take;
            if left == 0 {
                break;
            }
        }
        first
    }

    /// The same messages, beginning `part` of `parts` later.
    #[must_use]
    pub fn rotated(&self, part: usize, parts: usize) -> Self {
        let messages: Vec<&[u32]> = self.messages().collect();
        let (before, after) = messages.split_at(messages.len() * part / parts.max(1));
        Self::of(after.iter().chain(before).copied())
    }

    /// How often each of `size` ids occurs; others are not counted.
    #[must_use]
    pub fn counts(&self, size: usize) -> Vec<u32> {
        let mut counts = vec![0u32; size];
        for id in &self.ids {
            if let Some(count) = counts.get_mut(*id as usize) {
                *count = count.saturating_add(1);
            }
        }
        counts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_kept_apart() {
        let corpus = Corpus::of([&[1, 2, 3][..], &[], &[4]]);
        assert_eq!(
            corpus.messages().collect::<Vec<_>>(),
            [&[1, 2, 3][..], &[4]]
        );
        assert_eq!(
            corpus.first(2).messages().collect::<Vec<_>>(),
            [&[1, 2][..]]
        );
        assert_eq!(corpus.first(9).ids(), [1, 2, 3, 4]);
        assert_eq!(corpus.counts(4), [0, 1, 1, 1]);
    }
}
