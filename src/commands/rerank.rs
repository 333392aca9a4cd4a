use anyhow::Result;
use serde_json::json;

use crate::args::Rerank;
use crate::commands::ask::runtime;
use crate::commands::encoder::{Remote, batch, demand_texts, texts};
use crate::terminal::Terminal;

/// A document of the arguments.
struct Ranked {
    index: usize,
    score: f64,
    truncated: bool,
}

pub(super) fn run(args: &Rerank) -> Result<()> {
    runtime()?.block_on(rerank(args))
}

async fn rerank(args: &Rerank) -> Result<()> {
    let remote = Remote::open(&args.encoder).await?;
    let query = format!("{}{}", remote.owner().prompt(None)?, args.query);
    let mut documents = texts(&args.documents).enumerate();
    let mut ranked: Vec<Ranked> = Vec::new();
    loop {
        let encode = |number, text: &str| remote.encode_pair(number, &query, text);
        let pairs = batch(&mut documents, args.batch.batch, encode)?;
        if pairs.is_empty() {
            break;
        }
        let scores = remote.session.rerank(&remote.host, &pairs).await?;
        for (score, pair) in scores.into_iter().zip(&pairs) {
            ranked.push(Ranked {
                index: ranked.len(),
                score,
                truncated: pair.truncated(),
            });
        }
    }
    demand_texts(ranked.len())?;
    // The sort is stable: of equal ones the earlier comes first.
    ranked.sort_by(|a, b| b.score.total_cmp(&a.score));
    ranked.truncate(args.top.map_or(usize::MAX, |top| top as usize));
    let mut terminal = Terminal::new();
    for document in &ranked {
        let mut line = json!({ "index": document.index, "score": document.score });
        if document.truncated {
            line["truncated"] = true.into();
        }
        terminal.line(&line.to_string())?;
    }
    Ok(())
}
