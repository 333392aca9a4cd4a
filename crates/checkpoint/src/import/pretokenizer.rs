use serde_json::{Value, json};

/// How text is cut before merging: the rules that `tokenizer.ggml.pre` names.
///
/// The name stands for a rule of the model's own `tokenizer.json`; each is stated here as those
/// files state it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PreTokenizer {
    /// GPT-2's rule. A file without a named rule ("default") is taken to mean it too.
    Gpt2,
    /// Digits one by one, then GPT-2's rule.
    SmolLm,
    /// Unicode's composed form, then GPT-2's rule: OLMo and GPT-NeoX.
    Olmo,
    /// The rule of Llama 3.
    Llama3,
    /// Llama 3's splitting alone: OLMo 2 and Phi-4.
    Dbrx,
    /// The rule of Qwen2.
    Qwen2,
}

impl PreTokenizer {
    pub(super) fn from_name(name: &str) -> Option<PreTokenizer> {
        match name {
            "default" | "gpt-2" | "phi-2" => Some(PreTokenizer::Gpt2),
            "olmo" => Some(PreTokenizer::Olmo),
            "smollm" => Some(PreTokenizer::SmolLm),
            "llama-bpe" | "llama3" | "llama-v3" => Some(PreTokenizer::Llama3),
            "dbrx" | "smaug-bpe" => Some(PreTokenizer::Dbrx),
            "qwen2" => Some(PreTokenizer::Qwen2),
            _ => None,
        }
    }

    /// Whether a text begins with the BOS token unless the file says otherwise.
    pub(super) fn adds_bos(self) -> bool {
        self == PreTokenizer::Llama3
    }

    /// Whether a piece that is a token whole is taken whole, even if no merges lead there.
    pub(super) fn ignores_merges(self) -> bool {
        self == PreTokenizer::Llama3
    }

    pub(super) fn normalizer(self) -> Value {
        match self {
            PreTokenizer::Qwen2 | PreTokenizer::Olmo => json!({"type": "NFC"}),
            _ => Value::Null,
        }
    }

    /// The `pre_tokenizer` of `tokenizer.json`.
    pub(super) fn json(self) -> Value {
        let sequence = |first| {
            let bytes = byte_level(self == PreTokenizer::SmolLm);
            json!({"type": "Sequence", "pretokenizers": [first, bytes]})
        };
        let split = |regex| {
            json!({
                "type": "Split",
                "pattern": {"Regex": regex},
                "behavior": "Isolated",
                "invert": false,
            })
        };
        match self {
            PreTokenizer::Gpt2 | PreTokenizer::Olmo => byte_level(true),
            PreTokenizer::SmolLm => sequence(json!({"type": "Digits", "individual_digits": true})),
            PreTokenizer::Llama3 | PreTokenizer::Dbrx => sequence(split(LLAMA3)),
            PreTokenizer::Qwen2 => sequence(split(QWEN2)),
        }
    }
}

fn byte_level(use_regex: bool) -> Value {
    json!({
        "type": "ByteLevel",
        "add_prefix_space": false,
        "trim_offsets": true,
        "use_regex": use_regex,
    })
}

/// Digits in threes.
const LLAMA3: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
/// The same, digits one by one.
const QWEN2: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
