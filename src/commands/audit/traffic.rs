//! What readers of cipher ids recover from an owner's traffic, as it grows.

use std::path::Path;

use anyhow::{Context, Result, bail};
use equicrypt_audit::traffic::{Allocation, Corpus, LogAudit, LogDefence};
use equicrypt_audit::{Adversary, Audited};
use equicrypt_checkpoint::{Checkpoint, model_config};
use equicrypt_engine::{Decoder, Precision};
use equicrypt_gateway::{Message, Owner};

use super::texts::{self, Ids};
use super::{attacks, name, tell, write_all};
use crate::{args, progress};

/// Tries every attack on logs against every defence. Files are written after each of them: it may take an hour to the next.
pub(super) fn run(args: &args::Audit, traffic: &Path) -> Result<()> {
    let config = model_config(&args.model)?;
    let is_encoder = config.task.is_of_encoder();
    let busy = progress::spinner("reading texts".into());
    let read = |file: &Path| corpus(&args.model, is_encoder, file);
    let known = [
        (Adversary::SourceLogReader, &args.same_source),
        (Adversary::DomainLogReader, &args.same_domain),
        (Adversary::LogReader, &args.general),
    ];
    let mut priors = Vec::new();
    for (adversary, file) in known {
        if let Some(file) = file {
            priors.push((adversary, read(file)?));
        }
    }
    if priors.is_empty() {
        bail!("give a text that an attacker may know: --same-source, --same-domain or --general");
    }
    let template = match is_encoder {
        true => Vec::new(),
        false => template(&args.model)?,
    };
    let traffic = read(traffic)?;
    let mut audit = LogAudit::new(config.vocab_size, &traffic, priors, template);
    if audit.tokens() < LEAST || audit.held_out_tokens() == 0 {
        bail!(
            "the traffic has {} tokens; give at least {LEAST}",
            audit.tokens()
        );
    }
    if !is_encoder && attacks(args).iter().any(|attack| attack.wants_language()) {
        let source = Checkpoint::open(&args.model)?;
        audit = audit.with_language(Box::new(Decoder::load(&source, Precision::F32)?));
    }
    busy.finish_and_clear();
    let defences = defences(args);
    let mut audited = Vec::new();
    for (number, defence) in defences.iter().enumerate() {
        let architecture = config.architecture.model_type;
        audited.push(one(
            args,
            &audit,
            *defence,
            architecture,
            config.vocab_size,
        )?);
        let is_last = number + 1 == defences.len();
        if !is_last && args.json.as_deref() != Some(Path::new("-")) {
            write_all(args, &audited)?;
        }
    }
    tell(args, &audited)
}

fn one(
    args: &args::Audit,
    audit: &LogAudit,
    defence: LogDefence,
    architecture: &str,
    vocab_size: usize,
) -> Result<Audited> {
    let scheme = scheme(defence);
    let mut verdicts = Vec::new();
    for attack in attacks(args) {
        // An encoder does not say what comes next.
        if attack.wants_language() && !audit.has_language() {
            continue;
        }
        if let Some(on_logs) = attack.on_logs() {
            let busy = progress::spinner(format!("{scheme}: {}", attack.name));
            let keys = u8::try_from(args.keys)?;
            verdicts.extend(audit.verdicts(attack, on_logs, defence, keys)?);
            busy.finish_and_clear();
        }
    }
    if verdicts.is_empty() {
        bail!("none of these attacks reads logs; leave --traffic out");
    }
    Ok(Audited {
        model: name(&args.model),
        scheme,
        architecture: architecture.to_owned(),
        profile: None,
        noise: 0.0,
        dtype: String::new(),
        vocab_size,
        text_tokens: audit.held_out_tokens(),
        fidelity: None,
        verdicts,
    })
}

/// Those asked for, or all that are worth a comparison.
fn defences(args: &args::Audit) -> Vec<LogDefence> {
    let defence = |homophones, allocation, epoch_tokens| LogDefence {
        homophones,
        allocation,
        epoch_tokens,
    };
    if args.homophones.is_some() || args.epoch_tokens.is_some() {
        let homophones = args.homophones.unwrap_or(0);
        let epoch = args
            .epoch_tokens
            .map(|tokens| usize::try_from(tokens).unwrap_or(usize::MAX));
        return vec![defence(homophones, Allocation::Proportional, epoch)];
    }
    vec![
        defence(0, Allocation::Proportional, None),
        defence(1_024, Allocation::Proportional, None),
        defence(1_024, Allocation::SquareRoot, None),
        defence(16_384, Allocation::Proportional, None),
        defence(16_384, Allocation::SquareRoot, None),
        defence(0, Allocation::Proportional, Some(100_000)),
        defence(0, Allocation::Proportional, Some(10_000)),
        defence(1_024, Allocation::Proportional, Some(10_000)),
    ]
}

fn scheme(defence: LogDefence) -> String {
    let homophones = match (defence.homophones, defence.allocation) {
        (0, _) => "one-to-one".to_owned(),
        (count, Allocation::Proportional) => format!("{count} homophones"),
        (count, Allocation::SquareRoot) => format!("{count} homophones by square roots"),
    };
    match defence.epoch_tokens {
        Some(tokens) => format!("{homophones}, epochs of {tokens} tokens"),
        None => homophones,
    }
}

/// A message a line.
fn corpus(model: &Path, is_encoder: bool, file: &Path) -> Result<Corpus> {
    let text =
        std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
    let lines: Vec<&str> = text
        .lines()
        .filter(|line| !line.trim().is_empty())
        .collect();
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let parts: Vec<&[&str]> = lines.chunks(lines.len().div_ceil(threads).max(1)).collect();
    let encoded = std::thread::scope(|scope| {
        let work: Vec<_> = parts
            .into_iter()
            .map(|part| {
                scope.spawn(move || -> Result<Vec<Vec<u32>>> {
                    let ids: Ids = texts::ids(model, is_encoder)?;
                    part.iter().map(|line| ids(line)).collect()
                })
            })
            .collect();
        let done = work.into_iter().map(|work| match work.join() {
            Ok(messages) => messages,
            Err(_) => bail!("a thread that made tokens of {} broke off", file.display()),
        });
        done.collect::<Result<Vec<_>>>()
    })?;
    Ok(Corpus::of(encoded.iter().flatten().map(Vec::as_slice)))
}

/// The tokens that stand before the first word of every chat.
fn template(model: &Path) -> Result<Vec<u32>> {
    let owner = Owner::open(model)?;
    if owner.template().is_none() {
        return Ok(Vec::new());
    }
    let prompt = |text: &str| {
        owner.prompt(&[Message {
            role: "user".to_owned(),
            content: text.to_owned(),
        }])
    };
    let (one, other) = (prompt("Why?")?, prompt("How are you?")?);
    let same = one.iter().zip(&other).take_while(|(a, b)| a == b).count();
    Ok(one[..same].to_vec())
}

/// Fewer tokens than this are no statistics.
const LEAST: usize = 1_000;
