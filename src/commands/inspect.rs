use std::path::Path;

use anyhow::{Context, Result};
use equicrypt_checkpoint::Checkpoint;
use equicrypt_checkpoint::gguf::{GgufFile, MetadataValue};
use equicrypt_spec::{Axis, MANIFEST_FILE, Manifest, ModelConfig, Task, TensorSpec};
use serde_json::json;

use super::export::GGUF_FILE;
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
    let gguf = args.folder.join(GGUF_FILE);
    let facts = if gguf.exists() {
        Facts::of_gguf(&gguf)?
    } else {
        Facts::of_folder(&args.folder)?
    };

    let mut terminal = Terminal::new();
    if args.json {
        return terminal.json(&json!({
            "manifest": manifest,
            "tensors": facts.tensors,
            "parameters": facts.parameters,
            "bytes": facts.bytes,
            "layers": facts.layers,
            "hidden_size": facts.hidden_size,
            "max_positions": facts.max_positions,
            "homophones": manifest.homophones(),
            "homophone_bytes": facts.bytes_of_rows(&manifest),
            "task": facts.task,
        }));
    }
    for (name, value) in [
        ("key id", manifest.key_id.to_string()),
        ("epoch", manifest.epoch.to_string()),
        ("weights epoch", manifest.weights_epoch().to_string()),
        ("profile", manifest.profile.name().to_owned()),
        ("architecture", manifest.architecture.clone()),
        ("answers", facts.task.clone()),
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
                "{} tensors, {} values, {} MB, {}",
                facts.tensors,
                facts.parameters,
                facts.bytes / 1_000_000,
                manifest.dtype
            ),
        ),
        ("homophones", homophones(&manifest, &facts)),
        ("noise", noise(manifest.noise)),
        ("context", format!("{} tokens", facts.max_positions)),
    ] {
        terminal.line(&format!("{name:13} {value}"))?;
    }
    terminal.line("all of this is public: every host of the model knows it")
}

fn noise(noise: f64) -> String {
    match noise {
        0.0 => "none".to_owned(),
        noise => format!("{noise} standard deviations on embedding and head"),
    }
}

fn homophones(manifest: &Manifest, facts: &Facts) -> String {
    match manifest.homophones() {
        0 => "none".to_owned(),
        rows => format!(
            "{rows} more rows than plain ids, {} KB",
            facts.bytes_of_rows(manifest).div_ceil(1000)
        ),
    }
}

/// What the weights' headers say.
struct Facts {
    tensors: usize,
    parameters: u64,
    bytes: u64,
    /// Of the tensors with a row for each id.
    vocab_bytes: u64,
    layers: u64,
    hidden_size: u64,
    max_positions: u64,
    /// What it answers.
    task: String,
}

impl Facts {
    /// What the rows beyond one for each plain id take.
    fn bytes_of_rows(&self, manifest: &Manifest) -> u64 {
        let row = self.vocab_bytes / manifest.vocab_size.max(1) as u64;
        row * manifest.homophones() as u64
    }

    /// Of a Hugging Face folder, checked against the architecture's table.
    fn of_folder(folder: &Path) -> Result<Self> {
        let checkpoint = Checkpoint::open(folder)?;
        let config = checkpoint.model_config()?;
        let shapes = checkpoint
            .tensors()
            .map(|t| (t.name.as_str(), t.shape.as_slice()));
        let specs = config.architecture.check(&config, shapes)?;
        let of_ids = |spec: &&TensorSpec| {
            let mut factors = spec
                .row
                .kind
                .sides()
                .into_iter()
                .flat_map(|side| side.factors());
            factors.any(|factor| factor.axis == Axis::Vocab)
        };
        let of_ids = specs.iter().filter(of_ids);
        let of_ids = of_ids.filter_map(|spec| checkpoint.tensor(&spec.name));
        Ok(Self {
            vocab_bytes: of_ids.map(|tensor| tensor.byte_len).sum(),
            tensors: specs.len(),
            parameters: checkpoint.tensors().map(|tensor| tensor.elements()).sum(),
            bytes: checkpoint.tensors().map(|tensor| tensor.byte_len).sum(),
            layers: config.layers as u64,
            hidden_size: config.hidden_size as u64,
            max_positions: config.exact_context() as u64,
            task: task(&config),
        })
    }

    /// Of a GGUF file.
    fn of_gguf(path: &Path) -> Result<Self> {
        let file = GgufFile::open(path)?;
        let tensors = &file.header().tensors;
        let size = |key: &str| {
            let found = file
                .header()
                .metadata
                .iter()
                .find_map(|(name, value)| match value {
                    MetadataValue::Unsigned(size) if name.ends_with(key) => Some(*size),
                    _ => None,
                });
            found.with_context(|| format!("{}: metadata *{key} is missing", path.display()))
        };
        let values = |shape: &[usize]| shape.iter().map(|size| *size as u64).product::<u64>();
        let of_ids = |name: &str| name.starts_with("token_embd.") || name.starts_with("output.");
        let of_ids = tensors.iter().filter(|tensor| of_ids(&tensor.name));
        Ok(Self {
            vocab_bytes: of_ids.map(|tensor| tensor.byte_len).sum(),
            tensors: tensors.len(),
            parameters: tensors.iter().map(|tensor| values(&tensor.shape)).sum(),
            bytes: tensors.iter().map(|tensor| tensor.byte_len).sum(),
            layers: size(".block_count")?,
            hidden_size: size(".embedding_length")?,
            max_positions: size(".context_length")?,
            task: Task::NextToken.name().to_owned(),
        })
    }
}

fn task(config: &ModelConfig) -> String {
    match &config.sentence {
        Some(head) => format!(
            "sentence embeddings of {} numbers, {} pooling",
            config.answer_size(),
            head.pooling.name()
        ),
        None if config.task.has_labels() => {
            format!("{}, {} labels", config.task.name(), config.labels)
        }
        None => config.task.name().to_owned(),
    }
}
