mod copies;
mod texts;

use std::path::Path;

use anyhow::{Context, Result, bail};
use equicrypt_audit::{ATTACKS, Attack, Audit, AuditTexts, Audited, Verdict};
use equicrypt_checkpoint::{Checkpoint, model_config};
use equicrypt_spec::{MANIFEST_FILE, Manifest};

use crate::args;
use crate::commands::tokens::read_manifest;
use crate::terminal::Terminal;
use crate::{key, progress};
use copies::Copies;

pub(super) fn run(args: &args::Audit) -> Result<()> {
    let is_encoder = model_config(&args.model)?.task.is_of_encoder();
    let texts = texts::read(&args.model, is_encoder, args.text.as_deref())?;
    let (Some(encrypted), Some(key)) = (&args.encrypted, &args.key) else {
        bail!("not yet");
    };
    let audited = one(args, texts, encrypted, key)?;
    let mut terminal = Terminal::new();
    for verdict in &audited.verdicts {
        terminal.line(&format!(
            "{:18} {:7.2} {:7.2} {:?} {:.2e} {:7.2} {:.3} {:6.1}",
            verdict.attack,
            100.0 * verdict.recovered_types,
            100.0 * verdict.recovered_occurrences,
            verdict.recovered_special,
            verdict.chance,
            100.0 * verdict.control,
            verdict.spread,
            verdict.seconds
        ))?;
        for point in &verdict.curve {
            terminal.line(&format!(
                "    {} {:.4} {:.4}",
                point.effort, point.recovered_types, point.recovered_occurrences
            ))?;
        }
    }
    Ok(())
}

/// The attacks asked for, or all.
fn attacks(args: &args::Audit) -> Vec<&'static Attack> {
    let asked = |attack: &&Attack| {
        args.attacks.is_empty() || args.attacks.iter().any(|name| name == attack.name)
    };
    ATTACKS.iter().filter(asked).collect()
}

/// The folder that was given, and fresh copies like it.
fn one(
    args: &args::Audit,
    texts: AuditTexts,
    encrypted: &Path,
    key_args: &args::KeyArgs,
) -> Result<Audited> {
    let manifest = read_manifest(&encrypted.join(MANIFEST_FILE))?;
    let key = key::open(key_args)?;
    let source = Checkpoint::open(&args.model)?;
    belongs(args, encrypted, &source, &manifest)?;
    let options = copies::options_of(&manifest, &source, &Checkpoint::open(encrypted)?)?;
    let first = copies::open(encrypted, &key, &manifest)?;
    let busy = progress::spinner("encrypting copies under other keys".into());
    let mut copies = Copies::make(&source, &options, usize::from(args.keys) - 1)?;
    busy.finish_and_clear();
    copies.copies.insert(0, first);

    let audit = Audit::new(&args.model, texts)?;
    let verdicts = verdicts(args, &audit, &copies)?;
    Ok(Audited {
        scheme: manifest.profile.name().to_owned(),
        architecture: manifest.architecture.clone(),
        profile: Some(manifest.profile),
        noise: 0.0,
        dtype: manifest.dtype.clone(),
        vocab_size: manifest.plain_vocab_size,
        text_tokens: audit.text_tokens(),
        fidelity: None,
        verdicts,
    })
}

fn verdicts(args: &args::Audit, audit: &Audit, copies: &Copies) -> Result<Vec<Verdict>> {
    let mut verdicts = Vec::new();
    for attack in attacks(args) {
        let busy = progress::spinner(format!("{}: {}", attack.name, attack.about));
        if let Some(studied) = audit.study(attack)? {
            verdicts.push(studied.verdict(&copies.copies)?);
        }
        busy.finish_and_clear();
    }
    Ok(verdicts)
}

fn belongs(
    args: &args::Audit,
    encrypted: &Path,
    source: &Checkpoint,
    manifest: &Manifest,
) -> Result<()> {
    let fingerprint = source.fingerprint().context("the original")?;
    if fingerprint != manifest.fingerprint()? {
        bail!(
            "{} is not the original of {}: its fingerprint differs from the manifest's source_fingerprint",
            args.model.display(),
            encrypted.display()
        );
    }
    Ok(())
}
