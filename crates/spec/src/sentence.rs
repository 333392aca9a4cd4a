use serde_json::{Map, Value, json};

use crate::{Activation, Error};

/// What makes one vector of a text's token vectors: the modules behind the transformer in a sentence-transformers folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SentenceHead {
    /// How token vectors become one.
    pub pooling: Pooling,
    /// Numbers in what the linear layer gives; 0 without one.
    pub width: usize,
    /// The linear layer, if there is one.
    pub dense: Option<SentenceDense>,
    /// Whether the vector is divided by its length at last.
    pub normalize: bool,
}

/// y = act(W x + b), from the pooled vector x.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SentenceDense {
    /// Numbers in x.
    pub input: usize,
    /// Whether there is b.
    pub bias: bool,
    /// Whether act is tanh; it is the identity otherwise.
    pub tanh: bool,
}

/// How the vectors h_1 ... h_n of a text's tokens become one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pooling {
    /// h_1.
    First,
    /// The largest of each coordinate.
    Max,
    /// sum h_i / n.
    Mean,
    /// sum h_i / sqrt(n).
    MeanSqrt,
    /// sum i h_i / sum i.
    WeightedMean,
    /// h_n.
    Last,
}

/// The list of modules in a sentence-transformers folder.
pub const MODULES_FILE: &str = "modules.json";
/// Where sentence-transformers keeps how texts become tokens; the first that there is counts.
pub const TRANSFORMER_FILES: [&str; 7] = [
    "sentence_bert_config.json",
    "sentence_roberta_config.json",
    "sentence_distilbert_config.json",
    "sentence_camembert_config.json",
    "sentence_albert_config.json",
    "sentence_xlm-roberta_config.json",
    "sentence_xlnet_config.json",
];

/// How the linear layer's tensors are named beside those of the transformer: this and `linear.weight`, `linear.bias`. They
/// lie in a folder of their own.
pub const SENTENCE_DENSE_PREFIX: &str = "dense/";

impl SentenceHead {
    /// Reads `modules.json`, and with `config` the `config.json` of a module's folder. The linear layer's folder comes too.
    pub fn read<E: From<Error>>(
        modules: &Value,
        mut config: impl FnMut(&str) -> Result<Value, E>,
    ) -> Result<(Self, Option<String>), E> {
        let list = modules.as_array().ok_or_else(|| wrong("a list", modules))?;
        let mut modules = list.iter().map(module);
        match modules.next().transpose()? {
            Some(("Transformer", _)) => {}
            other => return Err(order(other).into()),
        }
        let pooling = match modules.next().transpose()? {
            Some(("Pooling", path)) => Pooling::read(&config(path)?)?,
            other => return Err(order(other).into()),
        };
        let mut head = Self {
            pooling,
            width: 0,
            dense: None,
            normalize: false,
        };
        let mut folder = None;
        for module in modules {
            match module? {
                ("Normalize", _) => head.normalize = true,
                ("Dense", path) if head.dense.is_none() && !head.normalize => {
                    (head.width, head.dense) = dense(&config(path)?)?;
                    folder = Some(path.to_owned());
                }
                other => return Err(order(Some(other)).into()),
            }
        }
        Ok((head, folder))
    }

    /// The files of a folder with this head: paths and contents, but for the linear layer's weights.
    #[must_use]
    pub fn files(&self, hidden_size: usize) -> Vec<(String, Value)> {
        let names = ["Transformer", "Pooling", "Dense", "Normalize"];
        let present = [true, true, self.dense.is_some(), self.normalize];
        let names = names.into_iter().zip(present).filter(|(_, here)| *here);
        let names: Vec<&str> = names.map(|(name, _)| name).collect();
        let path = |idx: usize, name: &str| match idx {
            0 => String::new(),
            _ => format!("{idx}_{name}"),
        };
        let entry = |(idx, name): (usize, &&str)| {
            json!({ "idx": idx, "name": idx.to_string(), "path": path(idx, name),
                    "type": format!("sentence_transformers.models.{name}") })
        };
        let list: Vec<Value> = names.iter().enumerate().map(entry).collect();
        let mut files = vec![(MODULES_FILE.to_owned(), Value::Array(list))];
        files.push((
            "1_Pooling/config.json".to_owned(),
            self.pooling.to_json(hidden_size),
        ));
        if let Some(dense) = &self.dense {
            let activation = if dense.tanh { TANH } else { IDENTITY };
            files.push((
                format!("{DENSE_FOLDER}/config.json"),
                json!({ "in_features": dense.input, "out_features": self.width, "bias": dense.bias,
                        "activation_function": activation }),
            ));
        }
        files
    }
}

/// Where an encrypted folder has the linear layer.
pub const DENSE_FOLDER: &str = "2_Dense";

impl Pooling {
    const FLAGS: [(Self, &'static str, &'static str); 6] = [
        (Self::First, "pooling_mode_cls_token", "cls"),
        (Self::Max, "pooling_mode_max_tokens", "max"),
        (Self::Mean, "pooling_mode_mean_tokens", "mean"),
        (
            Self::MeanSqrt,
            "pooling_mode_mean_sqrt_len_tokens",
            "mean_sqrt_len_tokens",
        ),
        (
            Self::WeightedMean,
            "pooling_mode_weightedmean_tokens",
            "weightedmean",
        ),
        (Self::Last, "pooling_mode_lasttoken", "lasttoken"),
    ];

    fn read(config: &Value) -> Result<Self, Error> {
        if let Some(mode) = config.get("pooling_mode").filter(|mode| !mode.is_null()) {
            let named = |(_, _, name): &&(Self, &str, &str)| mode.as_str() == Some(name);
            let found = Self::FLAGS.iter().find(named);
            let found = found.ok_or_else(|| wrong("one pooling mode", mode))?;
            return Ok(found.0);
        }
        let is_set = |flag: &str| config.get(flag).and_then(Value::as_bool);
        let set: Vec<Self> = (Self::FLAGS.iter())
            .filter(|(_, flag, _)| is_set(flag) == Some(true))
            .map(|(pooling, _, _)| *pooling)
            .collect();
        match set.as_slice() {
            [one] => Ok(*one),
            _ => Err(wrong("one pooling mode that is true", config)),
        }
    }

    fn to_json(self, hidden_size: usize) -> Value {
        let mut json = Map::new();
        json.insert("word_embedding_dimension".into(), json!(hidden_size));
        for (pooling, flag, _) in Self::FLAGS {
            json.insert(flag.into(), json!(pooling == self));
        }
        Value::Object(json)
    }

    /// sentence-transformers' name.
    #[must_use]
    pub fn name(self) -> &'static str {
        (Self::FLAGS.iter())
            .find(|(pooling, _, _)| *pooling == self)
            .map_or("", |(_, _, name)| name)
    }
}

/// The last word of a module's type, and its folder.
fn module(module: &Value) -> Result<(&str, &str), Error> {
    let text = |field: &str| module.get(field).and_then(Value::as_str);
    let (Some(kind), Some(path)) = (text("type"), text("path")) else {
        return Err(wrong("modules with \"type\" and \"path\"", module));
    };
    Ok((kind.rsplit('.').next().unwrap_or(kind), path))
}

fn dense(config: &Value) -> Result<(usize, Option<SentenceDense>), Error> {
    let size = |field: &str| {
        let size = config.get(field).and_then(Value::as_u64);
        let size = size.filter(|size| (1..=1 << 20).contains(size));
        size.map(|size| size as usize)
            .ok_or_else(|| wrong(&format!("a size as {field}"), config))
    };
    let activation = match config.get("activation_function").and_then(Value::as_str) {
        None => "Tanh",
        Some(name) => name.rsplit('.').next().unwrap_or(name),
    };
    let tanh = match activation {
        "Tanh" => true,
        "Identity" => false,
        _ => return Err(wrong("Tanh or Identity as activation_function", config)),
    };
    let dense = SentenceDense {
        input: size("in_features")?,
        bias: config.get("bias").and_then(Value::as_bool).unwrap_or(true),
        tanh,
    };
    Ok((size("out_features")?, Some(dense)))
}

fn order(found: Option<(&str, &str)>) -> Error {
    Error::Sentence {
        expected: "Transformer, Pooling, at most one Dense, and Normalize, in this order".into(),
        found: found.map_or("nothing".into(), |(kind, _)| kind.to_owned()),
    }
}

fn wrong(expected: &str, found: &Value) -> Error {
    let mut found = found.to_string();
    if found.chars().count() > 200 {
        found = found.chars().take(200).collect::<String>() + "...";
    }
    let expected = expected.to_owned();
    Error::Sentence { expected, found }
}

impl SentenceDense {
    /// What stands behind the linear layer, if not the identity.
    #[must_use]
    pub fn activation(&self) -> Option<Activation> {
        self.tanh.then_some(Activation::Tanh)
    }
}

const TANH: &str = "torch.nn.modules.activation.Tanh";
const IDENTITY: &str = "torch.nn.modules.linear.Identity";

#[cfg(test)]
mod tests {
    use super::*;

    fn read(files: &[(String, Value)]) -> Result<(SentenceHead, Option<String>), Error> {
        let find = |path: &str| {
            let found = files.iter().find(|(name, _)| name == path);
            found.map(|(_, value)| value.clone()).unwrap_or(Value::Null)
        };
        SentenceHead::read(&find(MODULES_FILE), |folder| {
            Ok(find(&format!("{folder}/config.json")))
        })
    }

    #[test]
    fn what_is_written_reads_back() {
        for (pooling, _, _) in Pooling::FLAGS {
            for (dense, normalize) in [(false, false), (false, true), (true, false), (true, true)] {
                let head = SentenceHead {
                    pooling,
                    width: if dense { 5 } else { 0 },
                    dense: dense.then_some(SentenceDense {
                        input: 7,
                        bias: normalize,
                        tanh: !normalize,
                    }),
                    normalize,
                };
                let (again, folder) = read(&head.files(7)).unwrap();
                assert_eq!(again, head);
                assert_eq!(folder.as_deref(), dense.then_some(DENSE_FOLDER));
            }
        }
    }

    #[test]
    fn what_cannot_be_expressed_is_refused() {
        let head = SentenceHead {
            pooling: Pooling::Mean,
            width: 5,
            dense: Some(SentenceDense {
                input: 7,
                bias: true,
                tanh: true,
            }),
            normalize: true,
        };
        let text = serde_json::to_string(&head.files(7)).unwrap();
        for (from, to) in [
            ("activation.Tanh", "activation.GELU"),
            ("models.Dense", "models.LayerNorm"),
            ("models.Normalize", "models.Dense"),
            (
                "pooling_mode_max_tokens\":false",
                "pooling_mode_max_tokens\":true",
            ),
            ("\"out_features\":5", "\"out_features\":-5"),
            ("\"path\":\"1_Pooling\"", "\"path\":1"),
        ] {
            let changed = text.replace(from, to);
            assert_ne!(changed, text, "{from}");
            let files: Vec<(String, Value)> = serde_json::from_str(&changed).unwrap();
            assert!(
                matches!(read(&files), Err(Error::Sentence { .. })),
                "{from}"
            );
        }
    }
}
