use std::path::Path;

use crate::Error;
use crate::gguf::{MetadataArray, MetadataValue};

/// The vocabulary of a GGUF file that tells nothing: token i is the text `t{i} `.
///
/// llama.cpp cannot serve a model without one, and streams only ids whose text is complete UTF-8;
/// it also looks for well-known texts such as `<|im_end|>`. Unique short ASCII is safe from all of
/// that, and makes `"stop": ["t17 "]` a stop by id.
///
/// # The end of an answer
/// llama-server ends an answer at an end-of-sequence id, and each kind of tokenizer has a default
/// for it: 2 for SentencePiece ("llama"), which would be a random word here. An id outside of the
/// vocabulary in the metadata is taken for a mistake, and the default is used again
/// (`llama_vocab::impl::load` in `src/llama-vocab.cpp`). So
/// - with an id, the tokenizer is "llama", the kind that every version and fork reads, and the id
///   is stated: the host learns one id, and answers end by themselves;
/// - without one, the tokenizer is "bert", the kind whose default is to have none: no id ends an
///   answer, and the reader closes the stream. Its other defaults (101 and the like) only matter
///   for text, which is never sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OpaqueVocabulary {
    /// The id at which llama-server ends an answer.
    pub eos: Option<u32>,
}

impl OpaqueVocabulary {
    /// Whether these are the texts of an opaque vocabulary.
    pub(crate) fn is_of(tokens: &[String]) -> bool {
        let mut texts = tokens.iter().enumerate();
        texts.all(|(id, text)| *text == piece(id))
    }

    pub(super) fn metadata(
        self,
        model: &Path,
        vocab: usize,
    ) -> Result<Vec<(String, MetadataValue)>, Error> {
        let text = |value: &str| MetadataValue::String(value.to_owned());
        let tokens = (0..vocab).map(piece).collect();
        let mut keys = vec![
            (
                "model",
                text(if self.eos.is_some() { "llama" } else { "bert" }),
            ),
            ("pre", text("default")),
            (
                "tokens",
                MetadataValue::Array(MetadataArray::String(tokens)),
            ),
            (
                "scores",
                MetadataValue::Array(MetadataArray::F32(vec![0.0; vocab])),
            ),
            (
                "token_type",
                MetadataValue::Array(MetadataArray::I32(vec![NORMAL; vocab])),
            ),
            ("add_bos_token", MetadataValue::Bool(false)),
            ("add_eos_token", MetadataValue::Bool(false)),
            ("add_space_prefix", MetadataValue::Bool(false)),
        ];
        if let Some(eos) = self.eos {
            if eos as usize >= vocab {
                return Err(Error::UnsupportedExport {
                    place: model.to_path_buf(),
                    what: format!("the end-of-sequence id {eos} is not one of its {vocab} ids"),
                    advice: "give an id of the model, or none",
                });
            }
            keys.push(("eos_token_id", MetadataValue::Unsigned(eos.into())));
        }
        let named = |(key, value)| (format!("tokenizer.ggml.{key}"), value);
        Ok(keys.into_iter().map(named).collect())
    }
}

fn piece(id: usize) -> String {
    format!("t{id} ")
}

/// LLAMA_TOKEN_TYPE_NORMAL: an id whose text is shown.
const NORMAL: i32 = 1;
