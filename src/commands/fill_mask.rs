use anyhow::Result;
use equicrypt_gateway::Candidate;
use serde_json::{Value, json};

use crate::args::FillMask;
use crate::commands::ask::runtime;
use crate::commands::encoder::Remote;
use crate::terminal::Terminal;

pub(super) fn run(args: &FillMask) -> Result<()> {
    runtime()?.block_on(fill_mask(args))
}

async fn fill_mask(args: &FillMask) -> Result<()> {
    let remote = Remote::open(&args.encoder).await?;
    let text = remote.encode(0, &args.text)?;
    let (session, host) = (&remote.session, &remote.host);
    let masks = session.fill_mask(host, &text, args.top.into()).await?;
    let mut terminal = Terminal::new();
    for candidates in &masks {
        let candidates = candidates.iter().map(|candidate| named(&remote, candidate));
        let candidates = candidates.collect::<Result<Vec<_>>>()?;
        let mut line = json!({ "candidates": candidates });
        if text.truncated() {
            line["truncated"] = true.into();
        }
        terminal.line(&line.to_string())?;
    }
    Ok(())
}

fn named(remote: &Remote, candidate: &Candidate) -> Result<Value> {
    Ok(json!({
        "token": remote.owner().piece(candidate.id),
        "text": remote.owner().decode(&[candidate.id])?,
        "score": candidate.probability,
    }))
}
