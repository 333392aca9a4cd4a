use serde_json::{Value, json};

use crate::answer::Token;
use crate::{Error, Text};

/// `logprobs.content` of chat completions.
pub(super) fn of_chat(text: &Text, tokens: &[Token], top: usize) -> Result<Value, Error> {
    let entry = |id: u32, logprob: f64| {
        let piece = text.decode(&[id], false)?;
        let bytes = piece.as_bytes();
        Ok::<_, Error>(json!({ "token": piece, "logprob": finite(logprob), "bytes": bytes }))
    };
    let content = tokens.iter().filter_map(|token| {
        let logprob = token.logprob?;
        let one = || {
            let mut content = entry(token.id, logprob)?;
            let top = token.top.iter().take(top);
            let top: Vec<Value> = top
                .map(|(id, p)| entry(*id, *p))
                .collect::<Result<_, _>>()?;
            content["top_logprobs"] = json!(top);
            Ok::<_, Error>(content)
        };
        Some(one())
    });
    let content: Vec<Value> = content.collect::<Result<_, _>>()?;
    Ok(json!({ "content": content, "refusal": null }))
}

/// `logprobs` of completions; `offset` is where the first token begins in the text, in characters.
pub(super) fn of_completion(
    text: &Text,
    tokens: &[Token],
    top: usize,
    offset: &mut usize,
) -> Result<Value, Error> {
    let (mut names, mut values, mut tops, mut offsets) = (vec![], vec![], vec![], vec![]);
    for token in tokens {
        let Some(logprob) = token.logprob else {
            continue;
        };
        let name = text.decode(&[token.id], false)?;
        offsets.push(*offset);
        *offset += name.chars().count();
        let likeliest = token.top.iter().take(top);
        let likeliest = likeliest
            .map(|(id, p)| Ok((text.decode(&[*id], false)?, json!(finite(*p)))))
            .collect::<Result<serde_json::Map<_, _>, Error>>()?;
        names.push(name);
        values.push(finite(logprob));
        tops.push(likeliest);
    }
    Ok(json!({
        "tokens": names, "token_logprobs": values, "top_logprobs": tops, "text_offset": offsets,
    }))
}

/// JSON has no infinity; vLLM and OpenAI write this number for impossible tokens.
fn finite(logprob: f64) -> f64 {
    logprob.clamp(-9999.0, 0.0)
}
