//! What classes of transformers add to a tokenizer's files (5.23, `models/*/tokenization_*.py`).

use serde_json::Value;

/// A class by the name that files use, without `Fast`.
pub(super) struct Class {
    /// The inputs of a model.
    pub(super) inputs: &'static [&'static str],
    /// Special tokens that need not be named in a file.
    pub(super) tokens: &'static [(&'static str, &'static str)],
}

/// The class of a tokenizer: the one that `tokenizer_config.json` names, or else `config.json`, or
/// else the one of the model type. None if nothing is known of it, as of the general class.
pub(super) fn class_of(settings: &Value, config: &Value) -> Option<&'static Class> {
    let named = |json: &Value| Some(json.get("tokenizer_class")?.as_str()?.to_owned());
    let of_type = || {
        let model_type = config.get("model_type")?.as_str()?;
        let class = MODEL_TYPES.iter().find(|(name, _)| *name == model_type)?;
        Some(class.1.to_owned())
    };
    let name = named(settings).or_else(|| named(config)).or_else(of_type)?;
    let name = name.strip_suffix("Fast").unwrap_or(&name);
    let class = CLASSES.iter().find(|(known, _)| *known == name)?;
    Some(&class.1)
}

const TEXT: &[&str] = &["input_ids", "attention_mask"];
const PAIRS: &[&str] = &["input_ids", "token_type_ids", "attention_mask"];

const BERT: &[(&str, &str)] = &[
    ("unk_token", "[UNK]"),
    ("sep_token", "[SEP]"),
    ("pad_token", "[PAD]"),
    ("cls_token", "[CLS]"),
    ("mask_token", "[MASK]"),
];
const ROBERTA: &[(&str, &str)] = &[
    ("bos_token", "<s>"),
    ("eos_token", "</s>"),
    ("sep_token", "</s>"),
    ("cls_token", "<s>"),
    ("unk_token", "<unk>"),
    ("pad_token", "<pad>"),
    ("mask_token", "<mask>"),
];
const MPNET: &[(&str, &str)] = &[
    ("bos_token", "<s>"),
    ("eos_token", "</s>"),
    ("sep_token", "</s>"),
    ("cls_token", "<s>"),
    ("unk_token", "[UNK]"),
    ("pad_token", "<pad>"),
    ("mask_token", "<mask>"),
];
const LLAMA: &[(&str, &str)] = &[
    ("unk_token", "<unk>"),
    ("bos_token", "<s>"),
    ("eos_token", "</s>"),
];
const GPT2: &[(&str, &str)] = &[
    ("unk_token", "<|endoftext|>"),
    ("bos_token", "<|endoftext|>"),
    ("eos_token", "<|endoftext|>"),
];
const GPT_NEOX: &[(&str, &str)] = &[
    ("unk_token", "<|endoftext|>"),
    ("bos_token", "<|endoftext|>"),
    ("eos_token", "<|endoftext|>"),
    ("pad_token", "<|padding|>"),
];
const QWEN2: &[(&str, &str)] = &[
    ("unk_token", "<|endoftext|>"),
    ("eos_token", "<|endoftext|>"),
    ("pad_token", "<|endoftext|>"),
];
const GEMMA: &[(&str, &str)] = &[
    ("unk_token", "<unk>"),
    ("bos_token", "<bos>"),
    ("eos_token", "<eos>"),
    ("pad_token", "<pad>"),
    ("mask_token", "<mask>"),
];

const CLASSES: &[(&str, Class)] = &[
    ("BertTokenizer", class(PAIRS, BERT)),
    ("DistilBertTokenizer", class(TEXT, BERT)),
    ("RobertaTokenizer", class(TEXT, ROBERTA)),
    ("XLMRobertaTokenizer", class(TEXT, ROBERTA)),
    ("MPNetTokenizer", class(TEXT, MPNET)),
    ("LlamaTokenizer", class(TEXT, LLAMA)),
    ("GPT2Tokenizer", class(TEXT, GPT2)),
    ("GPTNeoXTokenizer", class(TEXT, GPT_NEOX)),
    ("Qwen2Tokenizer", class(TEXT, QWEN2)),
    ("GemmaTokenizer", class(TEXT, GEMMA)),
];

const fn class(
    inputs: &'static [&'static str],
    tokens: &'static [(&'static str, &'static str)],
) -> Class {
    Class { inputs, tokens }
}

/// Where no file names a class (`models/auto/tokenization_auto.py`).
const MODEL_TYPES: &[(&str, &str)] = &[
    ("bert", "BertTokenizer"),
    ("distilbert", "BertTokenizer"),
    ("roberta", "RobertaTokenizer"),
    ("xlm-roberta", "XLMRobertaTokenizer"),
    ("mpnet", "MPNetTokenizer"),
    ("gemma", "GemmaTokenizer"),
    ("gemma2", "GemmaTokenizer"),
    ("gemma3", "GemmaTokenizer"),
    ("gemma3_text", "GemmaTokenizer"),
    ("gpt2", "GPT2Tokenizer"),
    ("gpt_neox", "GPTNeoXTokenizer"),
    ("qwen2", "Qwen2Tokenizer"),
    ("qwen2_moe", "Qwen2Tokenizer"),
    ("qwen3", "Qwen2Tokenizer"),
    ("qwen3_moe", "Qwen2Tokenizer"),
];
