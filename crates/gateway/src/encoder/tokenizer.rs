use std::path::{Path, PathBuf};

use serde_json::Value;
use tokenizers::normalizers::{BertNormalizer, Lowercase, NormalizerWrapper, Sequence};
use tokenizers::utils::truncation::{TruncationDirection, truncate_encodings};
use tokenizers::{
    Encoding, PostProcessor, PostProcessorWrapper, Tokenizer, TruncationParams, TruncationStrategy,
};

use super::owner::Long;
use crate::Error;

/// `tokenizer.json` as transformers uses it for encoders: with special tokens, cut to a length.
pub(super) struct Tokens {
    /// Without truncation, padding and special tokens: those come after it.
    tokenizer: Tokenizer,
    special: Option<PostProcessorWrapper>,
    direction: TruncationDirection,
    limit: usize,
    mask: Option<(String, u32)>,
    vocab_size: usize,
}

impl Tokens {
    /// Reads the folder's tokenizer; `settings` is `tokenizer_config.json`. Where the two
    /// contradict each other, what transformers does is done, or it is an error.
    pub(super) fn open(
        dir: &Path,
        settings: &Value,
        limit: usize,
        lowercases: bool,
    ) -> Result<Self, Error> {
        let path = dir.join("tokenizer.json");
        let bytes = std::fs::read(&path).map_err(|source| Error::File {
            path: path.clone(),
            source,
        })?;
        let mut tokenizer =
            Tokenizer::from_bytes(bytes).map_err(|error| unusable(&path, error.to_string()))?;
        let own = tokenizer.get_truncation().map(|own| own.direction);
        let direction = match settings.get("truncation_side").and_then(Value::as_str) {
            None => own.unwrap_or_default(),
            Some("left") => TruncationDirection::Left,
            Some("right") => TruncationDirection::Right,
            Some(_) => return Err(unusable(&path, "truncation_side is not a side".into())),
        };
        tokenizer
            .with_padding(None)
            .with_truncation(None)
            .map_err(|error| unusable(&path, error.to_string()))?;
        let is_bert = follow_bert_settings(&mut tokenizer, settings, &path)?;
        if lowercases {
            lowercase(&mut tokenizer, &path)?;
        }
        let special = tokenizer.get_post_processor().cloned();
        tokenizer.with_post_processor(None::<PostProcessorWrapper>);
        let added = |is_pair| {
            special
                .as_ref()
                .map_or(0, |special| special.added_tokens(is_pair))
        };
        if is_bert && added(false) == 0 {
            let reason = "its post_processor adds no special tokens, and the model was trained \
                          with them";
            return Err(unusable(&path, reason.into()));
        }
        if limit <= added(true) {
            let reason = format!("texts of {limit} tokens have no room for its special tokens");
            return Err(unusable(&path, reason));
        }
        let largest = tokenizer.get_vocab(true).into_values().max();
        let largest = largest.ok_or_else(|| unusable(&path, "it has no tokens".into()))?;
        Ok(Self {
            mask: mask_of(dir, settings)?.and_then(|mask| {
                let id = tokenizer.token_to_id(&mask)?;
                Some((mask, id))
            }),
            tokenizer,
            special,
            direction,
            limit,
            vocab_size: largest as usize + 1,
        })
    }

    /// A text or a pair, special tokens included, and whether it was cut.
    pub(super) fn encode(
        &self,
        first: &str,
        second: Option<&str>,
        long: Long,
    ) -> Result<(Encoding, bool), Error> {
        let bytes = first.len() + second.map_or(0, str::len);
        let failed = |_| Error::Text {
            action: format!("encode a text of {bytes} bytes"),
        };
        let alone = |text| self.tokenizer.encode_char_offsets(text, false);
        let first = alone(first).map_err(failed)?;
        let mut second = second.map(alone).transpose().map_err(failed)?;
        if let Some(second) = &mut second {
            second.set_type_ids(vec![1; second.len()]);
        }
        let special = self.special.as_ref();
        let added = special.map_or(0, |special| special.added_tokens(second.is_some()));
        let tokens = first.len() + second.as_ref().map_or(0, Encoding::len) + added;
        let is_long = tokens > self.limit;
        if is_long && long == Long::Refuse {
            return Err(Error::TextTooLong {
                tokens,
                limit: self.limit,
            });
        }
        let cut = TruncationParams {
            direction: self.direction,
            max_length: self.limit - added,
            strategy: TruncationStrategy::LongestFirst,
            stride: 0,
        };
        let (mut first, mut second) = truncate_encodings(first, second, &cut).map_err(failed)?;
        // What was cut off is not needed, and of a pair each piece would be joined with each.
        first.take_overflowing();
        if let Some(second) = &mut second {
            second.take_overflowing();
        }
        let joined = match special {
            Some(special) => special.process(first, second, true),
            None => self.tokenizer.post_process(first, second, true),
        };
        Ok((joined.map_err(failed)?, is_long))
    }

    pub(super) fn decode(&self, ids: &[u32]) -> Result<String, Error> {
        crate::text::decode(&self.tokenizer, ids, true)
    }

    pub(super) fn piece(&self, id: u32) -> Option<String> {
        self.tokenizer.id_to_token(id)
    }

    pub(super) fn mask(&self) -> Option<(&str, u32)> {
        self.mask.as_ref().map(|(text, id)| (text.as_str(), *id))
    }

    pub(super) fn limit(&self) -> usize {
        self.limit
    }

    pub(super) fn vocab_size(&self) -> usize {
        self.vocab_size
    }
}

/// Whether transformers makes the normalizer from `tokenizer_config.json`, whatever
/// `tokenizer.json` says (transformers 5.23, `BertTokenizer`, `DistilBertTokenizer`,
/// `MPNetTokenizer`).
fn is_of_bert_class(settings: &Value) -> bool {
    let class = settings.get("tokenizer_class").and_then(Value::as_str);
    let class = class.map(|class| class.trim_end_matches("Fast"));
    class.is_some_and(|class| BERT_CLASSES.contains(&class))
}

/// Gives such a class's tokenizer that normalizer; false of any other class.
pub(crate) fn follow_bert_settings(
    tokenizer: &mut Tokenizer,
    settings: &Value,
    path: &Path,
) -> Result<bool, Error> {
    if !is_of_bert_class(settings) {
        return Ok(false);
    }
    if !matches!(
        tokenizer.get_normalizer(),
        Some(NormalizerWrapper::BertNormalizer(_))
    ) {
        let reason = "tokenizer_config.json names a class of BERT's, and the normalizer is not \
                      BERT's";
        return Err(unusable(path, reason.into()));
    }
    let flag = |name| settings.get(name).and_then(Value::as_bool);
    let normalizer = BertNormalizer::new(
        true,
        flag("tokenize_chinese_chars").unwrap_or(true),
        flag("strip_accents"),
        flag("do_lower_case").unwrap_or(true),
    );
    tokenizer
        .with_normalizer(Some(normalizer))
        .map_err(|error| unusable(path, error.to_string()))?;
    Ok(true)
}

/// sentence-transformers' `do_lower_case`: in front of the tokenizer's own normalizer, unless that
/// has the same step.
fn lowercase(tokenizer: &mut Tokenizer, path: &Path) -> Result<(), Error> {
    let is_step = |step: &NormalizerWrapper| matches!(step, NormalizerWrapper::Lowercase(_));
    let mut steps = match tokenizer.get_normalizer() {
        None => Vec::new(),
        Some(NormalizerWrapper::Sequence(sequence)) => sequence.as_ref().to_vec(),
        Some(other) => vec![other.clone()],
    };
    if steps.iter().any(is_step) {
        return Ok(());
    }
    steps.insert(0, Lowercase.into());
    tokenizer
        .with_normalizer(Some(Sequence::new(steps)))
        .map_err(|error| unusable(path, error.to_string()))?;
    Ok(())
}

/// `mask_token` of `tokenizer_config.json` or `special_tokens_map.json`: a text, or an object.
fn mask_of(dir: &Path, settings: &Value) -> Result<Option<String>, Error> {
    let of = |file: &Value| {
        let mask = file.get("mask_token")?;
        let text = mask.as_str().or_else(|| mask.get("content")?.as_str())?;
        Some(text.to_owned())
    };
    let map: PathBuf = dir.join("special_tokens_map.json");
    match of(settings) {
        None if map.exists() => Ok(of(&equicrypt_checkpoint::read_json(&map)?)),
        mask => Ok(mask),
    }
}

fn unusable(path: &Path, reason: String) -> Error {
    Error::Tokenizer {
        path: path.to_owned(),
        reason,
    }
}

const BERT_CLASSES: [&str; 3] = ["BertTokenizer", "DistilBertTokenizer", "MPNetTokenizer"];
