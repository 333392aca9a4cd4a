use serde_json::Value;

use super::ids::Ids;
use super::source::Source;
use crate::Error;

/// Replaces the ids of a post-processor: `special_tokens.*.ids` of a template, the second of the
/// pairs `sep` and `cls` of BERT's and RoBERTa's, and those of the parts of a sequence.
pub(super) fn rewrite(processor: &mut Value, source: &Source, ids: &Ids) -> Result<(), Error> {
    let outside = || source.refused("post_processor: an id is outside the model's vocabulary");
    let parts = match processor {
        Value::Null => return Ok(()),
        Value::Object(parts) => parts,
        _ => return Err(source.refused("post_processor: expected an object")),
    };
    let kind = parts.get("type").and_then(Value::as_str).map(str::to_owned);
    if let Some(Value::Array(sequence)) = parts.get_mut("processors") {
        return sequence
            .iter_mut()
            .try_for_each(|part| rewrite(part, source, ids));
    }
    if let Some(Value::Object(tokens)) = parts.get_mut("special_tokens") {
        for token in tokens.values_mut() {
            let list = token.get_mut("ids");
            if !list.is_some_and(|list| ids.replace(list)) {
                return Err(outside());
            }
        }
        return Ok(());
    }
    if parts.contains_key("sep") && parts.contains_key("cls") {
        for name in ["sep", "cls"] {
            let id = parts.get_mut(name).and_then(|pair| pair.get_mut(1));
            if !id.is_some_and(|id| ids.replace(id)) {
                return Err(outside());
            }
        }
        return Ok(());
    }
    match kind.as_deref() {
        Some("ByteLevel") => Ok(()),
        _ => Err(source.refused("post_processor: of a kind that is not known")),
    }
}
