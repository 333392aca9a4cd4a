use anyhow::{Context, Result};
use equicrypt_checkpoint::Checkpoint;
use equicrypt_spec::{MANIFEST_FILE, Manifest, ModelConfig};
use serde_json::json;

use crate::args::Inspect;
use crate::terminal::Terminal;

pub(super) fn run(args: &Inspect) -> Result<()> {
    let path = args.folder.join(MANIFEST_FILE);
    let text = std::fs::read(&path).with_context(|| {
        format!(
            "cannot read {}; is {} an encrypted folder?",
            path.display(),
            args.folder.display()
        )
    })?;
    let manifest = Manifest::parse(&text).with_context(|| format!("in {}", path.display()))?;
    let checkpoint = Checkpoint::open(&args.folder)?;
    let config = ModelConfig::from_json(checkpoint.config())?;
    let shapes = checkpoint
        .tensors()
        .map(|t| (t.name.as_str(), t.shape.as_slice()));
    let tensors = config.architecture.check(&config, shapes)?.len();
    let bytes: u64 = checkpoint.tensors().map(|tensor| tensor.byte_len).sum();
    let parameters: u64 = checkpoint.tensors().map(|tensor| tensor.elements()).sum();

    let mut terminal = Terminal::new();
    if args.json {
        return terminal.json(&json!({
            "manifest": manifest,
            "tensors": tensors,
            "parameters": parameters,
            "bytes": bytes,
            "layers": config.layers,
            "hidden_size": config.hidden_size,
            "max_positions": config.max_positions,
        }));
    }
    for (name, value) in [
        ("key id", manifest.key_id.to_string()),
        ("epoch", manifest.epoch.to_string()),
        ("profile", manifest.profile.name().to_owned()),
        ("architecture", manifest.architecture.clone()),
        (
            "source",
            format!("sha256 fingerprint {}", manifest.source_fingerprint),
        ),
        (
            "vocabulary",
            format!(
                "{} cipher ids for {} plain ids",
                manifest.vocab_size, manifest.plain_vocab_size
            ),
        ),
        (
            "weights",
            format!(
                "{tensors} tensors, {parameters} values, {} MB, {}",
                bytes / 1_000_000,
                manifest.dtype
            ),
        ),
        ("context", format!("{} tokens", config.max_positions)),
    ] {
        terminal.line(&format!("{name:13} {value}"))?;
    }
    terminal.line("all of this is public: every host of the model knows it")
}
