use anyhow::{Context, Result, bail};
use equicrypt_audit::{EncoderFidelity, EncoderLimits, compare_encoders, encoder_texts};
use equicrypt_checkpoint::Checkpoint;
use equicrypt_cipher::{MasterKey, Outputs};
use equicrypt_engine::{Encoder, Precision};
use equicrypt_gateway::{EncoderOwner, Long, Prepared};
use equicrypt_spec::{Manifest, Task};
use serde_json::json;

use super::verdict;
use crate::args::Verify;
use crate::progress;
use crate::terminal::Terminal;

/// Compares two encoders on the same texts.
pub(super) fn run(
    args: &Verify,
    key: &MasterKey,
    manifest: &Manifest,
    [plain, encrypted]: [&Checkpoint; 2],
) -> Result<()> {
    let config = plain.model_config()?;
    let outputs = Outputs::open(key, manifest, &config)?;
    let texts = texts(args)?;
    let busy = progress::spinner("running both models on the same texts".into());
    let plain_model = Encoder::load(plain, Precision::F32)
        .with_context(|| format!("in {}", args.model.display()))?;
    let encrypted_model = Encoder::load(encrypted, Precision::F32)
        .with_context(|| format!("in {}", args.encrypted.display()))?;
    let fidelity = compare_encoders(&plain_model, &encrypted_model, &outputs, &texts)?;
    busy.finish_and_clear();

    let mut limits = EncoderLimits::of(manifest);
    if let Some(most) = args.max_kl {
        limits.mean_kl = most;
    }
    let pass = limits.hold(&fidelity);
    let mut terminal = Terminal::new();
    if args.json {
        let all = json!({ "fidelity": fidelity, "limits": limits, "pass": pass });
        terminal.json(&all)?;
    } else {
        show(&mut terminal, &fidelity, &limits)?;
        verdict(&mut terminal, pass)?;
    }
    if !pass {
        bail!("the encrypted model leaves the limits of its profile");
    }
    Ok(())
}

/// Texts under the model's own tokenizer. A model that labels texts reads each second one together with the one before it.
fn texts(args: &Verify) -> Result<Vec<(Vec<u32>, Vec<u32>)>> {
    let owner = EncoderOwner::open(&args.model)
        .context("verify needs the original's tokenizer, to make tokens of texts")?;
    let texts = match &args.texts {
        None => encoder_texts(),
        Some(path) => {
            let all = std::fs::read_to_string(path)
                .with_context(|| format!("cannot read {}", path.display()))?;
            all.lines().map(str::to_owned).collect()
        }
    };
    let pairs = owner.config().task == Task::SequenceLabels;
    let prepare = |index: usize| -> Result<Prepared> {
        Ok(match index {
            _ if pairs && index % 2 == 1 => {
                owner.encode_pair(&texts[index - 1], &texts[index], Long::Truncate)?
            }
            _ => owner.encode(&texts[index], Long::Truncate)?,
        })
    };
    (0..texts.len())
        .map(|index| {
            let text = prepare(index)?;
            Ok((text.ids().to_vec(), text.token_types().to_vec()))
        })
        .collect()
}

fn show(terminal: &mut Terminal, found: &EncoderFidelity, limits: &EncoderLimits) -> Result<()> {
    let mut lines = vec![
        (
            "compared",
            format!(
                "{} of {} texts, {} tokens, in f32",
                found.compared, found.texts, found.tokens
            ),
        ),
        (
            "smallest cosine",
            format!(
                "1 - {:.1e} (limit {})",
                1.0 - found.min_cosine,
                limits.min_cosine
            ),
        ),
        (
            "largest difference",
            format!(
                "{:.1e} of the largest number",
                found.max_relative_difference
            ),
        ),
    ];
    if let Some(share) = found.agreement {
        let value = format!("{share:.4} (limit {})", limits.agreement);
        lines.push(("same likeliest answer", value));
    }
    if let Some(most) = found.max_probability_difference {
        let limit = limits.max_probability_difference;
        lines.push((
            "probabilities",
            format!("within {most:.1e} (limit {limit:.0e})"),
        ));
    }
    if let Some(kl) = found.mean_kl {
        let value = format!("{kl:.2e} nats (limit {:.0e})", limits.mean_kl);
        lines.push(("mean KL", value));
    }
    for (name, value) in lines {
        terminal.line(&format!("{name:24}{value}"))?;
    }
    Ok(())
}
