//! A host that answers nonsense must still yield an answer that follows the schema.

use std::path::Path;

use serde_json::{Value, json};

use super::{Grammar, GrammarVocabulary};
use crate::Text;
use crate::fixture::{END, VOCAB, folder};

struct Model {
    text: Text,
    vocabulary: GrammarVocabulary,
    vocab_size: usize,
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

    fn grammar(&self, schema: &Value) -> Grammar {
        Grammar::json_schema(&self.vocabulary, schema).unwrap()
    }

    /// Whether the text is an answer, however it is cut.
    fn follows(&self, schema: &Value, answer: &str) -> bool {
        let mut grammar = self.grammar(schema);
        let ids = self.text.encode(answer).unwrap();
        ids.iter()
            .all(|id| grammar.allows(*id).unwrap() && grammar.take(*id).is_ok())
            && grammar.may_end()
    }
}

fn fixture() -> Model {
    Model::open(folder().path(), &[258, END], VOCAB)
}

/// The fixture, and SmolLM2 where EQUICRYPT_SMOLLM2 names its folder.
fn models() -> Vec<Model> {
    let smollm2 = std::env::var_os("EQUICRYPT_SMOLLM2");
    if smollm2.is_none() {
        eprintln!("skipped: EQUICRYPT_SMOLLM2 does not name SmolLM2's folder");
    }
    let smollm2 = smollm2.map(|dir| Model::open(Path::new(&dir), &[2], 49152));
    [fixture()].into_iter().chain(smollm2).collect()
}

/// SplitMix64.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % sides as u64) as usize
    }

    /// Any id, out of range now and then; or one that JSON is made of, which gets further.
    fn id(&mut self, model: &Model) -> u32 {
        if self.roll(2) == 0 {
            return self.roll(model.vocab_size + 3) as u32;
        }
        let texts = [
            "{", "[", "\"", "\\", ",", ":", ", ", ": ", "-", "1", "0", ".", "e", "E", "+", " ",
            "\n", "{\"", "a", "é", "]", "}", "\"}", "\":", "true", "u",
        ];
        let ids = model.text.encode(texts[self.roll(texts.len())]).unwrap();
        ids[self.roll(ids.len())]
    }
}

const BUDGET: usize = 400;

/// The gateway's loop against a host that rolls dice. Gives the text, and how many ids fell back.
fn answer(model: &Model, schema: &Value, dice: &mut Dice) -> (String, usize) {
    let mut grammar = model.grammar(schema);
    let mut ids = Vec::new();
    let mut fallbacks = 0;
    while !grammar.must_end() {
        assert!(
            ids.len() < BUDGET,
            "no end: {:?}",
            model.text.decode(&ids, false)
        );
        let forced = grammar.forced();
        if !forced.is_empty() {
            for id in forced {
                assert!(grammar.allows(id).unwrap(), "forced what is forbidden");
                grammar.take(id).unwrap();
                ids.push(id);
            }
            continue;
        }
        let candidates: Vec<u32> = (0..20).map(|_| dice.id(model)).collect();
        let spent = ids.len() >= BUDGET / 2;
        let chosen = candidates
            .into_iter()
            .find(|id| !spent && grammar.allows(*id).unwrap());
        let id = chosen.unwrap_or_else(|| {
            fallbacks += 1;
            grammar.fallback().unwrap().expect("no way to the end")
        });
        assert!(
            grammar.allows(id).unwrap(),
            "fell back on what is forbidden"
        );
        grammar.take(id).unwrap();
        ids.push(id);
    }
    assert!(grammar.may_end() && grammar.forced().is_empty());
    (model.text.decode(&ids, true).unwrap(), fallbacks)
}

fn schemas() -> Vec<Value> {
    vec![
        json!({"type": "object", "properties": {
            "name": {"type": "string", "maxLength": 12},
            "age": {"type": "integer", "minimum": 0, "maximum": 150},
            "home": {"type": "object", "properties": {
                "city": {"type": "string", "minLength": 3}, "zip": {"type": "number"},
            }, "required": ["city"], "additionalProperties": false},
        }, "required": ["name", "home"], "additionalProperties": false}),
        json!({"type": "object", "properties": {
            "kind": {"enum": ["New York", "New Jersey", 7, null, true, ["a", 1.5]]},
            "fixed": {"const": {"a": [1, "<|im_end|>"]}},
        }, "required": ["kind", "fixed"]}),
        json!({"type": "array", "items": {"type": "number"}, "minItems": 2, "maxItems": 5}),
        json!({"type": "array", "items": {"$ref": "#/$defs/node"}, "$defs": {"node": {
            "anyOf": [{"type": "object", "properties": {"next": {"$ref": "#/$defs/node"}},
                "required": ["next"], "additionalProperties": false}, {"type": "boolean"}],
        }}}),
        json!({"type": "object", "properties": {
            "a": {"type": "integer"},
            "b": {"type": "string", "pattern": "^x[a-c]*-(aa|bb)+d$"},
            "c": {"type": "string", "format": "date"},
        }, "required": ["a"], "additionalProperties": {"type": ["string", "null"]}}),
        json!({"type": "object", "minProperties": 1}),
        json!({"type": "object"}),
        json!({}),
    ]
}

#[test]
fn nonsense_ends_within_the_budget_and_follows_the_schema() {
    for model in models() {
        for (number, schema) in schemas().iter().enumerate() {
            let mut fallbacks = 0;
            for seed in 0..25 {
                let mut dice = Dice(seed << 8 | number as u64);
                let (text, fell_back) = answer(&model, schema, &mut dice);
                fallbacks += fell_back;
                let value: Value = serde_json::from_str(&text)
                    .unwrap_or_else(|error| panic!("schema {number}: {error}: {text}"));
                check(schema, schema, &value)
                    .unwrap_or_else(|broken| panic!("schema {number}: {broken}: {text}"));
            }
            assert!(fallbacks > 0, "schema {number} was never in the way");
        }
    }
}

/// A schema of the keywords that [`check`] knows.
fn any_schema(dice: &mut Dice, depth: usize) -> Value {
    let pair = |dice: &mut Dice, sides: usize| {
        let low = dice.roll(sides);
        (low, low + dice.roll(sides))
    };
    match dice.roll(if depth == 0 { 6 } else { 9 }) {
        0 => json!({"type": ["boolean", "null"]}),
        1 => json!({"enum": ["a", "ab", dice.roll(100), -0.5, null, {"a": [true]}]}),
        2 | 3 => {
            let kind = ["number", "integer"][dice.roll(2)];
            let (low, high) = pair(dice, 100_000);
            let scale = [1.0, 10.0, 1000.0][dice.roll(3)];
            let low = low as f64 / scale - dice.roll(2000) as f64;
            let high = low.ceil() + high as f64 / scale;
            match dice.roll(3) {
                0 => json!({"type": kind, "minimum": low}),
                1 => json!({"type": kind, "maximum": high}),
                _ => json!({"type": kind, "minimum": low, "maximum": high}),
            }
        }
        4 => json!({"type": "string"}),
        5 => {
            let (low, high) = pair(dice, 8);
            json!({"type": "string", "minLength": low, "maxLength": high})
        }
        6 => {
            let (low, high) = pair(dice, 3);
            json!({"type": "array", "items": any_schema(dice, depth - 1), "minItems": low,
                "maxItems": high})
        }
        7 => json!({"anyOf": [any_schema(dice, depth - 1), any_schema(dice, depth - 1)]}),
        _ => {
            let names = ["b", "a", "a\"\u{1}é", "<|im_end|>", ""];
            let names = &names[..dice.roll(names.len() + 1)];
            let mut properties = serde_json::Map::new();
            for name in names {
                properties.insert((*name).into(), any_schema(dice, depth - 1));
            }
            let required: Vec<&&str> = names.iter().filter(|_| dice.roll(2) == 0).collect();
            let others = [json!(false), json!(true), any_schema(dice, 0)];
            json!({"type": "object", "properties": properties, "required": required,
                "additionalProperties": others[dice.roll(3)]})
        }
    }
}

#[test]
fn nonsense_follows_any_schema() {
    for model in models() {
        for seed in 0..200 {
            let mut dice = Dice(seed);
            let schema = any_schema(&mut dice, 2);
            for _ in 0..3 {
                let (text, _) = answer(&model, &schema, &mut dice);
                let value: Value = serde_json::from_str(&text)
                    .unwrap_or_else(|error| panic!("{schema}: {error}: {text}"));
                check(&schema, &schema, &value)
                    .unwrap_or_else(|broken| panic!("{schema}: {broken}: {text}"));
            }
        }
    }
}

/// As much of JSON Schema as the schemas above need.
fn check(root: &Value, schema: &Value, value: &Value) -> Result<(), String> {
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
            ("minimum", Value::Number(found)) => found.as_f64().unwrap() >= number,
            ("maximum", Value::Number(found)) => found.as_f64().unwrap() <= number,
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

#[test]
fn what_is_not_supported_is_refused_by_name() {
    let model = fixture();
    let deep = (0..100).fold(json!({}), |inner, _| json!({"items": inner}));
    let defs: serde_json::Map<String, Value> = (0..900)
        .map(|i| {
            let next = format!("#/$defs/{}", i + 1);
            (
                i.to_string(),
                json!({"type": "array", "items": {"$ref": next}}),
            )
        })
        .chain([("900".to_owned(), json!(true))])
        .collect();
    let chain = json!({"$ref": "#/$defs/0", "$defs": defs});
    let wide: serde_json::Map<String, Value> =
        (0..30_000).map(|i| (i.to_string(), json!(true))).collect();
    for (schema, named) in [
        (json!({"type": "array", "uniqueItems": true}), "uniqueItems"),
        (
            json!({"type": "array", "contains": {"const": 1}}),
            "contains",
        ),
        (json!({"not": {"type": "string"}}), "not"),
        (json!({"if": {"type": "string"}, "then": {}}), "if"),
        (
            json!({"type": "object", "propertyNames": {"maxLength": 3}}),
            "propertyNames",
        ),
        (
            json!({"type": "object", "dependentRequired": {"a": ["b"]}}),
            "dependentRequired",
        ),
        (
            json!({"type": "object", "unevaluatedProperties": false}),
            "unevaluatedProperties",
        ),
        (
            json!({"type": "object", "minProperties": 2}),
            "minProperties",
        ),
        (json!({"type": "string", "format": "iri"}), "iri"),
        (
            json!({"type": "string", "pattern": "(?=a)b"}),
            "look-around",
        ),
        (json!({"type": "text"}), "text"),
        (json!({"$ref": "https://example.com/a"}), "$ref"),
        (json!({"$ref": "#/$defs/none"}), "none"),
        (
            json!({"oneOf": [{"type": "number"}, {"type": "number", "minimum": 3}]}),
            "oneOf",
        ),
        (json!({"enum": []}), "anyOf is empty"),
        (json!({"const": 9_007_199_254_740_993_u64}), "2^53"),
        (json!({"type": "number", "minimum": 1e20}), "2^53"),
        (
            json!({"type": "integer", "minimum": 3, "maximum": 2}),
            "nsatisfiable",
        ),
        (json!(false), "object"),
        (json!([1]), "object"),
        (
            json!({"$ref": "#/$defs/a", "$defs": {"a": {"type": "array", "minItems": 1,
            "items": {"$ref": "#/$defs/a"}}}}),
            "no answer",
        ),
        (deep, "64 levels"),
        (chain, "1000"),
        (
            Value::Object(
                [("properties".to_owned(), Value::Object(wide))]
                    .into_iter()
                    .collect(),
            ),
            "20000 values",
        ),
    ] {
        let error = Grammar::json_schema(&model.vocabulary, &schema).err();
        let message = error.expect("accepted").to_string();
        assert!(message.contains(named), "{named}: {message}");
        assert!(
            message.starts_with("JSON schema: ") && message.len() < 400,
            "{message}"
        );
    }
}

#[test]
fn long_chains_of_references_need_no_stack_of_the_caller() {
    let model = fixture();
    let defs: serde_json::Map<String, Value> = (0..240)
        .map(|i| {
            let next = json!({"$ref": format!("#/$defs/{}", i + 1)});
            (i.to_string(), json!({"anyOf": [next, {"const": i}]}))
        })
        .chain([("240".to_owned(), json!({"type": "null"}))])
        .collect();
    let chain = json!({"$ref": "#/$defs/0", "$defs": defs});
    for answer in ["null", "7", "239"] {
        assert!(model.follows(&chain, answer), "{answer}");
    }
    assert!(!model.follows(&chain, "240"));
}

#[test]
fn schemas_too_large_to_be_followed_are_refused_before_anything_is_sent() {
    let model = fixture();
    let optional = |count: usize| -> Value {
        let names = (0..count).map(|i| (format!("p{i}"), json!({"type": "null"})));
        let properties: serde_json::Map<String, Value> = names.collect();
        json!({"type": "object", "properties": properties, "additionalProperties": false})
    };
    assert!(model.follows(&optional(500), r#"{"p0":null, "p499":null}"#));
    let error = Grammar::json_schema(&model.vocabulary, &optional(5000)).err();
    let message = error.unwrap().to_string();
    assert!(message.contains("too many ways"), "{message}");
}

#[test]
fn white_space_is_at_most_one_space_behind_a_comma_or_a_colon() {
    for model in models() {
        let schema = json!({"type": "object"});
        for answer in [
            r#"{"a": 1, "b":[1,2, 3]}"#,
            r#" {"a":{}}"#,
            r#"{"a": "  \n \\ \" x"}"#,
            r#"{"a b":"é€😀"}"#,
            "{}",
        ] {
            assert!(model.follows(&schema, answer), "{answer}");
        }
        for answer in [
            "{ }",
            "  {}",
            "{\n\"a\":1}",
            r#"{"a":  1}"#,
            r#"{"a" : 1}"#,
            r#"{"a":1 }"#,
            "{} ",
            r#"{"a":1"#,
            "[]",
            r#"{"a":"\u0061"}"#,
            "{\"a\":\"\n\"}",
            r#"{"a":01}"#,
            r#"{"a":1e100}"#,
            "{}<|im_start|>",
            r#"{"a":"<|im_start|>"}"#,
            r#"{"a":"<|im_end|>"}"#,
        ] {
            assert!(!model.follows(&schema, answer), "{answer}");
        }
    }
}

#[test]
fn a_name_cannot_be_spelled_as_another_property() {
    let model = fixture();
    let schema = json!({"type": "object", "properties": {"a": {"type": "integer"}}});
    assert!(model.follows(&schema, r#"{"a":1,"b":"x"}"#));
    for answer in [
        r#"{"a":1,"a":"x"}"#,
        r#"{"a":1,"\u0061":"x"}"#,
        r#"{"a":"x"}"#,
    ] {
        assert!(!model.follows(&schema, answer), "{answer}");
    }
}

#[test]
fn forced_ids_are_the_tokenizers() {
    for model in models() {
        let schema = json!({"type": "object", "properties": {
            "temperature": {"type": "integer"}, "unit": {"enum": ["New York", "New Jersey"]},
        }, "required": ["temperature", "unit"], "additionalProperties": false});
        let mut grammar = model.grammar(&schema);
        let answer = r#"{"temperature": 21, "unit": "New York"}"#;
        let ids = model.text.encode(answer).unwrap();
        let mut saved = 0;
        for (at, id) in ids.iter().enumerate() {
            let forced = grammar.forced();
            assert!(ids[at..].starts_with(&forced), "{at}: {forced:?} {ids:?}");
            saved += usize::from(!forced.is_empty());
            assert!(grammar.allows(*id).unwrap() && !grammar.must_end());
            grammar.take(*id).unwrap();
        }
        assert!(grammar.must_end() && grammar.may_end());
        assert!(saved * 3 > ids.len(), "{saved} of {}", ids.len());
    }
}

#[test]
fn a_number_may_end_and_go_on() {
    let model = fixture();
    let mut grammar = model.grammar(&json!({"type": "integer"}));
    assert!(!grammar.allows(END).unwrap());
    grammar.take(b'7'.into()).unwrap();
    assert!(grammar.may_end() && !grammar.must_end());
    assert!(grammar.allows(END).unwrap() && grammar.allows(b'8'.into()).unwrap());
    assert!(!grammar.allows(256).unwrap(), "a special token");
    assert_eq!(grammar.fallback().unwrap(), Some(258));
    grammar.take(END).unwrap();
    assert!(grammar.must_end() && !grammar.allows(END).unwrap());
    assert_eq!(grammar.fallback().unwrap(), None);
    let error = grammar.take(b'8'.into()).unwrap_err().to_string();
    assert!(error.contains("forbids"), "{error}");
}

#[test]
fn a_grammar_can_go_to_another_thread() {
    fn sendable<T: Send>() {}
    fn shareable<T: Send + Sync>() {}
    sendable::<Grammar>();
    shareable::<GrammarVocabulary>();
}
