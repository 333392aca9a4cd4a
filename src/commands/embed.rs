use anyhow::Result;
use equicrypt_cipher::VectorCipher;
use equicrypt_gateway::Prepared;
use serde::Serialize;

use crate::args::Embed;
use crate::commands::ask::runtime;
use crate::commands::encoder::{Remote, batch, demand_texts, texts};
use crate::terminal::Terminal;

/// A line of the output.
#[derive(Serialize)]
struct Embedding {
    embedding: Vec<f32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    nonce: Option<String>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    truncated: bool,
}

pub(super) fn run(args: &Embed) -> Result<()> {
    runtime()?.block_on(embed(args))
}

async fn embed(args: &Embed) -> Result<()> {
    let remote = Remote::open(&args.encoder).await?;
    let prompt = remote.owner().prompt(args.prompt.as_deref())?;
    let database = match args.encrypted {
        true => Some(cipher(&remote, args.perturb)?),
        false => None,
    };
    let mut terminal = Terminal::new();
    let mut texts = texts(&args.texts).enumerate();
    let mut done = 0;
    loop {
        let encode = |number, text: &str| remote.encode(number, &format!("{prompt}{text}"));
        let texts = batch(&mut texts, args.batch.batch, encode)?;
        if texts.is_empty() {
            return demand_texts(done);
        }
        for line in lines(args, &remote, database.as_ref(), &texts).await? {
            terminal.line(&serde_json::to_string(&line)?)?;
        }
        done += texts.len();
    }
}

fn cipher(remote: &Remote, beta: f64) -> Result<VectorCipher> {
    let width = remote.session.embedding_width()?;
    let width = width.min(remote.owner().truncate_dim().unwrap_or(width));
    let (key, manifest) = (&remote.key, &remote.manifest);
    Ok(VectorCipher::open(key, manifest, width, beta)?)
}

async fn lines(
    args: &Embed,
    remote: &Remote,
    database: Option<&VectorCipher>,
    texts: &[Prepared],
) -> Result<Vec<Embedding>> {
    let (session, host) = (&remote.session, &remote.host);
    let mut lines = Vec::with_capacity(texts.len());
    if args.as_host {
        let vectors = session.embed_as_host(host, texts).await?;
        lines.extend(vectors.into_iter().map(|vector| (vector, None)));
    } else {
        for vector in session.embed(host, texts).await? {
            lines.push(match database {
                None => (rounded(&vector), None),
                Some(cipher) => {
                    let encrypted = cipher.encrypt(&vector)?;
                    let nonce = encrypted.nonce.map(|nonce| nonce.to_string());
                    (rounded(&encrypted.values), nonce)
                }
            });
        }
    }
    let lines = lines.into_iter().zip(texts);
    let line = |((embedding, nonce), text): ((Vec<f32>, Option<String>), &Prepared)| Embedding {
        embedding,
        nonce,
        truncated: text.truncated(),
    };
    Ok(lines.map(line).collect())
}

fn rounded(values: &[f64]) -> Vec<f32> {
    values.iter().map(|value| *value as f32).collect()
}
