use serde_json::{Map, Value, json};

use super::ModelConfig;
use super::rope::scaling_json;
use super::table::Positions;
use crate::RopeScaling;

impl ModelConfig {
    /// A `config.json` that says exactly this and nothing else: no name, no path, no field that was not understood. The
    /// special ids stand in it explicitly, as null where there is none, because transformers and other engines would
    /// otherwise fill in ids of their own.
    #[must_use]
    pub fn to_json(&self, torch_dtype: &str) -> Value {
        let names = &self.architecture.config.names;
        let mut json = self.kept.clone();
        let mut put = |name: &str, value: Value| json.insert(name.to_owned(), value);
        put("architectures", json!([self.class()]));
        put("model_type", json!(self.architecture.model_type));
        put("vocab_size", json!(self.vocab_size));
        put(names.hidden, json!(self.hidden_size));
        put(names.ffn, json!(self.ffn_size));
        put(names.layers, json!(self.layers));
        put(names.heads, json!(self.heads));
        if let Some(name) = names.kv_heads {
            put(name, json!(self.kv_heads));
        }
        if let Some(name) = names.head_dim {
            put(name, json!(self.head_dim));
        }
        if !self.kept.contains_key(names.activation) {
            put(names.activation, json!(self.activation.name()));
        }
        put(names.max_positions, json!(self.max_positions));
        if let Some(name) = names.epsilon {
            put(name, json!(self.norm_epsilon));
        }
        if let Positions::Rotary {
            theta,
            share,
            local_theta,
            ..
        } = self.architecture.config.positions
        {
            let mut ropes = self.ropes.iter();
            if let Some(rope) = ropes.next() {
                put(theta, json!(rope.theta));
                put("rope_scaling", scaling_json(&rope.scaling));
                if let RopeScaling::Long {
                    original_positions, ..
                } = rope.scaling
                {
                    let name = "original_max_position_embeddings";
                    put(name, json!(original_positions as u64));
                }
            }
            if let (Some(name), Some(rope)) = (local_theta, ropes.next()) {
                put(name, json!(rope.theta));
            }
            if let Some(name) = share {
                put(name.0, json!(self.rotary_dim as f64 / self.head_dim as f64));
            }
        }
        if let Some(encoder) = &self.architecture.config.encoder {
            if let Some(name) = encoder.token_types {
                put(name, json!(self.token_types));
            }
            if let Some((name, _)) = encoder.distance_classes {
                put(name, json!(self.distance_classes));
            }
            if self.task.has_labels() {
                let name = |label: usize| format!("LABEL_{label}");
                let names: Map<String, Value> = (0..self.labels)
                    .map(|label| (label.to_string(), json!(name(label))))
                    .collect();
                let labels: Map<String, Value> = (0..self.labels)
                    .map(|label| (name(label), json!(label)))
                    .collect();
                put("id2label", Value::Object(names));
                put("label2id", Value::Object(labels));
            }
        }
        put("tie_word_embeddings", json!(self.tied_head));
        put("bos_token_id", json!(self.bos));
        let eos = match self.eos.as_slice() {
            [] => Value::Null,
            [one] => json!(one),
            several => json!(several),
        };
        put("eos_token_id", eos);
        put("pad_token_id", json!(self.pad));
        put("torch_dtype", json!(torch_dtype));
        Value::Object(json)
    }
}
