mod copies;
mod fidelity;
mod matrix;
mod texts;
mod traffic;

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::SystemTime;

use anyhow::{Context, Result, bail};
use equicrypt_audit::report::{self, About};
use equicrypt_audit::{ATTACKS, Attack, Audit, Audited};
use equicrypt_checkpoint::{Checkpoint, model_config};
use equicrypt_gateway::strftime;
use equicrypt_spec::{MANIFEST_FILE, Manifest};
use serde_json::json;

use crate::args;
use crate::commands::folder::name;
use crate::commands::tokens::read_manifest;
use crate::terminal::Terminal;
use crate::{key, progress};
use copies::Copies;
use fidelity::Original;

pub(super) fn run(args: &args::Audit) -> Result<()> {
    if let Some(traffic) = &args.traffic {
        return traffic::run(args, traffic);
    }
    let is_encoder = model_config(&args.model)?.task.is_of_encoder();
    let texts = texts::read(&args.model, is_encoder, args.text.as_deref())?;
    let audit = Audit::new(&args.model, texts)?;
    let audited = match (&args.encrypted, args.key()) {
        (Some(encrypted), Some(key)) => vec![one(args, &audit, encrypted, &key)?],
        _ => matrix::run(args, &audit)?,
    };
    tell(args, &audited)
}

/// The folder that was given, and fresh copies like it.
fn one(
    args: &args::Audit,
    audit: &Audit,
    encrypted: &Path,
    key_args: &args::KeyArgs,
) -> Result<Audited> {
    let manifest = read_manifest(&encrypted.join(MANIFEST_FILE))?;
    let key = key::open(key_args)?;
    let source = Checkpoint::open(&args.model)?;
    belongs(args, encrypted, &source, &manifest)?;
    let folder = Checkpoint::open(encrypted)?;
    let options = copies::options_of(&manifest, &source, &folder)?;
    let first = copies::open(encrypted, &key, &manifest)?;

    let fidelity = match args.no_fidelity {
        true => None,
        false => {
            let busy = progress::spinner("fidelity: both models on the same texts".into());
            let original = Original::load(&source, audit.texts())?;
            let fidelity = original.compare(&folder, &key, &manifest)?;
            busy.finish_and_clear();
            Some(fidelity)
        }
    };
    let homophones = copies::homophones_of(&key, &manifest)?;
    let busy = progress::spinner("encrypting copies under other keys".into());
    let mut copies = Copies::make(&source, &options, &homophones, usize::from(args.keys) - 1)?;
    busy.finish_and_clear();
    copies.copies.insert(0, first);

    let mut verdicts = Vec::new();
    for attack in attacks(args) {
        let busy = progress::spinner(format!("{}: {}", attack.name, attack.about));
        if let Some(studied) = audit.study(attack)? {
            verdicts.push(studied.verdict(&copies.copies)?);
        }
        busy.finish_and_clear();
    }
    if verdicts.is_empty() {
        bail!(
            "none of these attacks makes sense on a {}",
            manifest.architecture
        );
    }
    Ok(Audited {
        model: name(&args.model),
        scheme: match manifest.homophones() {
            0 => copies::scheme(&options),
            count => format!("{}, {count} homophones", copies::scheme(&options)),
        },
        architecture: manifest.architecture.clone(),
        profile: Some(manifest.profile),
        noise: manifest.noise,
        dtype: manifest.dtype.clone(),
        vocab_size: manifest.plain_vocab_size,
        text_tokens: audit.text_tokens(),
        fidelity,
        verdicts,
    })
}

/// Prints and writes what was asked for.
fn tell(args: &args::Audit, audited: &[Audited]) -> Result<()> {
    if args.json.as_deref() != Some(Path::new("-")) {
        let table = match audited {
            [one] => report::table(one),
            several => report::matrix_table(several),
        };
        Terminal::new().line(table.trim_end())?;
    }
    write_all(args, audited)?;
    match args.fail_above {
        Some(most) => fail_above(most, audited),
        None => Ok(()),
    }
}

/// Writes the files that were asked for.
fn write_all(args: &args::Audit, audited: &[Audited]) -> Result<()> {
    let about = About {
        command: command_line(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        date: today(),
        threads: std::thread::available_parallelism().map_or(1, usize::from),
    };
    if let Some(path) = &args.json {
        let sentences: Vec<_> = audited.iter().map(report::verdicts).collect();
        let value = json!({
            "version": about.version, "command": about.command, "date": about.date,
            "audited": audited, "verdicts": sentences,
        });
        if path == Path::new("-") {
            Terminal::new().json(&value)?;
        } else {
            write(path, &format!("{value:#}\n"))?;
        }
    }
    if let Some(path) = &args.report {
        write(path, &report::html(audited, &about))?;
    }
    if let Some(folder) = &args.docs {
        std::fs::create_dir_all(folder)
            .with_context(|| format!("cannot make the folder {}", folder.display()))?;
        for (name, text) in documents(audited) {
            write(&folder.join(name), &text)?;
        }
    }
    Ok(())
}

/// Tables and plots, each with the name of its file.
fn documents(audited: &[Audited]) -> Vec<(String, String)> {
    let table = ("matrix.md".to_owned(), report::matrix_markdown(audited));
    let frontier = report::frontier_svg(audited).map(|svg| ("frontier.svg".to_owned(), svg));
    let figures = report::curves_markdown(audited).map(|text| ("curves.md".to_owned(), text));
    let curves = report::curve_svgs(audited);
    let curves = curves
        .into_iter()
        .map(|(name, svg)| (format!("{name}.svg"), svg));
    let all = [table].into_iter().chain(frontier).chain(figures);
    all.chain(curves).collect()
}

fn fail_above(most: f64, audited: &[Audited]) -> Result<()> {
    let verdicts = audited.iter().flat_map(|one| &one.verdicts);
    let shares = verdicts.map(|verdict| {
        let share = verdict.recovered_types.max(verdict.recovered_occurrences);
        (share, verdict.attack)
    });
    match shares.max_by(|(a, _), (b, _)| a.total_cmp(b)) {
        Some((share, attack)) if share > most => bail!(
            "{attack} recovers {:.2} %, more than the {:.2} % that --fail-above allows",
            100.0 * share,
            100.0 * most
        ),
        _ => Ok(()),
    }
}

/// The attacks asked for, or all.
fn attacks(args: &args::Audit) -> Vec<&'static Attack> {
    let asked = |attack: &&Attack| {
        args.attacks.is_empty() || args.attacks.iter().any(|name| name == attack.name)
    };
    ATTACKS.iter().filter(asked).collect()
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

/// A report is written whole or not at all.
fn write(path: &Path, text: &str) -> Result<()> {
    let folder = match path.parent() {
        Some(folder) if folder != Path::new("") => folder,
        _ => Path::new("."),
    };
    let mut builder = tempfile::Builder::new();
    let mode = Permissions::from_mode(0o666);
    let written = builder
        .permissions(mode)
        .tempfile_in(folder)
        .and_then(|file| {
            std::fs::write(file.path(), text)?;
            file.persist(path).map_err(|error| error.error)
        });
    written.with_context(|| format!("cannot write {}", path.display()))?;
    Ok(())
}

/// No argument of this command is a secret.
fn command_line() -> String {
    let words = std::env::args_os().skip(1);
    let words = words.map(|word| word.to_string_lossy().into_owned());
    ["equicrypt".to_owned()]
        .into_iter()
        .chain(words)
        .collect::<Vec<_>>()
        .join(" ")
}

fn today() -> String {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let seconds = since.map_or(0, |since| since.as_secs());
    strftime(i64::try_from(seconds).unwrap_or(i64::MAX), "%Y-%m-%d")
}
