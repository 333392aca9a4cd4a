use std::collections::HashMap;

use serde_json::{Map, Value, json};

use super::metadata::{Metadata, USE_FOLDER};
use super::pretokenizer::PreTokenizer;
use super::sentencepiece::SentencePiece;
use crate::Error;

/// A BPE tokenizer, as GGUF metadata states it: over bytes, or over SentencePiece's pieces.
#[derive(Debug)]
pub(super) struct Tokenizer {
    tokens: Vec<String>,
    kinds: Vec<TokenKind>,
    scheme: Scheme,
    add_bos: bool,
    add_eos: bool,
    bos: Option<usize>,
    eos: Option<usize>,
    eot: Option<usize>,
    pad: Option<usize>,
    unk: Option<usize>,
    chat_template: Option<String>,
}

/// How text is cut and joined.
#[derive(Debug)]
enum Scheme {
    Bytes {
        merges: Vec<String>,
        pre: PreTokenizer,
    },
    Pieces(SentencePiece),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TokenKind {
    /// Reached by merges.
    Plain,
    /// Found in the text before merging, and shown in decoded text.
    UserDefined,
    /// Found in the text before merging, and left out of decoded text.
    Control,
}

impl Tokenizer {
    pub(super) fn read(metadata: &Metadata<'_>) -> Result<Tokenizer, Error> {
        let model = metadata.text("tokenizer.ggml.model")?;
        let tokens = metadata.texts("tokenizer.ggml.tokens")?.to_vec();
        let kinds = kinds(metadata, tokens.len())?;
        let scheme = match model {
            "gpt2" => {
                let pre = metadata.optional_text("tokenizer.ggml.pre")?;
                let pre = pre.unwrap_or("default");
                let pre = PreTokenizer::from_name(pre).ok_or_else(|| {
                    metadata.unsupported(
                        format!("the text splitting rule tokenizer.ggml.pre {pre:?} is not known"),
                        USE_FOLDER,
                    )
                })?;
                let merges = metadata.texts("tokenizer.ggml.merges")?.to_vec();
                Scheme::Bytes { merges, pre }
            }
            "llama" => Scheme::Pieces(SentencePiece::read(metadata, &tokens, &kinds)?),
            other => {
                return Err(metadata.unsupported(
                    format!(
                        "tokenizer.ggml.model is {other:?}, and only \"gpt2\" and \"llama\" are \
                         imported"
                    ),
                    USE_FOLDER,
                ));
            }
        };
        check_vocabulary(metadata, &tokens, scheme.merges())?;
        // What llama.cpp takes for granted of SentencePiece.
        let default = |name: &str| match (&scheme, name) {
            (Scheme::Pieces(_), "unknown") => Some(0),
            (Scheme::Pieces(_), "bos") => Some(1),
            (Scheme::Pieces(_), "eos") => Some(2),
            _ => None,
        };

        let id = |name: &str| -> Result<Option<usize>, Error> {
            let key = format!("tokenizer.ggml.{name}_token_id");
            match metadata.optional_size(&key)? {
                Some(id) if id >= tokens.len() => Err(metadata.broken(format!(
                    "{key} is {id}, but there are {} tokens",
                    tokens.len()
                ))),
                id => Ok(id.or(default(name).filter(|id| *id < tokens.len()))),
            }
        };
        let (bos, eos, eot) = (id("bos")?, id("eos")?, id("eot")?);
        let (pad, unk) = (id("padding")?, id("unknown")?);
        let flag = |name: &str, default: bool, token: Option<usize>| -> Result<bool, Error> {
            let key = format!("tokenizer.ggml.add_{name}_token");
            let add = metadata.optional_bool(&key)?.unwrap_or(default);
            if add && token.is_none() {
                return Err(metadata.broken(format!(
                    "{name} tokens are to be added, but tokenizer.ggml.{name}_token_id is missing"
                )));
            }
            Ok(add)
        };
        Ok(Tokenizer {
            add_bos: flag("bos", scheme.adds_bos(), bos)?,
            add_eos: flag("eos", false, eos)?,
            chat_template: metadata
                .optional_text("tokenizer.chat_template")?
                .map(str::to_owned),
            tokens,
            kinds,
            scheme,
            bos,
            eos,
            eot,
            pad,
            unk,
        })
    }

    pub(super) fn bos(&self) -> Option<usize> {
        self.bos
    }

    pub(super) fn eos(&self) -> Option<usize> {
        self.eos
    }

    pub(super) fn pad(&self) -> Option<usize> {
        self.pad
    }

    /// `tokenizer.json`, the format of the `tokenizers` library.
    ///
    /// Every token is in the vocabulary, the added ones too: an added token takes the id that its
    /// text has there.
    pub(super) fn json(&self) -> Value {
        let added: Vec<Value> = self
            .added()
            .map(|(id, kind)| {
                let mut token = self.added_token(id, kind);
                token.insert("id".to_owned(), json!(id));
                Value::Object(token)
            })
            .collect();
        let vocab: Map<String, Value> = self
            .tokens
            .iter()
            .enumerate()
            .map(|(id, token)| (token.clone(), json!(id)))
            .collect();
        let pieces = matches!(self.scheme, Scheme::Pieces(_));
        json!({
            "version": "1.0",
            "truncation": null,
            "padding": null,
            "added_tokens": added,
            "normalizer": self.scheme.normalizer(),
            "pre_tokenizer": self.scheme.pre_tokenizer(),
            "post_processor": self.post_processor(),
            "decoder": self.scheme.decoder(),
            "model": {
                "type": "BPE",
                "dropout": null,
                "unk_token": if pieces { self.text(self.unk) } else { None },
                "continuing_subword_prefix": null,
                "end_of_word_suffix": null,
                "fuse_unk": pieces,
                "byte_fallback": pieces,
                "ignore_merges": self.scheme.ignores_merges(),
                "vocab": vocab,
                "merges": self.scheme.merges(),
            },
        })
    }

    /// `tokenizer_config.json`.
    pub(super) fn config(&self, context: usize) -> Value {
        let decoder: Map<String, Value> = self
            .added()
            .map(|(id, kind)| (id.to_string(), Value::Object(self.added_token(id, kind))))
            .collect();
        let mut config = json!({
            "add_prefix_space": false,
            "added_tokens_decoder": decoder,
            "bos_token": self.text(self.bos),
            "clean_up_tokenization_spaces": false,
            "eos_token": self.text(self.eos),
            "model_max_length": context,
            "pad_token": self.text(self.pad),
            "tokenizer_class": "PreTrainedTokenizerFast",
            "unk_token": self.text(self.unk),
        });
        if let (Some(template), Some(config)) = (&self.chat_template, config.as_object_mut()) {
            config.insert("chat_template".to_owned(), json!(template));
        }
        config
    }

    /// `special_tokens_map.json`.
    pub(super) fn special_tokens(&self) -> Value {
        let named = [
            ("bos_token", self.bos),
            ("eos_token", self.eos),
            ("pad_token", self.pad),
            ("unk_token", self.unk),
        ];
        let present = named
            .into_iter()
            .filter_map(|(name, id)| Some((name, self.text(id)?)));
        Value::Object(
            present
                .map(|(name, text)| (name.to_owned(), json!(text)))
                .collect(),
        )
    }

    /// `generation_config.json`: the end of a turn ends an answer too.
    pub(super) fn generation_config(&self) -> Value {
        let eos = match (self.eos, self.eot) {
            (Some(eos), Some(eot)) if eos != eot => json!([eos, eot]),
            (eos, eot) => json!(eos.or(eot)),
        };
        json!({
            "_from_model_config": true,
            "bos_token_id": self.bos,
            "eos_token_id": eos,
            "pad_token_id": self.pad,
        })
    }

    fn added(&self) -> impl Iterator<Item = (usize, TokenKind)> {
        let kinds = self.kinds.iter().copied().enumerate();
        kinds.filter(|(_, kind)| *kind != TokenKind::Plain)
    }

    fn added_token(&self, id: usize, kind: TokenKind) -> Map<String, Value> {
        // A token that SentencePiece's space is part of is found in texts that have it.
        let text = self.text(Some(id)).unwrap_or_default();
        let normalized = matches!(self.scheme, Scheme::Pieces(_)) && text.contains('\u{2581}');
        let fields = [
            ("content", json!(text)),
            ("single_word", json!(false)),
            ("lstrip", json!(false)),
            ("rstrip", json!(false)),
            ("normalized", json!(normalized)),
            ("special", json!(kind == TokenKind::Control)),
        ];
        fields
            .into_iter()
            .map(|(key, value)| (key.to_owned(), value))
            .collect()
    }

    fn text(&self, id: Option<usize>) -> Option<&str> {
        self.tokens.get(id?).map(String::as_str)
    }

    fn post_processor(&self) -> Value {
        if !self.add_bos && !self.add_eos {
            return Value::Null;
        }
        let mut special = Map::new();
        let mut piece = |wanted: bool, id: Option<usize>, kind: usize| {
            let (true, Some(id)) = (wanted, id) else {
                return None;
            };
            let text = self.text(Some(id))?;
            special.insert(
                text.to_owned(),
                json!({"id": text, "ids": [id], "tokens": [text]}),
            );
            Some(json!({"SpecialToken": {"id": text, "type_id": kind}}))
        };
        let mut sequence = |name: &str, kind: usize| -> Vec<Value> {
            let start = piece(self.add_bos, self.bos, kind);
            let end = piece(self.add_eos, self.eos, kind);
            let text = json!({"Sequence": {"id": name, "type_id": kind}});
            start.into_iter().chain([text]).chain(end).collect()
        };
        let single = sequence("A", 0);
        let pair = [single.clone(), sequence("B", 1)].concat();
        json!({
            "type": "TemplateProcessing",
            "single": single,
            "pair": pair,
            "special_tokens": special,
        })
    }
}

impl Scheme {
    fn merges(&self) -> &[String] {
        match self {
            Scheme::Bytes { merges, .. } => merges,
            Scheme::Pieces(pieces) => pieces.merges(),
        }
    }

    /// Whether a text begins with the BOS token unless the file says otherwise.
    fn adds_bos(&self) -> bool {
        match self {
            Scheme::Bytes { pre, .. } => pre.adds_bos(),
            Scheme::Pieces(_) => true,
        }
    }

    fn ignores_merges(&self) -> bool {
        match self {
            Scheme::Bytes { pre, .. } => pre.ignores_merges(),
            Scheme::Pieces(_) => false,
        }
    }

    fn normalizer(&self) -> Value {
        match self {
            Scheme::Bytes { pre, .. } => pre.normalizer(),
            Scheme::Pieces(pieces) => pieces.normalizer(),
        }
    }

    fn pre_tokenizer(&self) -> Value {
        match self {
            Scheme::Bytes { pre, .. } => pre.json(),
            Scheme::Pieces(_) => Value::Null,
        }
    }

    fn decoder(&self) -> Value {
        match self {
            Scheme::Bytes { .. } => json!({
                "type": "ByteLevel",
                "add_prefix_space": true,
                "trim_offsets": true,
                "use_regex": true,
            }),
            Scheme::Pieces(pieces) => pieces.decoder(),
        }
    }
}

/// What each token is; the numbers are those of ggml's token types.
fn kinds(metadata: &Metadata<'_>, count: usize) -> Result<Vec<TokenKind>, Error> {
    let key = "tokenizer.ggml.token_type";
    let numbers = metadata.integers(key)?;
    if numbers.len() != count {
        return Err(metadata.broken(format!(
            "{key} has {} entries for {count} tokens",
            numbers.len()
        )));
    }
    let kind = |number: &i32| match number {
        // Normal, unused, byte.
        1 | 5 | 6 => Ok(TokenKind::Plain),
        // Unknown, control.
        2 | 3 => Ok(TokenKind::Control),
        4 => Ok(TokenKind::UserDefined),
        other => Err(metadata.broken(format!("{key} has the unknown value {other}"))),
    };
    numbers.iter().map(kind).collect()
}

/// Tokens are distinct, and each merge joins two tokens to a third.
fn check_vocabulary(
    metadata: &Metadata<'_>,
    tokens: &[String],
    merges: &[String],
) -> Result<(), Error> {
    let mut ids = HashMap::with_capacity(tokens.len());
    for (id, token) in tokens.iter().enumerate() {
        if let Some(other) = ids.insert(token.as_str(), id) {
            return Err(metadata.unsupported(
                format!("tokens {other} and {id} are both {token:?}"),
                USE_FOLDER,
            ));
        }
    }
    for (rank, merge) in merges.iter().enumerate() {
        let sound = merge.split_once(' ').is_some_and(|(left, right)| {
            let joined = format!("{left}{right}");
            [left, right, joined.as_str()]
                .into_iter()
                .all(|token| ids.contains_key(token))
        });
        if !sound {
            return Err(metadata.broken(format!(
                "tokenizer.ggml.merges entry {rank}, {merge:?}, does not join two tokens to a third"
            )));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
