use serde_json::{Value, json};

use super::harness::{fixture, models};
use super::{Grammar, GrammarVocabulary};
use crate::fixture::END;

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
        (json!({"type": "number", "multipleOf": 0.07}), "multipleOf"),
        (
            json!({"type": "string", "minLength": "é".repeat(99)}),
            "it cannot be compiled",
        ),
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
fn fallbacks_alone_end_soon() {
    for model in models() {
        for (schema, start, most) in [
            (
                json!({"type": "string", "pattern": "^[a-z]+\\.com$"}),
                "",
                40,
            ),
            (
                json!({"type": "string", "pattern": "^(ab)*-?x{30}$"}),
                "\"abab",
                50,
            ),
            (json!({"type": "string", "minLength": 100}), "", 110),
            (json!({"type": "array", "minItems": 40}), "[[[[[", 150),
            (
                json!({"type": "number", "multipleOf": 0.25}),
                "1234567.2",
                12,
            ),
            (json!({"type": "object"}), r#"{"a":{"b":[{"c":"\"#, 12),
        ] {
            let mut grammar = model.grammar(&schema);
            for id in model.text.encode(start).unwrap() {
                grammar.take(id).unwrap();
            }
            let mut ids = Vec::new();
            while !grammar.must_end() {
                let id = grammar.fallback().unwrap().expect("no way to the end");
                grammar.take(id).unwrap();
                ids.push(id);
                assert!(ids.len() <= most, "{schema}: {ids:?}");
            }
            let rest = model.text.decode(&ids, true).unwrap();
            let whole = format!("{start}{rest}");
            assert!(serde_json::from_str::<Value>(&whole).is_ok(), "{whole}");
        }
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
