use equicrypt_cipher::CipherIds;

/// How the next id is drawn, in vLLM's terms.
pub struct Sampling {
    /// 0 is greedy.
    pub temperature: f64,
    /// The smallest set of ids of at least this probability; above 0, at most 1.
    pub top_p: f64,
    /// The k likeliest ids; 0 for all.
    pub top_k: usize,
    /// Ids of at least this share of the likeliest one's probability; 0 to 1.
    pub min_p: f64,
    /// Same seed, same draw.
    pub seed: Option<u64>,
    /// Subtracted from the logit of every id that was generated; -2 to 2.
    pub presence_penalty: f64,
    /// Subtracted once for each time that an id was generated; -2 to 2.
    pub frequency_penalty: f64,
    /// Divides (or multiplies, if negative) the logit of every id of prompt and answer; above 0.
    pub repetition_penalty: f64,
    /// Added to logits.
    pub bias: Bias,
    /// Log-probabilities of the chosen id and of this many likeliest ones.
    pub logprobs: Option<usize>,
}

/// What is added to the logits of some cipher ids. A host sees which ids these are.
pub struct Bias {
    ids: CipherIds,
    values: Vec<f64>,
}

impl Sampling {
    /// The likeliest id, always.
    #[must_use]
    pub fn greedy() -> Self {
        Self {
            temperature: 0.0,
            top_p: 1.0,
            top_k: 0,
            min_p: 0.0,
            seed: None,
            presence_penalty: 0.0,
            frequency_penalty: 0.0,
            repetition_penalty: 1.0,
            bias: Bias::none(),
            logprobs: None,
        }
    }
}

impl Bias {
    /// Of no id.
    #[must_use]
    pub fn none() -> Self {
        Self {
            ids: CipherIds::none(),
            values: Vec::new(),
        }
    }

    /// `values[i]` for `ids[i]`; surplus ones of either list are left out.
    #[must_use]
    pub fn new(ids: CipherIds, values: Vec<f64>) -> Self {
        Self { ids, values }
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.pairs().next().is_none()
    }

    /// The ids.
    pub(super) fn ids(&self) -> &CipherIds {
        &self.ids
    }

    /// Cipher ids and what is added to their logits.
    pub fn pairs(&self) -> impl Iterator<Item = (u32, f64)> {
        let ids = self.ids.as_slice().iter().copied();
        ids.zip(self.values.iter().copied())
    }
}
