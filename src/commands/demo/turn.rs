use std::time::{Duration, Instant};

use anyhow::Result;
use equicrypt_cipher::CipherIds;
use equicrypt_gateway::{Host, Options, Sampling};

/// A greedy answer.
pub(super) struct Turn {
    /// The ids as the host sent them.
    pub(super) ids: Vec<u32>,
    /// From the first id to the last.
    decoding: Duration,
}

/// Asks a host for a greedy answer; `on_ids` sees the ids as they come.
pub(super) async fn turn(
    host: &Host,
    prompt: &CipherIds,
    stop_ids: &CipherIds,
    vocab_size: usize,
    max_tokens: usize,
    on_ids: &mut dyn FnMut(&[u32]) -> Result<()>,
) -> Result<Turn> {
    let options = Options {
        vocab_size,
        stop_ids,
        tells_stops: true,
        max_tokens,
        sampling: &Sampling::greedy(),
    };
    let mut answer = host.generate(prompt, &options).await?;
    let mut ids = Vec::new();
    let (mut first, mut last) = (None, Instant::now());
    while let Some(step) = answer.next().await {
        let step = step?;
        if !step.ids.is_empty() {
            last = Instant::now();
            first.get_or_insert(last);
            on_ids(&step.ids)?;
            ids.extend(step.ids);
        }
    }
    Ok(Turn {
        ids,
        decoding: last - first.unwrap_or(last),
    })
}

/// Tokens per second of decoding, over all turns: the first token of each belongs to the prompt's time.
pub(super) fn rate(turns: &[Turn]) -> f64 {
    let tokens: usize = turns
        .iter()
        .map(|turn| turn.ids.len().saturating_sub(1))
        .sum();
    let seconds: f64 = turns.iter().map(|turn| turn.decoding.as_secs_f64()).sum();
    if seconds > 0.0 {
        tokens as f64 / seconds
    } else {
        0.0
    }
}
