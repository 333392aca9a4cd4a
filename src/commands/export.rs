use std::path::Path;

use anyhow::{Context, Result};
use equicrypt_checkpoint::{Checkpoint, GgufWeights, MANIFEST_KEY, OpaqueVocabulary, export_gguf};
use equicrypt_spec::{MANIFEST_FILE, Manifest};

use crate::args::{Export, QuantizeName};
use crate::progress;
use crate::terminal::Terminal;

/// The GGUF file's name in an encrypted folder.
pub(super) const GGUF_FILE: &str = "model.gguf";

pub(super) fn run(args: &Export) -> Result<()> {
    let path = args.model.join(MANIFEST_FILE);
    let manifest = match std::fs::read(&path) {
        Ok(text) => Some(Manifest::parse(&text).with_context(|| format!("in {}", path.display()))?),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
        Err(error) => return Err(error).with_context(|| format!("cannot read {}", path.display())),
    };
    let weights = weights(args.quantize);
    let manifest = manifest.map(|manifest| manifest_for(&manifest, weights));
    export(&args.model, &args.output, weights, manifest.as_ref())?;
    Terminal::new().line(&format!(
        "exported {} into {}",
        args.model.display(),
        args.output.display()
    ))
}

/// Exports a folder into a new GGUF file, with a progress bar.
pub(super) fn export(
    model: &Path,
    output: &Path,
    weights: GgufWeights,
    manifest: Option<&Manifest>,
) -> Result<()> {
    let checkpoint = Checkpoint::open(model)?;
    let text = manifest.map(Manifest::to_text);
    let extra: Vec<_> = text
        .iter()
        .map(|text| (MANIFEST_KEY, text.as_str()))
        .collect();
    let bar = progress::bytes("exporting", 0);
    // No id ends an answer on the host: which one does would be one word of the secret vocabulary.
    let vocabulary = OpaqueVocabulary { eos: None };
    let progress = &mut |done, total| {
        bar.set_length(total);
        bar.set_position(done);
    };
    let result = export_gguf(&checkpoint, output, weights, vocabulary, &extra, progress);
    bar.finish_and_clear();
    Ok(result?)
}

/// The manifest of the same model in a GGUF file.
pub(super) fn manifest_for(manifest: &Manifest, weights: GgufWeights) -> Manifest {
    Manifest {
        dtype: weights.name().to_uppercase(),
        ..manifest.clone()
    }
}

/// The format behind the name on the command line.
pub(super) fn weights(name: QuantizeName) -> GgufWeights {
    match name {
        QuantizeName::F32 => GgufWeights::F32,
        QuantizeName::F16 => GgufWeights::F16,
        QuantizeName::Bf16 => GgufWeights::Bf16,
        QuantizeName::Q8_0 => GgufWeights::Q8_0,
        QuantizeName::Q4K => GgufWeights::Q4K,
    }
}
