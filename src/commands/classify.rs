use anyhow::Result;
use equicrypt_gateway::{LabelledToken, Prepared};
use equicrypt_spec::Task;
use serde_json::{Map, Value, json};

use crate::args::Classify;
use crate::commands::ask::runtime;
use crate::commands::encoder::{Remote, batch, demand_texts, texts};
use crate::terminal::Terminal;

pub(super) fn run(args: &Classify) -> Result<()> {
    runtime()?.block_on(classify(args))
}

async fn classify(args: &Classify) -> Result<()> {
    let remote = Remote::open(&args.encoder).await?;
    let mut terminal = Terminal::new();
    let mut texts = texts(&args.texts).enumerate();
    let mut done = 0;
    loop {
        let encode = |number, text: &str| remote.encode(number, text);
        let texts = batch(&mut texts, args.batch.batch, encode)?;
        if texts.is_empty() {
            return demand_texts(done);
        }
        for (mut line, text) in lines(&remote, &texts).await?.into_iter().zip(&texts) {
            if text.truncated() {
                line["truncated"] = true.into();
            }
            terminal.line(&line.to_string())?;
        }
        done += texts.len();
    }
}

async fn lines(remote: &Remote, texts: &[Prepared]) -> Result<Vec<Value>> {
    let (session, host) = (&remote.session, &remote.host);
    let names = remote.owner().labels();
    if remote.owner().config().task == Task::TokenLabels {
        let all = session.label_tokens(host, texts).await?;
        let line = |tokens: Vec<LabelledToken>| {
            let tokens = tokens.iter().map(|token| labelled(token, names));
            json!({ "tokens": tokens.collect::<Vec<_>>() })
        };
        return Ok(all.into_iter().map(line).collect());
    }
    let all = session.classify(host, texts).await?;
    let line = |scores: &Vec<f64>| {
        let named = names
            .iter()
            .cloned()
            .zip(scores.iter().map(|score| json!(score)));
        let named: Map<String, Value> = named.collect();
        json!({ "label": best(scores, names).map(|(name, _)| name), "scores": named })
    };
    Ok(all.iter().map(line).collect())
}

fn labelled(token: &LabelledToken, names: &[String]) -> Value {
    let best = best(&token.scores, names);
    json!({
        "token": token.piece,
        "label": best.map(|(name, _)| name),
        "score": best.map(|(_, score)| score),
        "start": token.span.start,
        "end": token.span.end,
    })
}

/// The label with the largest number; of equal ones the first.
fn best<'a>(scores: &[f64], names: &'a [String]) -> Option<(&'a str, f64)> {
    let scores = names.iter().zip(scores.iter().copied()).rev();
    let best = scores.max_by(|a, b| a.1.total_cmp(&b.1));
    best.map(|(name, score)| (name.as_str(), score))
}

#[cfg(test)]
mod tests {
    use super::best;

    #[test]
    fn the_largest_wins_and_of_equal_ones_the_first() {
        let names = ["a", "b", "c"].map(str::to_owned);
        assert_eq!(best(&[0.1, 0.7, 0.2], &names), Some(("b", 0.7)));
        assert_eq!(best(&[0.5, 0.5, 0.0], &names), Some(("a", 0.5)));
        assert_eq!(best(&[], &[]), None);
    }
}
