use serde_json::{Map, Value, json};

use crate::{Architecture, Error, Rope, RopeScaling};

/// What `config.json` says of a model, as far as its function depends on it.
#[derive(Debug, Clone)]
pub struct ModelConfig {
    /// The table that describes the model.
    pub architecture: &'static Architecture,
    /// Token ids: rows of the embedding.
    pub vocab_size: usize,
    /// Width of the residual stream.
    pub hidden_size: usize,
    /// Decoder layers.
    pub layers: usize,
    /// Query heads.
    pub heads: usize,
    /// Key/value heads; divides `heads`.
    pub kv_heads: usize,
    /// Coordinates of a head; even.
    pub head_dim: usize,
    /// Neurons of an MLP.
    pub ffn_size: usize,
    /// The epsilon of RMSNorm.
    pub norm_epsilon: f64,
    /// Rotary position embedding.
    pub rope: Rope,
    /// The longest context.
    pub max_positions: usize,
    /// Whether the head is the embedding.
    pub tied_head: bool,
    /// Whether the attention projections have biases.
    pub attention_bias: bool,
    /// Whether the MLP projections have biases.
    pub mlp_bias: bool,
    /// `bos_token_id`.
    pub bos: Option<u32>,
    /// `eos_token_id`: one id, a list, or none.
    pub eos: Vec<u32>,
    /// `pad_token_id`.
    pub pad: Option<u32>,
}

impl ModelConfig {
    /// Reads `config.json`, with the defaults that transformers gives to absent fields. Fails on an unknown architecture,
    /// and on every field whose meaning the tables cannot express.
    pub fn from_json(config: &Value) -> Result<Self, Error> {
        let fields = Fields(config.as_object().ok_or_else(|| Error::Config {
            field: "(whole file)".into(),
            expected: "a JSON object".into(),
            found: kind_of(config).into(),
        })?);
        let model_type = fields
            .text("model_type")?
            .ok_or_else(|| fields.absent("model_type"))?;
        let architecture = Architecture::find(model_type)?;
        if fields.value("quantization_config").is_some() {
            return Err(Error::Quantised);
        }
        if let (Some(found), Some(act)) = (fields.text("hidden_act")?, architecture.activation())
            && found != act.name()
        {
            return Err(fields.wrong("hidden_act", format!("{:?}", act.name())));
        }
        let hidden_size = fields.size("hidden_size")?;
        let heads = fields.size("num_attention_heads")?;
        let kv_heads = fields
            .optional_size("num_key_value_heads")?
            .unwrap_or(heads);
        if !heads.is_multiple_of(kv_heads) {
            let expected = format!("a divisor of num_attention_heads = {heads}");
            return Err(fields.wrong("num_key_value_heads", expected));
        }
        let head_dim = match fields.optional_size("head_dim")? {
            Some(dim) => dim,
            None if hidden_size.is_multiple_of(heads) => hidden_size / heads,
            None => {
                let expected = format!("a divisor of hidden_size = {hidden_size}, or head_dim");
                return Err(fields.wrong("num_attention_heads", expected));
            }
        };
        if head_dim % 2 != 0 {
            return Err(Error::Config {
                field: "head_dim".into(),
                expected: "an even number (RoPE turns pairs)".into(),
                found: head_dim.to_string(),
            });
        }
        Ok(Self {
            architecture,
            vocab_size: fields.size("vocab_size")?,
            hidden_size,
            layers: fields.size("num_hidden_layers")?,
            heads,
            kv_heads,
            head_dim,
            ffn_size: fields.size("intermediate_size")?,
            norm_epsilon: fields.number("rms_norm_eps")?.unwrap_or(1e-6),
            rope: fields.rope()?,
            max_positions: fields
                .optional_size("max_position_embeddings")?
                .unwrap_or(2048),
            tied_head: fields.flag("tie_word_embeddings")?.unwrap_or(false),
            attention_bias: fields.flag("attention_bias")?.unwrap_or(false),
            mlp_bias: fields.flag("mlp_bias")?.unwrap_or(false),
            bos: fields.ids("bos_token_id")?.first().copied(),
            eos: fields.ids("eos_token_id")?,
            pad: fields.ids("pad_token_id")?.first().copied(),
        })
    }

    /// A `config.json` that says exactly this and nothing else: no name, no path, no field that was not understood. The
    /// special ids stand in it explicitly, as null where there is none, because transformers and other engines would
    /// otherwise fill in ids of their own.
    #[must_use]
    pub fn to_json(&self, torch_dtype: &str) -> Value {
        let scaling = match self.rope.scaling {
            RopeScaling::None => Value::Null,
            RopeScaling::Linear { factor } => json!({ "rope_type": "linear", "factor": factor }),
            RopeScaling::Llama3 {
                factor,
                low,
                high,
                original_positions,
            } => json!({
                "rope_type": "llama3",
                "factor": factor,
                "low_freq_factor": low,
                "high_freq_factor": high,
                "original_max_position_embeddings": original_positions as u64,
            }),
        };
        json!({
            "architectures": [self.architecture.class],
            "model_type": self.architecture.model_type,
            "vocab_size": self.vocab_size,
            "hidden_size": self.hidden_size,
            "intermediate_size": self.ffn_size,
            "num_hidden_layers": self.layers,
            "num_attention_heads": self.heads,
            "num_key_value_heads": self.kv_heads,
            "head_dim": self.head_dim,
            "hidden_act": self.architecture.activation().map(|act| act.name()),
            "max_position_embeddings": self.max_positions,
            "rms_norm_eps": self.norm_epsilon,
            "rope_theta": self.rope.theta,
            "rope_scaling": scaling,
            "tie_word_embeddings": self.tied_head,
            "attention_bias": self.attention_bias,
            "mlp_bias": self.mlp_bias,
            "bos_token_id": self.bos,
            "eos_token_id": match self.eos.as_slice() {
                [] => Value::Null,
                [one] => json!(one),
                several => json!(several),
            },
            "pad_token_id": self.pad,
            "torch_dtype": torch_dtype,
        })
    }
}

/// The object of `config.json`, with errors that name the field.
struct Fields<'a>(&'a Map<String, Value>);

impl<'a> Fields<'a> {
    fn value(&self, field: &str) -> Option<&'a Value> {
        self.0.get(field).filter(|value| !value.is_null())
    }

    fn absent(&self, field: &str) -> Error {
        self.wrong(field, "a value".into())
    }

    fn wrong(&self, field: &str, expected: String) -> Error {
        let found = match self.0.get(field) {
            None => "nothing".into(),
            Some(value) => {
                let text = value.to_string();
                if text.len() > 60 {
                    kind_of(value).to_owned()
                } else {
                    text
                }
            }
        };
        Error::Config {
            field: field.to_owned(),
            expected,
            found,
        }
    }

    fn text(&self, field: &str) -> Result<Option<&'a str>, Error> {
        self.typed(field, "a string", Value::as_str)
    }

    fn flag(&self, field: &str) -> Result<Option<bool>, Error> {
        self.typed(field, "true or false", Value::as_bool)
    }

    fn number(&self, field: &str) -> Result<Option<f64>, Error> {
        self.typed(field, "a positive number", |value| {
            value.as_f64().filter(|x| *x > 0.0)
        })
    }

    fn size(&self, field: &str) -> Result<usize, Error> {
        self.optional_size(field)?.ok_or_else(|| self.absent(field))
    }

    fn optional_size(&self, field: &str) -> Result<Option<usize>, Error> {
        let small = |value: &Value| {
            value
                .as_u64()
                .filter(|n| (1..=MAX_SIZE).contains(n))
                .and_then(|n| n.try_into().ok())
        };
        self.typed(field, "a positive integer of at most 2^28", small)
    }

    fn ids(&self, field: &str) -> Result<Vec<u32>, Error> {
        let id = |value: &Value| value.as_u64().and_then(|id| u32::try_from(id).ok());
        let ids = |value: &Value| match value {
            Value::Array(list) => list.iter().map(id).collect(),
            single => id(single).map(|id| vec![id]),
        };
        Ok(self
            .typed(field, "a token id or a list of them", ids)?
            .unwrap_or_default())
    }

    fn typed<T>(
        &self,
        field: &str,
        expected: &str,
        read: impl FnOnce(&'a Value) -> Option<T>,
    ) -> Result<Option<T>, Error> {
        match self.value(field) {
            None => Ok(None),
            Some(value) => match read(value) {
                Some(read) => Ok(Some(read)),
                None => Err(self.wrong(field, expected.to_owned())),
            },
        }
    }

    /// `rope_theta` with `rope_scaling`, or `rope_parameters`, which holds both since transformers 5.
    fn rope(&self) -> Result<Rope, Error> {
        let field = if self.value("rope_parameters").is_some() {
            "rope_parameters"
        } else {
            "rope_scaling"
        };
        let nested = match self.typed(field, "an object", Value::as_object)? {
            Some(object) => object,
            None => &Map::new(),
        };
        let nested = Fields(nested);
        let theta = match nested.number("rope_theta")? {
            Some(theta) => theta,
            None => self.number("rope_theta")?.unwrap_or(10_000.0),
        };
        let required = |name: &str| nested.number(name)?.ok_or_else(|| nested.absent(name));
        let kind = nested
            .text("rope_type")?
            .or(nested.text("type")?)
            .unwrap_or("default");
        let scaling = match kind {
            "default" => RopeScaling::None,
            "linear" => RopeScaling::Linear {
                factor: required("factor")?,
            },
            "llama3" => RopeScaling::Llama3 {
                factor: required("factor")?,
                low: required("low_freq_factor")?,
                high: required("high_freq_factor")?,
                original_positions: required("original_max_position_embeddings")?,
            },
            other => {
                return Err(Error::Config {
                    field: format!("{field}.rope_type"),
                    expected: "\"default\", \"linear\" or \"llama3\"".into(),
                    found: format!("{other:?}"),
                });
            }
        };
        Ok(Rope { theta, scaling })
    }
}

fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a truth value",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

/// Keeps products of sizes far inside 64 bits.
const MAX_SIZE: u64 = 1 << 28;

#[cfg(test)]
mod tests {
    use super::*;

    fn smollm2() -> Value {
        json!({
            "model_type": "llama", "vocab_size": 49152, "hidden_size": 576, "num_hidden_layers": 30,
            "num_attention_heads": 9, "num_key_value_heads": 3, "intermediate_size": 1536,
            "rms_norm_eps": 1e-5, "rope_theta": 100000, "max_position_embeddings": 8192,
            "tie_word_embeddings": true, "bos_token_id": 1, "eos_token_id": [2, 0], "hidden_act": "silu",
            "_name_or_path": "a/name",
        })
    }

    #[test]
    fn what_is_written_reads_the_same_and_names_nothing_else() {
        let config = ModelConfig::from_json(&smollm2()).unwrap();
        assert_eq!((config.head_dim, config.rope.theta), (64, 100_000.0));
        let written = config.to_json("bfloat16");
        assert!(!written.to_string().contains("a/name"));
        let again = ModelConfig::from_json(&written).unwrap();
        assert_eq!(again.to_json("bfloat16"), written);
        assert_eq!(again.eos, [2, 0]);
    }

    #[test]
    fn both_spellings_of_rope_are_read() {
        let mut config = smollm2();
        config["rope_parameters"] = json!({
            "rope_type": "llama3", "rope_theta": 5e5, "factor": 8.0, "low_freq_factor": 1.0,
            "high_freq_factor": 4.0, "original_max_position_embeddings": 8192,
        });
        let new = ModelConfig::from_json(&config).unwrap().rope;
        assert_eq!(new.theta, 5e5);
        assert!(matches!(new.scaling, RopeScaling::Llama3 { .. }));
        config.as_object_mut().unwrap().remove("rope_parameters");
        config["rope_scaling"] = json!({ "type": "linear", "factor": 2.0 });
        let old = ModelConfig::from_json(&config).unwrap().rope;
        assert_eq!(
            old,
            Rope {
                theta: 1e5,
                scaling: RopeScaling::Linear { factor: 2.0 }
            }
        );
    }

    #[test]
    fn what_cannot_be_expressed_is_refused_by_field() {
        for (field, value) in [
            ("hidden_act", json!("gelu")),
            ("num_key_value_heads", json!(2)),
            ("hidden_size", json!(-1)),
            ("hidden_size", json!("576")),
            ("vocab_size", json!(null)),
            (
                "rope_scaling",
                json!({ "rope_type": "yarn", "factor": 4.0 }),
            ),
            ("rms_norm_eps", json!(0)),
            ("eos_token_id", json!("2")),
            ("head_dim", json!(63)),
        ] {
            let mut config = smollm2();
            config[field] = value;
            let message = ModelConfig::from_json(&config).unwrap_err().to_string();
            assert!(message.contains(field), "{field}: {message}");
        }
        let mut quantised = smollm2();
        quantised["quantization_config"] = json!({ "quant_method": "fp8" });
        assert!(matches!(
            ModelConfig::from_json(&quantised),
            Err(Error::Quantised)
        ));
    }
}
