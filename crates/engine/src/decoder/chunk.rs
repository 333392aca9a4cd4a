use super::KvCache;

/// New tokens of one sequence.
#[derive(Debug)]
pub struct Chunk<'a> {
    /// At least one id; they stand at the positions after the cached ones.
    pub tokens: &'a [u32],
    /// What came before; the new tokens are appended.
    pub cache: &'a mut KvCache,
    /// After which of the tokens logits are wanted.
    pub want: Want,
}

/// After which tokens of a chunk logits are wanted; the head is computed for those only.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Want {
    /// None: the chunk is only a part of a prompt.
    Nothing,
    /// The last one, from which the next id is sampled.
    Last,
    /// Each one.
    All,
}

/// Logits of one chunk: a row of `vocab_size` values for each token that wanted them.
#[derive(Debug, Clone, Default)]
pub struct Logits {
    vocab_size: usize,
    single: Vec<f32>,
    double: Option<Vec<f64>>,
}

impl Logits {
    /// The number of rows: 0, 1 or the chunk's tokens.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.single.len().checked_div(self.vocab_size).unwrap_or(0)
    }

    /// Row `row`, by id; rounded if the decoder computes in f64.
    ///
    /// # Panics
    /// If there is no such row.
    #[must_use]
    pub fn row(&self, row: usize) -> &[f32] {
        &self.single[row * self.vocab_size..][..self.vocab_size]
    }

    /// Row `row` as it was computed, by id.
    ///
    /// # Panics
    /// If there is no such row.
    #[must_use]
    pub fn row_f64(&self, row: usize) -> Vec<f64> {
        let range = row * self.vocab_size..(row + 1) * self.vocab_size;
        match &self.double {
            Some(values) => values[range].to_vec(),
            None => self.single[range]
                .iter()
                .map(|value| f64::from(*value))
                .collect(),
        }
    }

    pub(super) fn from_f32(vocab_size: usize, values: &[f32]) -> Self {
        Self {
            vocab_size,
            single: values.to_vec(),
            double: None,
        }
    }

    pub(super) fn from_f64(vocab_size: usize, values: &[f64]) -> Self {
        let single = values.iter().map(|value| *value as f32).collect();
        Self {
            vocab_size,
            single,
            double: Some(values.to_vec()),
        }
    }
}

impl Want {
    /// How many of `tokens` want logits; they are the last ones.
    pub(super) fn rows(self, tokens: usize) -> usize {
        match self {
            Self::Nothing => 0,
            Self::Last => tokens.min(1),
            Self::All => tokens,
        }
    }
}
