//! A host that answers nonsense must still yield an answer that follows the schema.

use serde_json::{Value, json};

use super::harness::{Model, check, models};

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
