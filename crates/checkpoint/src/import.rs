//! From one GGUF file to a Hugging Face folder in bf16.

mod llama;
mod metadata;
mod pretokenizer;
mod tokenizer;
mod weights;

use std::path::Path;

use crate::gguf::GgufFile;
use crate::{CheckpointWriter, Error, StagedDir, write_json};
use llama::LlamaParams;
use metadata::Metadata;
use tokenizer::Tokenizer;

/// Turns a GGUF file of a llama model into a Hugging Face folder: `config.json`,
/// `generation_config.json`, `model.safetensors` in bf16, `tokenizer.json`,
/// `tokenizer_config.json` and `special_tokens_map.json`.
///
/// Quantised weights are expanded to the values that they stand for and rounded to bf16; what the
/// quantisation lost stays lost. `progress` is called with the bytes written so far and in all.
/// Memory is bounded by a few blocks of rows for each thread, whatever the model's size.
///
/// # Errors
/// [`Error::OutputExists`] if `out` exists; [`Error::Gguf`] if the file is unsound;
/// [`Error::UnsupportedGguf`] for anything that could not be carried over faithfully: another
/// architecture, a metadata key or tensor that is not understood, a tokenizer that is not
/// byte-level BPE. On any error nothing is left at `out`.
pub fn import_gguf(
    gguf: &Path,
    out: &Path,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<(), Error> {
    let staged = StagedDir::new(out)?;
    let file = GgufFile::open(gguf)?;
    let metadata = Metadata::new(&file);
    let params = LlamaParams::read(&metadata)?;
    let tokenizer = Tokenizer::read(&metadata)?;
    if tokenizer.len() != params.vocab {
        return Err(metadata.broken(format!(
            "tokenizer.ggml.tokens has {} tokens, but the embedding has {} rows",
            tokenizer.len(),
            params.vocab
        )));
    }
    let rows = weights::rows(&file, &params)?;

    let dir = staged.path();
    write_json(&dir.join("config.json"), &params.config(&tokenizer))?;
    write_json(
        &dir.join("generation_config.json"),
        &tokenizer.generation_config(),
    )?;
    write_json(&dir.join("tokenizer.json"), &tokenizer.json())?;
    write_json(
        &dir.join("tokenizer_config.json"),
        &tokenizer.config(params.context),
    )?;
    write_json(
        &dir.join("special_tokens_map.json"),
        &tokenizer.special_tokens(),
    )?;

    let headers: Vec<_> = rows.iter().map(weights::Row::header).collect();
    let writer = CheckpointWriter::create(dir, &headers)?;
    weights::convert(&file, &rows, &writer, progress)?;
    writer.finish()?;
    staged.commit()
}

#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
