use serde_json::Value;

use crate::refusal::Refusal;

/// `prompt`: a list of ids, or a list of at most `most` such lists.
pub(super) fn read(prompt: Option<&Value>, most: usize) -> Result<Vec<Vec<u32>>, Refusal> {
    let wrong = |found: &str| {
        Refusal::field(
            "prompt",
            format!("prompt: expected a list of token ids, or a list of such lists, found {found}"),
        )
    };
    let list = match prompt {
        None => return Err(wrong("nothing")),
        Some(Value::String(_)) => return Err(text()),
        Some(Value::Array(list)) => list,
        Some(_) => return Err(wrong("another JSON value")),
    };
    match list.first() {
        None => Err(wrong("an empty list")),
        Some(Value::String(_)) => Err(text()),
        Some(Value::Array(_)) if list.len() > most => Err(Refusal::field(
            "prompt",
            format!(
                "prompt: expected at most {most} prompts, as this host is set up, found {}",
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

fn text() -> Refusal {
    Refusal::field(
        "prompt",
        "prompt: this host has no tokenizer; send token ids",
    )
}
