use thiserror::Error;

/// What is wrong with a model's description. Every message says what was expected, what was found and what to do.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum Error {
    /// `model_type` names no table of [`crate::ARCHITECTURES`].
    #[error("config.json: architecture {found:?} is not supported; supported: {supported}")]
    Architecture {
        /// `model_type` as found.
        found: String,
        /// The supported ones, comma-separated.
        supported: String,
    },
    /// A field of `config.json` is absent, of the wrong type, or says something the table cannot express.
    #[error("config.json: field {field:?}: expected {expected}, found {found}")]
    Config {
        /// The field's name.
        field: String,
        /// What would have been right.
        expected: String,
        /// What stands there.
        found: String,
    },
    /// The checkpoint is quantised.
    #[error(
        "config.json: quantization_config says that the model is quantised ({method}); encrypt its bf16, f16 or f32 original, and quantise the \
         encrypted model afterwards"
    )]
    Quantised {
        /// `quant_method`: fp8, gptq, awq, ...
        method: String,
    },
    /// A tensor that the table demands is not in the checkpoint.
    #[error(
        "tensor {name:?} is missing: a {model_type} model of this configuration must have it, with shape {shape:?}"
    )]
    MissingTensor {
        /// The tensor.
        name: String,
        /// The architecture.
        model_type: &'static str,
        /// The shape it should have.
        shape: Vec<usize>,
    },
    /// The checkpoint has a tensor that no row of the table names.
    #[error(
        "tensor {name:?} is unknown: no row of the {model_type} table names it, and a tensor that is not understood \
         cannot be encrypted; re-save the model with transformers' save_pretrained, or check tie_word_embeddings, \
         attention_bias and mlp_bias in config.json"
    )]
    UnknownTensor {
        /// The tensor.
        name: String,
        /// The architecture.
        model_type: &'static str,
    },
    /// A tensor has another shape than the table computes.
    #[error("tensor {name:?}: expected shape {expected:?} from config.json, found {found:?}")]
    Shape {
        /// The tensor.
        name: String,
        /// From the table and the configuration.
        expected: Vec<usize>,
        /// From the header.
        found: Vec<usize>,
    },
    /// `modules.json`, or the configuration of a module that it names.
    #[error(
        "modules.json: expected {expected}, found {found}; other sentence-transformers modules are not supported"
    )]
    Sentence {
        /// What would have been right.
        expected: String,
        /// What stands there.
        found: String,
    },
    /// `equicrypt.json` cannot be read as a manifest.
    #[error("equicrypt.json: {0}")]
    Manifest(String),
}
