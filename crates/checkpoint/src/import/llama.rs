use serde_json::{Value, json};

use super::metadata::Metadata;
use super::tokenizer::Tokenizer;
use crate::{Dtype, Error};

/// What the metadata of a llama GGUF says about the model's shape.
#[derive(Debug)]
pub(super) struct LlamaParams {
    pub(super) layers: usize,
    pub(super) hidden: usize,
    pub(super) ffn: usize,
    pub(super) heads: usize,
    pub(super) kv_heads: usize,
    pub(super) head_dim: usize,
    pub(super) context: usize,
    pub(super) vocab: usize,
    pub(super) tied: bool,
    pub(super) attention_bias: bool,
    pub(super) mlp_bias: bool,
    norm_eps: f64,
    rope_theta: f64,
    linear_scaling: Option<f64>,
}

impl LlamaParams {
    /// Refuses every `llama.` key that is not known here: a key that is not understood may change
    /// what the model computes.
    pub(super) fn read(metadata: &Metadata<'_>) -> Result<LlamaParams, Error> {
        let architecture = metadata.text("general.architecture")?;
        if architecture != "llama" {
            return Err(metadata.unsupported(
                format!("its architecture is {architecture:?}, and only \"llama\" is imported"),
                USE_FOLDER,
            ));
        }
        for key in metadata.keys() {
            if let Some(field) = key.strip_prefix("llama.")
                && !KNOWN_FIELDS.contains(&field)
            {
                return Err(
                    metadata.unsupported(format!("metadata {key:?} is not understood"), USE_FOLDER)
                );
            }
        }
        if metadata.optional_size("llama.expert_count")?.unwrap_or(0) != 0 {
            return Err(metadata.unsupported("it is a mixture of experts".to_owned(), USE_FOLDER));
        }

        let tensors = &metadata.header().tensors;
        let has = |name: &str| tensors.iter().any(|tensor| tensor.name == name);
        if has("rope_freqs.weight") {
            return Err(metadata.unsupported(
                "rope_freqs.weight scales its rotary frequencies one by one (llama3), and the \
                 parameters that config.json states are not in the file"
                    .to_owned(),
                USE_FOLDER,
            ));
        }
        let embedding = tensors
            .iter()
            .find(|tensor| tensor.name == "token_embd.weight")
            .ok_or_else(|| metadata.broken("tensor \"token_embd.weight\" is missing".to_owned()))?;
        let vocab = embedding.shape.first().copied().unwrap_or(0);

        let layers = metadata.size("llama.block_count")?;
        if layers == 0 || layers > tensors.len() {
            return Err(metadata.broken(format!(
                "llama.block_count is {layers}, but there are {} tensors",
                tensors.len()
            )));
        }
        let hidden = metadata.size("llama.embedding_length")?;
        let heads = metadata.size("llama.attention.head_count")?;
        let kv_heads = metadata
            .optional_size("llama.attention.head_count_kv")?
            .unwrap_or(heads);
        if heads == 0 || kv_heads == 0 || heads % kv_heads != 0 {
            return Err(metadata.broken(format!(
                "{heads} query heads cannot share {kv_heads} key-value heads"
            )));
        }
        let head_dim = match metadata.optional_size("llama.attention.key_length")? {
            Some(head_dim) => head_dim,
            None if hidden.is_multiple_of(heads) => hidden / heads,
            None => {
                return Err(metadata.broken(format!(
                    "llama.embedding_length {hidden} is not a multiple of {heads} heads"
                )));
            }
        };
        if head_dim == 0 || !head_dim.is_multiple_of(2) {
            return Err(metadata.broken(format!("heads of {head_dim} values have no rotary pairs")));
        }
        for key in ["llama.attention.value_length", "llama.rope.dimension_count"] {
            let value = metadata.optional_size(key)?.unwrap_or(head_dim);
            if value != head_dim {
                return Err(metadata.unsupported(
                    format!("{key} is {value}, but heads have {head_dim} values"),
                    USE_FOLDER,
                ));
            }
        }
        Ok(LlamaParams {
            layers,
            hidden,
            ffn: metadata.size("llama.feed_forward_length")?,
            heads,
            kv_heads,
            head_dim,
            context: metadata.size("llama.context_length")?,
            vocab,
            tied: !has("output.weight"),
            attention_bias: has("blk.0.attn_q.bias"),
            mlp_bias: has("blk.0.ffn_gate.bias"),
            norm_eps: metadata.number("llama.attention.layer_norm_rms_epsilon")?,
            rope_theta: metadata
                .optional_number("llama.rope.freq_base")?
                .unwrap_or(10_000.0),
            linear_scaling: linear_scaling(metadata)?,
        })
    }

    /// `config.json` of a `LlamaForCausalLM`.
    pub(super) fn config(&self, tokenizer: &Tokenizer) -> Value {
        let rope_scaling = self
            .linear_scaling
            .map(|factor| json!({"rope_type": "linear", "type": "linear", "factor": factor}));
        json!({
            "architectures": ["LlamaForCausalLM"],
            "model_type": "llama",
            "vocab_size": self.vocab,
            "hidden_size": self.hidden,
            "intermediate_size": self.ffn,
            "num_hidden_layers": self.layers,
            "num_attention_heads": self.heads,
            "num_key_value_heads": self.kv_heads,
            "head_dim": self.head_dim,
            "hidden_act": "silu",
            "max_position_embeddings": self.context,
            "rms_norm_eps": self.norm_eps,
            "rope_theta": self.rope_theta,
            "rope_scaling": rope_scaling,
            "attention_bias": self.attention_bias,
            "attention_dropout": 0.0,
            "mlp_bias": self.mlp_bias,
            "tie_word_embeddings": self.tied,
            "initializer_range": 0.02,
            "use_cache": true,
            "bos_token_id": tokenizer.bos(),
            "eos_token_id": tokenizer.eos(),
            "pad_token_id": tokenizer.pad(),
            "torch_dtype": Dtype::Bf16.torch_name(),
        })
    }
}

/// The factor of linear rotary scaling, under its present or its older key.
fn linear_scaling(metadata: &Metadata<'_>) -> Result<Option<f64>, Error> {
    let older = metadata.optional_number("llama.rope.scale_linear")?;
    let factor = match metadata.optional_text("llama.rope.scaling.type")? {
        Some("none") => None,
        Some("linear") => Some(
            match metadata.optional_number("llama.rope.scaling.factor")? {
                Some(factor) => factor,
                None => older.ok_or_else(|| {
                    metadata.broken("metadata \"llama.rope.scaling.factor\" is missing".to_owned())
                })?,
            },
        ),
        None if metadata.has("llama.rope.scaling.factor") => {
            return Err(
                metadata.broken("llama.rope.scaling.factor is set, but not its type".to_owned())
            );
        }
        None => older,
        Some(other) => {
            return Err(metadata.unsupported(
                format!("llama.rope.scaling.type is {other:?}; only none and linear are imported"),
                USE_FOLDER,
            ));
        }
    };
    Ok(factor.filter(|factor| *factor != 1.0))
}

/// Advice for whatever the import refuses.
pub(super) const USE_FOLDER: &str = "use the model's Hugging Face folder instead";

const KNOWN_FIELDS: [&str; 19] = [
    "block_count",
    "context_length",
    "embedding_length",
    "feed_forward_length",
    "attention.head_count",
    "attention.head_count_kv",
    "attention.key_length",
    "attention.value_length",
    "attention.layer_norm_rms_epsilon",
    "rope.freq_base",
    "rope.dimension_count",
    "rope.scaling.type",
    "rope.scaling.factor",
    "rope.scaling.original_context_length",
    "rope.scaling.finetuned",
    "rope.scale_linear",
    "vocab_size",
    "expert_count",
    "expert_used_count",
];
