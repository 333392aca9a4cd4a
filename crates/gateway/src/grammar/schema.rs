use std::collections::BTreeSet;
use std::sync::Arc;
use std::thread;

use llguidance::api::{ParserLimits, TopLevelGrammar};
use llguidance::toktrie::{ApproximateTokEnv, InferenceCapabilities, TokEnv, TokRxInfo, TokTrie};
use llguidance::{JsonCompileOptions, Matcher, ParserFactory};
use serde_json::{Value, json};

use super::finish::completion;
use super::guard::Guard;
use crate::Error;

/// Makes parsers of bytes: their vocabulary is the 256 bytes, the ids of which are the bytes, and
/// an end that is never used. The model's vocabulary stays out of the parser.
pub(super) fn byte_parsers() -> Result<ParserFactory, Error> {
    let mut words: Vec<Vec<u8>> = (0..=255).map(|byte| vec![byte]).collect();
    words.push([&[TokTrie::SPECIAL_TOKEN_MARKER][..], b"<end>"].concat());
    let trie = TokTrie::from(&TokRxInfo::new(257, 256), &words);
    let bytes: TokEnv = Arc::new(ApproximateTokEnv::new(trie));
    let parsers = ParserFactory::new(&bytes, InferenceCapabilities::default(), &[]);
    let mut parsers = parsers.map_err(|_| Error::Grammar {
        problem: "has no parser",
    })?;
    parsers.quiet();
    *parsers.limits_mut() = ParserLimits {
        max_lexer_states: LEXER_STATES,
        verbose_errors: false,
        ..ParserLimits::default()
    };
    Ok(parsers)
}

/// A parser of the bytes of a JSON text that follows the schema.
///
/// Between values there is nothing, or one space behind a comma or a colon: what models are used to
/// write on one line, and nothing that could be repeated. `\uNNNN` is not written, since letters
/// need none, and a name that is written with it could be that of another property.
pub(super) fn compile(parsers: &ParserFactory, schema: &Value) -> Result<Matcher, Error> {
    let mut schema = match schema {
        Value::Object(_) => schema.clone(),
        Value::Bool(true) => json!({}),
        _ => return Err(refused("expected an object")),
    };
    survey(&schema)?;
    let options = JsonCompileOptions {
        item_separator: ", ?".into(),
        key_separator: ": ?".into(),
        whitespace_flexible: false,
        json_allowed_escapes: Some("nrbtf\\\"".into()),
        ..JsonCompileOptions::default()
    };
    options.apply_to(&mut schema);
    let grammar = TopLevelGrammar::from_json_schema(schema);
    // References are followed by recursion, which the caller's stack need not bear.
    let parser = thread::scope(|scope| {
        let builder = thread::Builder::new().stack_size(STACK);
        let worker = builder.spawn_scoped(scope, || parsers.create_parser(grammar));
        worker.ok()?.join().ok()
    });
    let parser = parser.ok_or(Error::Grammar {
        problem: "could not be made, the system gives no thread",
    })?;
    let parser = parser.map_err(|error| refused(&words(&error.to_string())))?;
    let matcher = Matcher::new(Ok(parser));
    match completion(&matcher, Guard::default()) {
        Ok(Some(_)) => Ok(matcher),
        Ok(None) => Err(refused("no answer that follows it was found")),
        Err(_) => Err(refused("it has too many ways to go on")),
    }
}

/// Refuses what would take too much, and what the parser would follow but not exactly.
fn survey(schema: &Value) -> Result<(), Error> {
    let mut survey = Survey::default();
    let mut levels = survey.visit(schema, 1)?;
    for reference in survey.references {
        let target = reference.strip_prefix('#').and_then(|p| schema.pointer(p));
        levels += target.map_or(0, height);
    }
    if levels > LEVELS {
        return Err(refused(&format!(
            "its references nest {levels} levels, at most {LEVELS} are followed"
        )));
    }
    Ok(())
}

#[derive(Default)]
struct Survey {
    values: usize,
    references: BTreeSet<String>,
}

impl Survey {
    /// Gives the height of the value.
    fn visit(&mut self, value: &Value, depth: usize) -> Result<usize, Error> {
        self.values += 1;
        if depth > DEPTH {
            return Err(refused(&format!("it nests deeper than {DEPTH} levels")));
        }
        if self.values > VALUES {
            return Err(refused(&format!("it has more than {VALUES} values")));
        }
        let mut highest = 0;
        match value {
            Value::Array(items) => {
                for item in items {
                    highest = highest.max(self.visit(item, depth + 1)?);
                }
            }
            Value::Object(fields) => {
                if let Some(reference) = fields.get("$ref").and_then(Value::as_str) {
                    self.references.insert(reference.to_owned());
                }
                // A name may come twice, of which a reader counts one.
                let least = fields.get("minProperties").and_then(Value::as_u64);
                let required = fields.get("required").and_then(Value::as_array);
                if least.unwrap_or(0) > required.map_or(1, |names| names.len().max(1) as u64) {
                    return Err(refused(
                        "minProperties is not supported above the number of required properties",
                    ));
                }
                for field in fields.values() {
                    highest = highest.max(self.visit(field, depth + 1)?);
                }
            }
            // The parser takes numbers for f64 with an integer part in i64: larger ones would be
            // others.
            Value::Number(number) => {
                let integer = number.as_i64().map(i64::unsigned_abs).or(number.as_u64());
                let size = number.as_f64().map_or(f64::INFINITY, f64::abs);
                if integer.is_some_and(|integer| integer > EXACT) || size > EXACT as f64 {
                    return Err(refused("it has a number beyond 2^53"));
                }
            }
            Value::Null | Value::Bool(_) | Value::String(_) => {}
        }
        Ok(highest + 1)
    }
}

/// Of a value that was visited, so its recursion is bounded.
fn height(value: &Value) -> usize {
    let inner = match value {
        Value::Array(items) => items.iter().map(height).max(),
        Value::Object(fields) => fields.values().map(height).max(),
        _ => None,
    };
    inner.unwrap_or(0) + 1
}

fn refused(reason: &str) -> Error {
    Error::Schema {
        reason: reason.to_owned(),
    }
}

/// The parser's own words name what is not supported; a panic's do not.
fn words(message: &str) -> String {
    if message.starts_with("panic") {
        return "it cannot be compiled".into();
    }
    let words: Vec<&str> = message.split_whitespace().collect();
    words.join(" ").chars().take(200).collect()
}

/// About 1 kB each.
const LEXER_STATES: usize = 50_000;
const VALUES: usize = 20_000;
const DEPTH: usize = 64;
const LEVELS: usize = 1000;
const STACK: usize = 64 << 20;
const EXACT: u64 = 1 << 53;
