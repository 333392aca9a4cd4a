use serde_json::Value;

use crate::refusal::Refusal;

/// The field `name`: a list of numbers, or a list of at most `most` such lists. `what` they are, for people.
pub(crate) fn read(
    name: &str,
    what: &str,
    value: Option<&Value>,
    most: usize,
) -> Result<Vec<Vec<u32>>, Refusal> {
    let wrong = |found: &str| {
        Refusal::field(
            name,
            format!("{name}: expected a list of {what}, or a list of such lists, found {found}"),
        )
    };
    let text = || {
        let advice = "this host has no tokenizer; send token ids";
        Refusal::field(name, format!("{name}: {advice}"))
    };
    let list = match value {
        None => return Err(wrong("nothing")),
        Some(Value::String(_)) => return Err(text()),
        Some(Value::Array(list)) => list,
        Some(_) => return Err(wrong("another JSON value")),
    };
    match list.first() {
        None => Err(wrong("an empty list")),
        Some(Value::String(_)) => Err(text()),
        Some(Value::Array(_)) if list.len() > most => Err(Refusal::field(
            name,
            format!(
                "{name}: expected at most {most} lists, as this host is set up, found {}",
                list.len()
            ),
        )),
        Some(Value::Array(_)) => list
            .iter()
            .map(|prompt| prompt.as_array().and_then(|ids| self::ids(ids)))
            .collect::<Option<_>>()
            .ok_or_else(|| wrong("something else among the lists")),
        Some(_) => Ok(vec![
            ids(list).ok_or_else(|| wrong("something else in the list"))?,
        ]),
    }
}

fn ids(list: &[Value]) -> Option<Vec<u32>> {
    list.iter()
        .map(|id| u32::try_from(id.as_u64()?).ok())
        .collect()
}
