use std::collections::BTreeMap;
use std::path::Path;

use equicrypt_spec::{LabelActivation, ModelConfig, Task};
use serde_json::Value;

use crate::Error;
use crate::terminal::excerpt;

/// The names of the labels: `id2label`, or `LABEL_0`, `LABEL_1`... as transformers names them.
pub(super) fn names(json: &Value, config: &ModelConfig, path: &Path) -> Result<Vec<String>, Error> {
    let given = json.get("id2label").and_then(Value::as_object);
    let Some(given) = given.filter(|names| !names.is_empty() && config.task.has_labels()) else {
        return Ok((0..config.labels)
            .map(|label| format!("LABEL_{label}"))
            .collect());
    };
    let name = |label: usize| given.get(&label.to_string())?.as_str().map(str::to_owned);
    let names: Option<Vec<String>> = (0..config.labels).map(name).collect();
    let names = names.ok_or_else(|| Error::Field {
        path: path.to_owned(),
        field: "id2label".into(),
        expected: "names of labels numbered from 0 without gaps",
        found: format!("{} others", given.len()),
    })?;
    Ok(told_apart(names))
}

/// Labels of the same name get their numbers behind it.
fn told_apart(names: Vec<String>) -> Vec<String> {
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for name in &names {
        *counts.entry(name.clone()).or_default() += 1;
    }
    let apart = |(label, name): (usize, String)| match counts.get(&name) {
        Some(2..) => format!("{name} (LABEL_{label})"),
        _ => name,
    };
    names.into_iter().enumerate().map(apart).collect()
}

/// What makes scores of a cross-encoder's logits. sentence-transformers 6.2 takes the first that
/// there is: `in_modules` (`activation_fn` of `config_sentence_transformers.json`, beside a
/// `modules.json`), `sentence_transformers.activation_fn` and
/// `sbert_ce_default_activation_function` of `config.json`; else 1 / (1 + exp(-x)) of a single
/// label.
pub(super) fn relevance(
    json: &Value,
    in_modules: Option<&str>,
    config: &ModelConfig,
    path: &Path,
) -> Result<LabelActivation, Error> {
    let named = in_modules
        .or_else(|| {
            json.pointer("/sentence_transformers/activation_fn")?
                .as_str()
        })
        .or_else(|| json.get("sbert_ce_default_activation_function")?.as_str());
    if config.task != Task::SequenceLabels || config.labels != 1 {
        return Ok(LabelActivation::Identity);
    }
    match named.map(|name| (name.starts_with("torch."), name.rsplit('.').next())) {
        None | Some((true, Some("Sigmoid"))) => Ok(LabelActivation::Logistic),
        Some((true, Some("Identity"))) => Ok(LabelActivation::Identity),
        Some(_) => Err(Error::Field {
            path: path.to_owned(),
            field: "activation_fn".into(),
            expected: "torch's Identity or Sigmoid, here or in config_sentence_transformers.json",
            found: excerpt(named.unwrap_or_default()),
        }),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn config(json: &Value) -> ModelConfig {
        ModelConfig::from_json(json).unwrap()
    }

    fn bert(labels: usize) -> Value {
        let names: serde_json::Map<String, Value> = (0..labels)
            .map(|label| (label.to_string(), json!(format!("name {label}"))))
            .collect();
        json!({
            "model_type": "bert", "architectures": ["BertForSequenceClassification"],
            "vocab_size": 8, "hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2,
            "intermediate_size": 8, "max_position_embeddings": 16, "id2label": names,
        })
    }

    #[test]
    fn names_are_in_the_order_of_their_numbers() {
        let json = bert(12);
        let found = names(&json, &config(&json), Path::new("c")).unwrap();
        assert_eq!(
            (found[2].as_str(), found[11].as_str()),
            ("name 2", "name 11")
        );
        let mut json = bert(2);
        json["id2label"] = json!({"0": "a", "2": "b"});
        let message = names(&json, &config(&json), Path::new("c"))
            .unwrap_err()
            .to_string();
        assert!(message.contains("id2label"), "{message}");
        json["id2label"] = json!({"0": "a", "1": "a"});
        let found = names(&json, &config(&json), Path::new("c")).unwrap();
        assert_eq!(found, ["a (LABEL_0)", "a (LABEL_1)"]);
        json["id2label"] = json!(null);
        json["num_labels"] = json!(3);
        let found = names(&json, &config(&json), Path::new("c")).unwrap();
        assert_eq!(found, ["LABEL_0", "LABEL_1", "LABEL_2"]);
    }

    #[test]
    fn scores_are_made_as_sentence_transformers_makes_them() {
        use LabelActivation::{Identity, Logistic};
        let of = |field: &str, value: Value, in_modules: Option<&str>, labels| {
            let mut json = bert(labels);
            json[field] = value;
            relevance(&json, in_modules, &config(&json), Path::new("c"))
        };
        let identity = json!("torch.nn.modules.linear.Identity");
        let sigmoid = "torch.nn.modules.activation.Sigmoid";
        assert_eq!(of("x", json!(0), None, 1).unwrap(), Logistic);
        assert_eq!(of("x", json!(0), None, 3).unwrap(), Identity);
        let old = "sbert_ce_default_activation_function";
        assert_eq!(of(old, identity.clone(), None, 1).unwrap(), Identity);
        let new = json!({"activation_fn": identity});
        assert_eq!(
            of("sentence_transformers", new.clone(), None, 1).unwrap(),
            Identity
        );
        let found = of("sentence_transformers", new, Some(sigmoid), 1);
        assert_eq!(found.unwrap(), Logistic);
        for bad in ["torch.nn.Tanh", "mine.Sigmoid", ""] {
            assert!(of(old, json!(bad), None, 1).is_err(), "{bad}");
        }
    }
}
