//! Models to try grammars with, and a reader of schemas that is not the grammar's.

use std::path::Path;

use serde_json::Value;

use super::{Grammar, GrammarVocabulary};
use crate::Text;
use crate::fixture::{END, VOCAB, folder};

pub(super) struct Model {
    pub(super) text: Text,
    pub(super) vocabulary: GrammarVocabulary,
    pub(super) vocab_size: usize,
}

impl Model {
    fn open(dir: &Path, stop_ids: &[u32], vocab_size: usize) -> Self {
        let text = Text::open(dir).unwrap();
        let vocabulary = GrammarVocabulary::new(&text, stop_ids, vocab_size).unwrap();
        Self {
            text,
            vocabulary,
            vocab_size,
        }
    }

    pub(super) fn grammar(&self, schema: &Value) -> Grammar {
        Grammar::json_schema(&self.vocabulary, schema).unwrap()
    }

    /// Whether the text is an answer, however it is cut.
    pub(super) fn follows(&self, schema: &Value, answer: &str) -> bool {
        let mut grammar = self.grammar(schema);
        let ids = self.text.encode(answer).unwrap();
        ids.iter()
            .all(|id| grammar.allows(*id).unwrap() && grammar.take(*id).is_ok())
            && grammar.may_end()
    }
}

pub(super) fn fixture() -> Model {
    Model::open(folder().path(), &[258, END], VOCAB)
}

/// The fixture, and SmolLM2 where EQUICRYPT_SMOLLM2 names its folder.
pub(super) fn models() -> Vec<Model> {
    let smollm2 = std::env::var_os("EQUICRYPT_SMOLLM2");
    if smollm2.is_none() {
        eprintln!("skipped: EQUICRYPT_SMOLLM2 does not name SmolLM2's folder");
    }
    let smollm2 = smollm2.map(|dir| Model::open(Path::new(&dir), &[2], 49152));
    [fixture()].into_iter().chain(smollm2).collect()
}

/// As much of JSON Schema as the schemas above need.
pub(super) fn check(root: &Value, schema: &Value, value: &Value) -> Result<(), String> {
    let broken = |keyword: &str| Err(keyword.to_string());
    for (keyword, rule) in schema.as_object().unwrap() {
        let number = rule.as_f64().unwrap_or(f64::NAN);
        let length = rule.as_u64().unwrap_or(0) as usize;
        let is = |kind: &Value| match kind.as_str().unwrap() {
            "object" => value.is_object(),
            "array" => value.is_array(),
            "string" => value.is_string(),
            "number" => value.is_number(),
            "integer" => value.as_f64().is_some_and(|number| number.fract() == 0.0),
            "boolean" => value.is_boolean(),
            "null" => value.is_null(),
            kind => panic!("{kind}"),
        };
        let holds = match (keyword.as_str(), value) {
            ("type", _) => match rule {
                Value::Array(kinds) => kinds.iter().any(is),
                kind => is(kind),
            },
            ("enum", _) => rule.as_array().unwrap().contains(value),
            ("const", _) => rule == value,
            ("anyOf", _) => {
                let mut options = rule.as_array().unwrap().iter();
                options.any(|option| check(root, option, value).is_ok())
            }
            ("$ref", _) => {
                let target = rule.as_str().unwrap().strip_prefix('#').unwrap();
                check(root, root.pointer(target).unwrap(), value)?;
                true
            }
            // serde_json reads long decimals with an error of the last place.
            ("minimum", Value::Number(found)) => found.as_f64().unwrap() >= number - 1e-9,
            ("maximum", Value::Number(found)) => found.as_f64().unwrap() <= number + 1e-9,
            ("minLength", Value::String(found)) => found.chars().count() >= length,
            ("maxLength", Value::String(found)) => found.chars().count() <= length,
            ("pattern", Value::String(found)) => {
                let rest = found
                    .strip_prefix('x')
                    .and_then(|rest| rest.strip_suffix('d'));
                rest.and_then(|rest| rest.split_once('-'))
                    .is_some_and(|(a, b)| {
                        let left = b.replace("aa", "").replace("bb", "");
                        !b.is_empty() && left.is_empty() && a.bytes().all(|b| b"abc".contains(&b))
                    })
            }
            ("format", Value::String(found)) => {
                let parts: Vec<&str> = found.split('-').collect();
                let numbers = parts.iter().map(|part| part.parse::<u32>());
                let numbers: Vec<u32> = numbers.map(Result::unwrap).collect();
                found.len() == 10 && numbers[1] < 13 && (1..32).contains(&numbers[2])
            }
            ("minItems", Value::Array(found)) => found.len() >= length,
            ("maxItems", Value::Array(found)) => found.len() <= length,
            ("items", Value::Array(found)) => {
                found.iter().try_for_each(|item| check(root, rule, item))?;
                true
            }
            ("minProperties", Value::Object(found)) => found.len() >= length,
            ("required", Value::Object(found)) => {
                let mut names = rule.as_array().unwrap().iter();
                names.all(|name| found.contains_key(name.as_str().unwrap()))
            }
            ("properties", Value::Object(found)) => {
                for (name, rule) in rule.as_object().unwrap() {
                    found
                        .get(name)
                        .map_or(Ok(()), |value| check(root, rule, value))?;
                }
                true
            }
            ("additionalProperties", Value::Object(found)) => {
                let known = &schema["properties"];
                let mut others = found.iter().filter(|(name, _)| known.get(name).is_none());
                match rule {
                    Value::Bool(false) => others.next().is_none(),
                    Value::Bool(true) => true,
                    rule => others.all(|(_, value)| check(root, rule, value).is_ok()),
                }
            }
            _ => true,
        };
        if !holds {
            return broken(keyword);
        }
    }
    Ok(())
}
