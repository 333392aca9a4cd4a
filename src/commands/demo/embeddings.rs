use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use equicrypt_cipher::{CipherIds, MasterKey, Options};
use equicrypt_gateway::{CipherText, EncoderOwner, EncoderSession, Expected, Host, Long, Prepared};
use equicrypt_spec::MANIFEST_FILE;
use serde_json::{Value, json};

use super::options;
use super::show::Show;
use crate::commands::ask::runtime;
use crate::commands::encrypt::encrypt;
use crate::commands::host_process::HostProcess;
use crate::commands::tokens::read_manifest;

/// The same sentences embedded by the plain and by the encrypted model, both in processes of their own.
pub(super) fn run(show: &mut Show, scratch: &Path, model: &Path, key: &MasterKey) -> Result<Value> {
    let start = Instant::now();
    let encrypted = scratch.join("encrypted");
    let options = Options {
        rotate_output: true,
        ..options()
    };
    let summary = encrypt(model, &encrypted, key, &options)?;
    let written = format!(
        "{} tensors, {} MB, profile permute, rotated output",
        summary.tensors,
        summary.bytes / 1_000_000
    );
    show.step("encrypt", &written, start)?;
    let start = Instant::now();
    let hosts = [HostProcess::start(&encrypted)?, HostProcess::start(model)?];
    let started = format!(
        "process {}, on {}: started with the encrypted folder and nothing else",
        hosts[0].id(),
        hosts[0].url()
    );
    show.step("host", &started, start)?;

    let manifest = read_manifest(&encrypted.join(MANIFEST_FILE))?;
    let session = EncoderSession::open(EncoderOwner::open(model)?, key, &manifest)?;
    let texts = SENTENCES
        .iter()
        .map(|text| session.owner().encode(text, Long::Truncate));
    let texts: Vec<Prepared> = texts.collect::<Result<_, _>>()?;
    let cipher = texts.iter().map(|text| session.encrypt(text));
    let cipher: Vec<CipherText> = cipher.collect::<Result<_, _>>()?;
    // The demo's sentences are no secret: the plain model has to see them to be compared with.
    let public = texts.iter().map(|text| {
        let ids = CipherIds::of_public_text(text.ids().to_vec());
        CipherText::new(ids, text.token_types().to_vec())
    });
    let public: Vec<CipherText> = public.collect();

    let width = session.embedding_width();
    let expected = Expected {
        vocab_size: session.vocab_size(),
        width: width.context("the model gives no sentence embeddings")?,
    };
    let runtime = runtime()?;
    let ask = |host: &HostProcess, texts: &[CipherText]| -> Result<Vec<Vec<f64>>> {
        let host = Host::new(host.url(), None)?;
        let vectors = runtime.block_on(host.embeddings(texts, expected))?;
        let exact = |vector: Vec<f32>| vector.into_iter().map(f64::from).collect();
        Ok(vectors.into_iter().map(exact).collect())
    };
    let returned = ask(&hosts[0], &cipher)?;
    let plain = ask(&hosts[1], &public)?;
    let decrypted = returned.iter().map(|vector| {
        let single: Vec<f32> = vector.iter().map(|value| *value as f32).collect();
        session.decrypt_embedding(&single)
    });
    let decrypted: Vec<Vec<f64>> = decrypted.collect::<Result<_, _>>()?;

    let own = plain.iter().zip(&decrypted).map(|(a, b)| cosine(a, b));
    let least = own.fold(1.0, f64::min);
    let mut pairs = Vec::new();
    let mut rows = vec![["similarity of".into(), "plain".into(), "decrypted".into()]];
    let mut worst = 0.0_f64;
    for (a, b) in (0..plain.len()).flat_map(|a| (0..a).map(move |b| (b, a))) {
        let cosines = [
            cosine(&plain[a], &plain[b]),
            cosine(&decrypted[a], &decrypted[b]),
        ];
        worst = worst.max((cosines[0] - cosines[1]).abs());
        pairs.push(json!({ "sentences": [a, b], "plain": cosines[0], "decrypted": cosines[1] }));
        rows.push([
            format!("{} and {}", a + 1, b + 1),
            format!("{:.6}", cosines[0]),
            format!("{:.6}", cosines[1]),
        ]);
    }
    let numbers = |vector: &[f64]| {
        let first: Vec<String> = vector.iter().take(6).map(|x| format!("{x:.3}")).collect();
        format!("{} ...", first.join(" "))
    };
    show.embeddings(SENTENCES, &cipher, &returned, numbers, &rows)?;
    show.good(&format!(
        "cosines of decrypted and plain embeddings: at least 1 - {:.0e}; similarities equal to {worst:.0e}",
        1.0 - least
    ))?;
    ensure!(
        least > 0.999_999 && worst < 1e-5,
        "the encrypted model's embeddings differ from the plain model's"
    );
    Ok(json!({
        "sentences": SENTENCES,
        "host_saw": cipher.iter().map(CipherText::ids).collect::<Vec<_>>(),
        "host_returned": returned,
        "least_cosine": least,
        "similarities": pairs,
    }))
}

fn cosine(a: &[f64], b: &[f64]) -> f64 {
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()
}

const SENTENCES: &[&str] = &[
    "My invoice was charged twice this month.",
    "I was billed two times for the same order.",
    "The cat fell asleep on the warm windowsill.",
    "How do I reset my password?",
];
