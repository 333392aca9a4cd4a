use std::cmp::Reverse;
use std::collections::HashMap;

use serde_json::{Value, json};

use super::metadata::{Metadata, USE_FOLDER};
use super::tokenizer::TokenKind;
use crate::Error;

/// The rules of a SentencePiece tokenizer of its BPE kind, whose pieces carry ranks, not merges.
///
/// It joins, again and again, the two neighbours whose join is the piece of the highest score
/// (`llm_tokenizer_spm_session` in llama.cpp's `src/llama-vocab.cpp`, after SentencePiece's own
/// `bpe_model.cc`). The merges that do the same in the `tokenizers` library are every way to cut a
/// piece into two pieces, in the order of the joins' scores; transformers' own conversion makes
/// the same list (`generate_merges` in `src/transformers/tokenization_utils_sentencepiece.py`).
#[derive(Debug)]
pub(super) struct SentencePiece {
    merges: Vec<String>,
    /// Whether a text begins with a space that it does not have.
    space_prefix: bool,
}

impl SentencePiece {
    pub(super) fn read(
        metadata: &Metadata<'_>,
        tokens: &[String],
        kinds: &[TokenKind],
    ) -> Result<SentencePiece, Error> {
        if metadata.text("general.architecture")? == "phi3" {
            return Err(metadata.unsupported(
                "the special tokens of phi3's SentencePiece tokenizer swallow spaces behind them, \
                 and the file does not say which do"
                    .to_owned(),
                USE_FOLDER,
            ));
        }
        let scores = metadata.floats("tokenizer.ggml.scores")?;
        if scores.len() != tokens.len() {
            return Err(metadata.broken(format!(
                "tokenizer.ggml.scores has {} entries for {} tokens",
                scores.len(),
                tokens.len()
            )));
        }
        let flag = |name: &str| metadata.optional_bool(&format!("tokenizer.ggml.{name}"));
        if flag("remove_extra_whitespaces")? == Some(true)
            || metadata.has("tokenizer.ggml.precompiled_charsmap")
        {
            return Err(metadata.unsupported(
                "its SentencePiece tokenizer rewrites texts before it cuts them".to_owned(),
                USE_FOLDER,
            ));
        }
        let pieces: Vec<Piece<'_>> = tokens
            .iter()
            .zip(scores)
            .zip(kinds)
            .enumerate()
            .filter(|(_, ((text, _), kind))| **kind == TokenKind::Plain && !text.contains(' '))
            .map(|(id, ((text, score), _))| Piece {
                id,
                text,
                score: *score,
            })
            .collect();
        check_scores(metadata, &pieces)?;
        Ok(SentencePiece {
            merges: merges(&pieces),
            space_prefix: flag("add_space_prefix")?.unwrap_or(true),
        })
    }

    pub(super) fn merges(&self) -> &[String] {
        &self.merges
    }

    pub(super) fn normalizer(&self) -> Value {
        let replace = json!({"type": "Replace", "pattern": {"String": " "}, "content": SPACE});
        if !self.space_prefix {
            return replace;
        }
        let prepend = json!({"type": "Prepend", "prepend": SPACE});
        json!({"type": "Sequence", "normalizers": [prepend, replace]})
    }

    pub(super) fn decoder(&self) -> Value {
        let mut decoders = vec![
            json!({"type": "Replace", "pattern": {"String": SPACE}, "content": " "}),
            json!({"type": "ByteFallback"}),
            json!({"type": "Fuse"}),
        ];
        if self.space_prefix {
            decoders.push(json!({"type": "Strip", "content": " ", "start": 1, "stop": 0}));
        }
        json!({"type": "Sequence", "decoders": decoders})
    }
}

struct Piece<'a> {
    id: usize,
    text: &'a str,
    score: f32,
}

/// Scores of the BPE kind are ranks: whole numbers, each piece its own. Those of the unigram kind
/// are logarithms, and some converters write one constant; neither says how to join.
fn check_scores(metadata: &Metadata<'_>, pieces: &[Piece<'_>]) -> Result<(), Error> {
    let unsupported = |what: &str| {
        metadata.unsupported(
            format!("the scores of its SentencePiece tokenizer are {what}, not ranks"),
            USE_FOLDER,
        )
    };
    let joined = pieces.iter().filter(|piece| {
        let byte = piece.text.starts_with("<0x") && piece.text.len() == 6;
        piece.text.chars().nth(1).is_some() && !byte
    });
    let mut scores: Vec<f32> = joined.map(|piece| piece.score).collect();
    if scores
        .iter()
        .any(|score| !score.is_finite() || score.fract() != 0.0)
    {
        return Err(unsupported("fractions"));
    }
    let count = scores.len();
    scores.sort_unstable_by(f32::total_cmp);
    scores.dedup();
    if scores.len() < count.div_ceil(2) {
        return Err(unsupported("mostly equal"));
    }
    Ok(())
}

/// Every cut of a piece into two, higher scores first; of one piece, longer left parts first.
fn merges(pieces: &[Piece<'_>]) -> Vec<String> {
    let ids: HashMap<&str, usize> = pieces.iter().map(|piece| (piece.text, piece.id)).collect();
    let mut cuts = Vec::new();
    for piece in pieces {
        let first = cuts.len();
        for (at, _) in piece.text.char_indices().skip(1) {
            let (left, right) = piece.text.split_at(at);
            if let (Some(l), Some(r)) = (ids.get(left), ids.get(right)) {
                cuts.push((piece.score, left, right, (*l, *r)));
            }
        }
        if let Some(own) = cuts.get_mut(first..) {
            own.sort_unstable_by_key(|cut| cut.3);
        }
    }
    let length = |text: &str| Reverse(text.chars().count());
    cuts.sort_by(|a, b| {
        b.0.total_cmp(&a.0)
            .then_with(|| length(a.1).cmp(&length(b.1)))
            .then_with(|| length(a.2).cmp(&length(b.2)))
    });
    cuts.iter()
        .map(|(_, left, right, _)| format!("{left} {right}"))
        .collect()
}

/// How SentencePiece writes a space: U+2581.
const SPACE: &str = "\u{2581}";

#[cfg(test)]
mod tests;
