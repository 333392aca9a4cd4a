mod encoder;

use std::path::Path;

use anyhow::{Context, Result, bail};
use equicrypt_audit::{Fidelity, Limits, PROMPTS, compare};
use equicrypt_checkpoint::Checkpoint;
use equicrypt_cipher::Vocabulary;
use equicrypt_engine::{Decoder, Precision};
use equicrypt_gateway::Owner;
use equicrypt_spec::MANIFEST_FILE;
use serde_json::json;

use crate::args::Verify;
use crate::commands::ask::conversation;
use crate::commands::tokens::read_manifest;
use crate::terminal::{Ink, Terminal};
use crate::{key, progress};

pub(super) fn run(args: &Verify) -> Result<()> {
    let manifest = read_manifest(&args.encrypted.join(MANIFEST_FILE))?;
    let key = key::open(&args.key)?;
    let vocabulary = Vocabulary::open(&key, &manifest)?;
    let plain = Checkpoint::open(&args.model)?;
    let fingerprint = plain.fingerprint()?;
    if fingerprint != manifest.fingerprint()? {
        bail!(
            "{} is not the original of {}: its fingerprint differs from the manifest's source_fingerprint",
            args.model.display(),
            args.encrypted.display()
        );
    }
    let encrypted = Checkpoint::open(&args.encrypted)?;
    if plain.model_config()?.task.is_of_encoder() {
        return encoder::run(args, &key, &manifest, [&plain, &encrypted]);
    }
    let busy = progress::spinner("running both models on the same prompts".into());
    let plain_model = Decoder::load(&plain, Precision::F32)
        .with_context(|| format!("in {}", args.model.display()))?;
    let encrypted_model = Decoder::load(&encrypted, Precision::F32)
        .with_context(|| format!("in {}", args.encrypted.display()))?;
    let prompts = prompts(&args.model)?;
    let greedy = usize::from(args.greedy_tokens);
    let fidelity = compare(
        &plain_model,
        &encrypted_model,
        &vocabulary,
        &prompts,
        greedy,
    )?;
    busy.finish_and_clear();

    let mut limits = Limits::of(&manifest);
    if let Some(most) = args.max_kl {
        limits = Limits {
            mean_kl: most,
            top1_agreement: 0.0,
            greedy_identical: false,
        };
    }
    let pass = limits.hold(&fidelity);
    let mut terminal = Terminal::new();
    if args.json {
        let limits = json!(limits);
        terminal.json(&json!({ "fidelity": fidelity, "limits": limits, "pass": pass }))?;
    } else {
        show(&mut terminal, &fidelity, &limits, pass)?;
    }
    if !pass {
        bail!("the encrypted model leaves the limits of its profile");
    }
    Ok(())
}

/// The built-in prompts under the model's own tokenizer and chat template.
pub(super) fn prompts(model: &Path) -> Result<Vec<Vec<u32>>> {
    let owner = Owner::open(model)
        .context("verify needs the original's tokenizer, to make prompts of text")?;
    let ids = |text: &&str| match owner.template() {
        Some(_) => owner.prompt(&conversation(None, text)),
        None => owner.prompt_of_text(text),
    };
    Ok(PROMPTS.iter().map(ids).collect::<Result<_, _>>()?)
}

fn show(terminal: &mut Terminal, fidelity: &Fidelity, limits: &Limits, pass: bool) -> Result<()> {
    let lengths = &fidelity.greedy_match_lengths;
    let whole = lengths
        .iter()
        .filter(|length| **length == fidelity.greedy_tokens)
        .count();
    let shortest = lengths.iter().min().copied().unwrap_or(0);
    for (name, value) in [
        (
            "compared",
            format!(
                "{} prompts, {} positions, in f32",
                fidelity.prompts, fidelity.positions
            ),
        ),
        (
            "max |logit difference|",
            format!("{:.2e}", fidelity.max_logit_difference),
        ),
        (
            "mean KL",
            match limits.mean_kl {
                f64::INFINITY => format!("{:.2e} nats (no limit)", fidelity.mean_kl),
                most => format!("{:.2e} nats (limit {most:.0e})", fidelity.mean_kl),
            },
        ),
        (
            "top-1 agreement",
            format!(
                "{:.4} (limit {})",
                fidelity.top1_agreement, limits.top1_agreement
            ),
        ),
        (
            "perplexity, plain",
            format!("{:.4}", fidelity.perplexity_plain),
        ),
        (
            "perplexity, encrypted",
            format!("{:.4}", fidelity.perplexity_encrypted),
        ),
        (
            "greedy answers",
            format!(
                "{whole} of {} equal over {} tokens, the shortest match {shortest} (limit: {})",
                lengths.len(),
                fidelity.greedy_tokens,
                if limits.greedy_identical {
                    "all equal"
                } else {
                    "none"
                },
            ),
        ),
    ] {
        terminal.line(&format!("{name:24}{value}"))?;
    }
    verdict(terminal, pass)
}

fn verdict(terminal: &mut Terminal, pass: bool) -> Result<()> {
    let verdict = if pass {
        terminal.paint(Ink::Good, "pass")
    } else {
        terminal.paint(Ink::Bad, "fail")
    };
    terminal.line(&format!("{:24}{verdict}", "verdict"))
}
