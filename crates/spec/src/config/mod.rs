mod experts;
mod fields;
mod heads;
mod layers;
mod rope;
mod table;
mod task;
mod write;

use serde_json::{Map, Value};

use crate::{Activation, Architecture, Error, Rope, RopeScaling, SentenceHead, Task, When};
use fields::Fields;
use heads::HeadSizes;
use layers::{attention_scales, layer_kinds};

pub use experts::{Experts, Scoring};
pub use layers::LayerKind;
pub use table::{ConfigTable, Expansion};
pub(crate) use table::{
    EncoderTable, ExpertNames as Moe, Fact, HeadActivation, LLAMA_CONFIG, NAMES, Names, Positions,
    Shared as MoeShared, Shares as MoeShares, SparseLayers as MoeLayers, Windows as Window, rotary,
};

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
    /// Coordinates of a query or key.
    pub head_dim: usize,
    /// How many of them RoPE turns; even.
    pub rotary_dim: usize,
    /// Coordinates of a value.
    pub value_dim: usize,
    /// Neurons of an MLP.
    pub ffn_size: usize,
    /// The non-linearity of an MLP.
    pub activation: Activation,
    /// The epsilon of the norms.
    pub norm_epsilon: f64,
    /// What is added to the gains of the norms.
    pub gain_offset: f64,
    /// Rotary position embeddings; layers refer to them by index.
    pub ropes: Vec<Rope>,
    /// Rows of the embedding of positions; 0 without one.
    pub learned_positions: usize,
    /// The longest context.
    pub max_positions: usize,
    /// What differs between layers.
    pub layer_kinds: Vec<LayerKind>,
    /// What embeddings are multiplied by.
    pub embedding_scale: f64,
    /// c, where q . k becomes c tanh(q . k / c).
    pub attention_cap: Option<f64>,
    /// c, where a logit l becomes c tanh(l / c).
    pub logit_cap: Option<f64>,
    /// Whether attention and MLP read the same residual stream.
    pub parallel_residual: bool,
    /// The mixture of experts.
    pub experts: Option<Experts>,
    /// The latent vectors of multi-head latent attention.
    pub latent: Option<Latent>,
    /// What the model answers.
    pub task: Task,
    /// How many texts a token may belong to; 0 where tokens are not told.
    pub token_types: usize,
    /// Classes of distances between two tokens, each of which has a bias for each head; 0 without.
    pub distance_classes: usize,
    /// The position of the first token.
    pub first_position: usize,
    /// Labels; 0 where the answer is not made of them.
    pub labels: usize,
    /// Whether labels of a text are read from the mean of its tokens; from its first token otherwise.
    pub labels_from_mean: bool,
    /// What follows the first linear layer of the head.
    pub head_activation: Activation,
    /// How one vector is made of a text's.
    pub sentence: Option<SentenceHead>,
    /// Whether the head is the embedding.
    pub tied_head: bool,
    /// `bos_token_id`.
    pub bos: Option<u32>,
    /// `eos_token_id`: one id, a list, or none.
    pub eos: Vec<u32>,
    /// `pad_token_id`.
    pub pad: Option<u32>,
    /// What holds in every layer.
    pub(crate) facts: When,
    /// The fields that a written file repeats.
    kept: Map<String, Value>,
}

/// What makes probabilities of the logits of labels. Each commutes with permutations.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LabelActivation {
    /// exp(x_i) / sum exp(x_j): one label of several.
    Softmax,
    /// 1 / (1 + exp(-x_i)): each label by itself.
    Logistic,
    /// The numbers are no logits.
    Identity,
}

impl LabelActivation {
    /// Of the logits of one text, in place.
    pub fn apply(self, logits: &mut [f64]) {
        match self {
            Self::Identity => {}
            Self::Logistic => logits
                .iter_mut()
                .for_each(|x| *x = 1.0 / (1.0 + (-*x).exp())),
            Self::Softmax => {
                let largest = logits.iter().fold(f64::NEG_INFINITY, |a, b| a.max(*b));
                logits.iter_mut().for_each(|x| *x = (*x - largest).exp());
                let total: f64 = logits.iter().sum();
                logits.iter_mut().for_each(|x| *x /= total);
            }
        }
    }
}

/// The latent vectors of multi-head latent attention (DeepSeek-V2, arXiv 2405.04434, section 2.1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Latent {
    /// Coordinates of the one that queries come out of, if there is one.
    pub query: Option<usize>,
    /// Coordinates of the one that keys and values come out of.
    pub key_value: usize,
}

impl ModelConfig {
    /// Reads `config.json`, with the defaults that transformers gives to absent fields. Fails on an unknown architecture,
    /// and on every field whose meaning the tables cannot express.
    pub fn from_json(config: &Value) -> Result<Self, Error> {
        let map = config.as_object().ok_or_else(|| Error::Config {
            field: "(whole file)".into(),
            expected: "a JSON object".into(),
            found: fields::kind_of(config).into(),
        })?;
        let fields = Fields(map);
        let model_type = fields.text("model_type")?;
        let model_type = model_type.ok_or_else(|| fields.absent("model_type"))?;
        let architecture = Architecture::find(model_type)?;
        let table = &architecture.config;
        if let Some(field) = ["quantization_config", "compression_config"]
            .into_iter()
            .find(|field| fields.value(field).is_some())
        {
            return Err(quantised(&fields, field));
        }
        if let Some(field) = table
            .required
            .iter()
            .find(|field| !map.contains_key(**field))
        {
            return Err(fields.absent(field));
        }
        for (field, expected) in table.demands {
            if fields.flag(field)?.is_some_and(|found| found != *expected) {
                return Err(fields.wrong(field, expected.to_string()));
            }
        }
        let names = &table.names;
        let hidden_size = fields.size(names.hidden)?;
        let layers = fields.size(names.layers)?;
        let heads = fields.size(names.heads)?;
        let kv_heads = match names.kv_heads {
            Some(name) => fields.optional_size(name)?.unwrap_or(heads),
            None => heads,
        };
        if !heads.is_multiple_of(kv_heads) {
            let expected = format!("a divisor of {} = {heads}", names.heads);
            return Err(fields.wrong(names.kv_heads.unwrap_or(names.heads), expected));
        }
        let max_positions = fields.optional_size(names.max_positions)?.unwrap_or(2048);
        let latent = match table.latent {
            true => Some(Latent {
                query: fields.optional_size("q_lora_rank")?,
                key_value: fields.size("kv_lora_rank")?,
            }),
            false => None,
        };
        if latent.is_some() && kv_heads != heads {
            let expected = format!("{heads}, as many as {}", names.heads);
            return Err(fields.wrong("num_key_value_heads", expected));
        }
        let heads_of = HeadSizes::read(&fields, table, hidden_size, heads, max_positions)?;
        let (ropes, mut layer_kinds) = layer_kinds(&fields, table, layers, max_positions)?;
        for rope in &ropes {
            if let RopeScaling::Long { short, long, .. } = &rope.scaling
                && [short.len(), long.len()] != [heads_of.rotary / 2; 2]
            {
                return Err(Error::Config {
                    field: "rope_scaling".into(),
                    expected: format!("{} factors each, one a plane", heads_of.rotary / 2),
                    found: format!("{} and {}", short.len(), long.len()),
                });
            }
        }
        let answer = task::Answer::read(&fields, architecture)?;
        let mut facts = match &latent {
            Some(Latent { query: None, .. }) => When::QUERY_DIRECT,
            Some(_) => When::QUERY_LATENT,
            None => When::ALWAYS,
        };
        for (fact, source) in table.facts {
            let holds = match source {
                Fact::Always => true,
                Fact::Field(name, default) => fields.flag(name)?.unwrap_or(*default),
                Fact::Not(name, default) => !fields.flag(name)?.unwrap_or(*default),
                Fact::Tasks(tasks) => tasks.contains(&answer.task),
            };
            if holds {
                facts = facts.and(*fact);
            }
        }
        let experts = match &table.experts {
            Some(names) => Some(Experts::read(&fields, names)?),
            None => None,
        };
        if experts
            .as_ref()
            .is_some_and(|experts| experts.shared_ffn_size > 0)
        {
            facts = facts.and(When::SHARED_EXPERT);
        }
        let activation = match fields.text(names.activation)? {
            None => table.activation,
            Some(name) => Activation::named(name).ok_or_else(|| {
                let expected = "\"silu\", \"gelu\", \"gelu_pytorch_tanh\" or \"relu\"";
                fields.wrong(names.activation, expected.into())
            })?,
        };
        let is_latent = latent.is_some();
        let scales = attention_scales(&fields, table, heads_of.query_key, &ropes, is_latent)?;
        for (layer, kind) in layer_kinds.iter_mut().enumerate() {
            kind.attention_scale = scales(layer);
        }
        let parallel_residual = match table.parallel_residual {
            Some(name) => fields.flag(name)?.unwrap_or(true),
            None => false,
        };
        let pad = fields.ids("pad_token_id")?.first().copied();
        let first_position = match table.positions {
            Positions::LearnedAfterPad(field, default) => {
                field.and(pad).unwrap_or(default) as usize + 1
            }
            _ => 0,
        };
        if first_position >= max_positions && first_position > 0 {
            let expected = format!("more than {first_position}, the first token's position");
            return Err(fields.wrong(names.max_positions, expected));
        }
        let keep = |name: &&str| Some(((*name).to_owned(), plain(map.get(*name)?)?));
        Ok(Self {
            architecture,
            vocab_size: fields.size("vocab_size")?,
            hidden_size,
            layers,
            heads,
            kv_heads,
            head_dim: heads_of.query_key,
            rotary_dim: heads_of.rotary,
            value_dim: heads_of.value,
            ffn_size: match fields.optional_size(names.ffn)? {
                Some(size) => size,
                // GPT-2's n_inner is null where it is the usual multiple.
                None if names.ffn == "n_inner" => 4 * hidden_size,
                None => return Err(fields.absent(names.ffn)),
            },
            activation,
            norm_epsilon: match names.epsilon {
                Some(name) => fields.number(name)?.unwrap_or(table.epsilon),
                None => table.epsilon,
            },
            gain_offset: table.gain_offset,
            learned_positions: match table.positions {
                Positions::Learned | Positions::LearnedAfterPad(..) => max_positions,
                Positions::Rotary { .. } => 0,
            },
            max_positions,
            layer_kinds,
            embedding_scale: if table.scales_embeddings {
                (hidden_size as f64).sqrt()
            } else {
                1.0
            },
            attention_cap: cap(&fields, table.attention_cap)?,
            logit_cap: cap(&fields, table.logit_cap)?,
            ropes,
            parallel_residual,
            experts,
            latent,
            task: answer.task,
            token_types: answer.token_types,
            distance_classes: answer.distance_classes,
            first_position,
            labels: answer.labels,
            labels_from_mean: answer.labels_from_mean,
            head_activation: answer.head_activation(&fields, table, activation)?,
            sentence: None,
            tied_head: fields.flag("tie_word_embeddings")?.unwrap_or(table.tied),
            bos: fields.ids("bos_token_id")?.first().copied(),
            eos: fields.ids("eos_token_id")?,
            pad,
            facts,
            kept: table.keep.iter().filter_map(keep).collect(),
        })
    }

    /// Whether this holds in every layer.
    #[must_use]
    pub fn has(&self, fact: When) -> bool {
        fact.holds(self, None)
    }

    /// The longest context in which [`ropes`](Self::ropes) turn as the model was trained to: shorter than
    /// [`max_positions`](Self::max_positions) where longer contexts have other frequencies.
    #[must_use]
    pub fn exact_context(&self) -> usize {
        let original = self.ropes.iter().filter_map(Rope::original_context).min();
        let positions = self.max_positions - self.first_position;
        positions.min(original.unwrap_or(usize::MAX))
    }

    /// The id of the token that is not counted where positions are, if there is one: it must keep its meaning in an encrypted
    /// vocabulary, because a stock engine compares ids with it.
    #[must_use]
    pub fn uncounted_id(&self) -> Option<u32> {
        let id = self.first_position.checked_sub(1)?;
        u32::try_from(id).ok()
    }

    /// The same model as sentence-transformers runs it: the vectors of its tokens, made one by `head`.
    pub fn with_sentence(mut self, head: SentenceHead) -> Result<Self, Error> {
        if !self.task.is_of_encoder() {
            return Err(Error::Sentence {
                expected: "an encoder as the Transformer module".into(),
                found: self.architecture.model_type.into(),
            });
        }
        if let Some(dense) = &head.dense {
            if dense.input != self.hidden_size {
                return Err(Error::Sentence {
                    expected: format!("a Dense module that reads {} numbers", self.hidden_size),
                    found: dense.input.to_string(),
                });
            }
            self.facts = self.facts.and(When::SENTENCE_DENSE);
            if dense.bias {
                self.facts = self.facts.and(When::SENTENCE_BIAS);
            }
            if dense.tanh {
                self.facts = self.facts.and(When::SENTENCE_TANH);
            }
        }
        self.become_features();
        self.sentence = Some(head);
        Ok(self)
    }

    /// What makes probabilities of the logits of labels (transformers, `TextClassificationPipeline`).
    #[must_use]
    pub fn label_activation(&self) -> LabelActivation {
        let problem = self.kept.get("problem_type").and_then(Value::as_str);
        match problem {
            Some("regression") => LabelActivation::Identity,
            Some("multi_label_classification") => LabelActivation::Logistic,
            _ if self.labels == 1 => LabelActivation::Logistic,
            _ => LabelActivation::Softmax,
        }
    }

    /// Numbers in an answer: ids, labels, or coordinates of a sentence embedding or a hidden state.
    #[must_use]
    pub fn answer_size(&self) -> usize {
        match (self.task, &self.sentence) {
            (Task::NextToken | Task::MaskedToken, _) => self.vocab_size,
            (Task::SequenceLabels | Task::TokenLabels, _) => self.labels,
            (Task::Features, Some(head)) if head.dense.is_some() => head.width,
            (Task::Features, _) => self.hidden_size,
        }
    }

    /// The name of the class in transformers.
    #[must_use]
    pub fn class(&self) -> String {
        format!("{}{}", self.architecture.class, self.task.suffix())
    }
}

impl ModelConfig {
    /// The body of the model alone.
    fn become_features(&mut self) {
        self.task = Task::Features;
        self.labels = 0;
        self.facts = self.facts.of_any_task();
        for (fact, source) in self.architecture.config.facts {
            if matches!(source, Fact::Tasks(tasks) if tasks.contains(&Task::Features)) {
                self.facts = self.facts.and(*fact);
            }
        }
        if let Some(EncoderTable {
            pooler: HeadActivation::Is(activation),
            ..
        }) = self.architecture.config.encoder
        {
            self.head_activation = activation;
        }
    }
}

fn cap(fields: &Fields<'_>, field: Option<(&str, Option<f64>)>) -> Result<Option<f64>, Error> {
    match field {
        Some((name, _)) if fields.0.contains_key(name) => fields.number(name),
        Some((_, default)) => Ok(default),
        None => Ok(None),
    }
}

fn quantised(fields: &Fields<'_>, field: &str) -> Error {
    let method = fields
        .value(field)
        .and_then(|config| config.get("quant_method"))
        .and_then(Value::as_str);
    Error::Quantised {
        method: method.unwrap_or("an unnamed method").to_owned(),
    }
}

/// The value if it is made of numbers, truth values, and words that carry no name.
fn plain(value: &Value) -> Option<Value> {
    let fine = match value {
        Value::Bool(_) | Value::Number(_) => true,
        Value::String(word) => WORDS.contains(&word.as_str()) || Activation::named(word).is_some(),
        Value::Array(list) => list.iter().all(|value| plain(value).is_some()),
        // An absent field may mean something else than null.
        Value::Null => true,
        Value::Object(_) => false,
    };
    fine.then(|| value.clone())
}

const WORDS: &[&str] = &[
    "full_attention",
    "sliding_attention",
    "softmax",
    "sigmoid",
    "greedy",
    "group_limited_greedy",
    "noaux_tc",
    "cls",
    "mean",
    "single_label_classification",
    "multi_label_classification",
    "regression",
];

#[cfg(test)]
mod tests {
    use serde_json::json;

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
        assert_eq!((config.head_dim, config.ropes[0].theta), (64, 100_000.0));
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
        let rope = |config: &Value| ModelConfig::from_json(config).unwrap().ropes.remove(0);
        let new = rope(&config);
        assert_eq!(new.theta, 5e5);
        assert!(matches!(new.scaling, RopeScaling::Llama3 { .. }));
        config.as_object_mut().unwrap().remove("rope_parameters");
        config["rope_scaling"] = json!({ "type": "linear", "factor": 2.0 });
        let old = rope(&config);
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
            ("hidden_act", json!("mish")),
            ("num_key_value_heads", json!(2)),
            ("hidden_size", json!(-1)),
            ("hidden_size", json!("576")),
            ("vocab_size", json!(null)),
            (
                "rope_scaling",
                json!({ "rope_type": "dynamic", "factor": 4.0 }),
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
            Err(Error::Quantised { method }) if method == "fp8"
        ));
    }
}
