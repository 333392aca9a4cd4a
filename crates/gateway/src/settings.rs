use std::path::Path;

use equicrypt_checkpoint::read_json;
use serde_json::Value;

use crate::{Bias, Error, Sampling, Session};

/// How the next id is drawn, with plain ids: the owner's side of [`Sampling`].
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    pub(crate) temperature: f64,
    pub(crate) top_p: f64,
    pub(crate) top_k: usize,
    pub(crate) min_p: f64,
    pub(crate) seed: Option<u64>,
    pub(crate) presence_penalty: f64,
    pub(crate) frequency_penalty: f64,
    pub(crate) repetition_penalty: f64,
    /// Plain ids and what is added to their logits.
    pub(crate) bias: Vec<(u32, f64)>,
    /// Log-probabilities of the chosen id and of this many likeliest ones.
    pub(crate) logprobs: Option<usize>,
}

impl Default for Settings {
    /// OpenAI's: all ids as they are.
    fn default() -> Self {
        Self {
            temperature: 1.0,
            top_p: 1.0,
            top_k: 0,
            min_p: 0.0,
            seed: None,
            presence_penalty: 0.0,
            frequency_penalty: 0.0,
            repetition_penalty: 1.0,
            bias: Vec::new(),
            logprobs: None,
        }
    }
}

impl Settings {
    /// What the model's makers recommend: `generation_config.json`, where it says something, as vLLM
    /// takes it. A folder without it has OpenAI's defaults.
    pub(crate) fn of_folder(dir: &Path) -> Result<Self, Error> {
        let path = dir.join("generation_config.json");
        let mut settings = Self::default();
        if !path.exists() {
            return Ok(settings);
        }
        let config = read_json(&path)?;
        let number = |name: &str| config.get(name).and_then(Value::as_f64);
        settings.temperature = number("temperature").unwrap_or(settings.temperature);
        settings.top_p = number("top_p").unwrap_or(settings.top_p);
        settings.min_p = number("min_p").unwrap_or(settings.min_p);
        settings.repetition_penalty =
            number("repetition_penalty").unwrap_or(settings.repetition_penalty);
        let top_k = config.get("top_k").and_then(Value::as_u64);
        settings.top_k = top_k.and_then(|k| usize::try_from(k).ok()).unwrap_or(0);
        Ok(settings)
    }

    /// What a host is told, for one of several answers to the same prompt: each draws by a seed of
    /// its own.
    pub(crate) fn encrypt(&self, session: &Session, answer: usize) -> Result<Sampling, Error> {
        let sampling = Sampling {
            temperature: self.temperature,
            top_p: self.top_p,
            top_k: self.top_k,
            min_p: self.min_p,
            seed: self.seed.map(|seed| seed.wrapping_add(answer as u64)),
            presence_penalty: self.presence_penalty,
            frequency_penalty: self.frequency_penalty,
            repetition_penalty: self.repetition_penalty,
            bias: Bias::none(),
            logprobs: self.logprobs,
        };
        session.sampling(&self.bias, sampling)
    }
}
