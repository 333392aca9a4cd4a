//! From one GGUF file to a Hugging Face folder in bf16.

pub(crate) mod metadata;
mod pretokenizer;
mod sentencepiece;
mod tokenizer;

use std::collections::HashSet;
use std::path::Path;

use equicrypt_spec::MANIFEST_FILE;
use serde_json::{Map, Value, json};

use crate::export::{MANIFEST_KEY, OpaqueVocabulary};
use crate::gguf::GgufFile;
use crate::gguf_arch::{ARCHS, Facts, Field, GgufArch, Pair, Rope, convert, import_moves, pairs};
use crate::{CheckpointWriter, Dtype, Error, StagedDir, TensorHeader, write_json};
use metadata::{Metadata, USE_FOLDER};
use tokenizer::Tokenizer;

/// Turns a GGUF file into a Hugging Face folder: `config.json`, `generation_config.json`,
/// `model.safetensors` in bf16, `tokenizer.json`, `tokenizer_config.json` and
/// `special_tokens_map.json`.
///
/// A file that [`export_gguf`](crate::export_gguf) wrote has no text to make a tokenizer of: its
/// folder has none, and its manifest if one was put in under [`MANIFEST_KEY`](crate::MANIFEST_KEY).
///
/// Quantised weights are expanded to the values that they stand for and rounded to bf16; what the
/// quantisation lost stays lost. `progress` is called with the bytes written so far and in all.
/// Memory is bounded by a few blocks of rows for each thread, whatever the model's size; GPT-2's
/// transposed tensors are held whole.
///
/// # Errors
/// [`Error::OutputExists`] if `out` exists; [`Error::Gguf`] if the file is unsound;
/// [`Error::UnsupportedGguf`] for anything that could not be carried over faithfully: an
/// architecture that is not known here, a metadata key or tensor that is not understood, a
/// tokenizer of another kind. On any error nothing is left at `out`.
pub fn import_gguf(
    gguf: &Path,
    out: &Path,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<(), Error> {
    let staged = StagedDir::new(out)?;
    let file = GgufFile::open(gguf)?;
    let metadata = Metadata::new(&file);
    let arch = architecture(&metadata)?;
    let facts = Facts::from_metadata(arch, &metadata)?;
    let tokens = metadata.texts("tokenizer.ggml.tokens")?.len();
    if tokens != facts.vocab {
        return Err(metadata.broken(format!(
            "tokenizer.ggml.tokens has {tokens} tokens, but the embedding has {} rows",
            facts.vocab
        )));
    }
    let vocabulary = Vocabulary::read(&metadata)?;
    let pairs = checked_pairs(arch, &facts, &metadata)?;

    let dir = staged.path();
    let mut files = vec![
        ("config.json", config(arch, &facts, &vocabulary)),
        ("generation_config.json", vocabulary.generation_config()),
    ];
    if let Vocabulary::Text(tokenizer) = &vocabulary {
        files.push(("tokenizer.json", tokenizer.json()));
        let context = facts.size(Field::Context);
        files.push(("tokenizer_config.json", tokenizer.config(context)));
        files.push(("special_tokens_map.json", tokenizer.special_tokens()));
    }
    if let Some(manifest) = metadata.optional_text(MANIFEST_KEY)? {
        let manifest: Value = serde_json::from_str(manifest)
            .map_err(|error| metadata.broken(format!("{MANIFEST_KEY} is not JSON: {error}")))?;
        files.push((MANIFEST_FILE, manifest));
    }
    for (name, json) in files {
        write_json(&dir.join(name), &json)?;
    }

    let header = |pair: &Pair, name: &String| TensorHeader::new(name, Dtype::Bf16, &pair.hf_shape);
    let headers: Vec<_> = pairs
        .iter()
        .flat_map(|pair| pair.hf.iter().map(|name| header(pair, name)))
        .collect();
    let writer = CheckpointWriter::create(dir, &headers)?;
    let moves: Vec<_> = pairs
        .iter()
        .flat_map(|pair| import_moves(pair, &facts))
        .collect();
    let size = Dtype::Bf16.size();
    let read = |name: &str, start: usize, out: &mut [f32]| read_values(&file, name, start, out);
    let write = |name: &str, start: usize, values: &[f32]| {
        let mut bytes = vec![0; values.len() * size];
        Dtype::Bf16.encode_f32(values, &mut bytes);
        writer.write(name, (start * size) as u64, &bytes)?;
        Ok(bytes.len() as u64)
    };
    let total = headers.iter().filter_map(TensorHeader::byte_len).sum();
    convert(&moves, &read, &write, total, progress)?;
    writer.finish()?;
    staged.commit()
}

fn architecture(metadata: &Metadata<'_>) -> Result<&'static GgufArch, Error> {
    let name = metadata.text("general.architecture")?;
    let experts = metadata
        .optional_size(&format!("{name}.expert_count"))?
        .unwrap_or(0);
    GgufArch::of_gguf(name, experts > 0).ok_or_else(|| {
        let mut known: Vec<&str> = ARCHS.iter().map(|arch| arch.name).collect();
        known.dedup();
        let what = match ARCHS.iter().any(|arch| arch.name == name) {
            true => format!("it is a {name:?} model with {experts} experts"),
            false => format!(
                "its architecture is {name:?}, and what is imported is {}",
                known.join(", ")
            ),
        };
        metadata.unsupported(what, USE_FOLDER)
    })
}

/// The tensors of the model, checked against the file both ways.
fn checked_pairs(
    arch: &GgufArch,
    facts: &Facts,
    metadata: &Metadata<'_>,
) -> Result<Vec<Pair>, Error> {
    let pairs = pairs(arch, facts, arch.optional_prefix)
        .map_err(|name| metadata.broken(format!("tensor {name:?} would be too large")))?;
    let rope = facts.rope.iter().flat_map(Rope::tensors);
    let rope: Vec<&str> = rope.map(|(name, _)| name).collect();
    let known: HashSet<&str> = pairs.iter().map(|pair| pair.gguf.as_str()).collect();
    let mut tensors = metadata.header().tensors.iter().map(|t| t.name.as_str());
    if let Some(name) = tensors.find(|name| !known.contains(name) && !rope.contains(name)) {
        return Err(metadata.unsupported(
            format!(
                "tensor {name:?} is not part of a {} model as known here",
                arch.name
            ),
            USE_FOLDER,
        ));
    }
    for Pair {
        gguf, gguf_shape, ..
    } in &pairs
    {
        let tensor = metadata
            .tensor(gguf)
            .ok_or_else(|| metadata.broken(format!("tensor {gguf:?} is missing")))?;
        // GGUF does not tell a row from a vector.
        let mut shape = &tensor.shape[..];
        let expected = &gguf_shape[..];
        if let ([1, rest @ ..], false) = (expected, shape == expected) {
            shape = if shape == rest { expected } else { shape };
        }
        if shape != expected {
            return Err(metadata.broken(format!(
                "tensor {gguf:?} has shape {:?}, but the metadata makes it {expected:?}",
                tensor.shape
            )));
        }
    }
    Ok(pairs)
}

/// What the ids stand for.
enum Vocabulary {
    /// Nothing that is known here; the id that ends an answer may be.
    Opaque {
        eos: Option<usize>,
    },
    Text(Box<Tokenizer>),
}

impl Vocabulary {
    fn read(metadata: &Metadata<'_>) -> Result<Vocabulary, Error> {
        let tokens = metadata.texts("tokenizer.ggml.tokens")?;
        if !OpaqueVocabulary::is_of(tokens) {
            let tokenizer = Tokenizer::read(metadata)?;
            return Ok(Vocabulary::Text(Box::new(tokenizer)));
        }
        let eos = metadata.optional_size("tokenizer.ggml.eos_token_id")?;
        Ok(Vocabulary::Opaque { eos })
    }

    /// The ids that begin a text, end it and fill it up.
    fn special_ids(&self) -> [Option<usize>; 3] {
        match self {
            Vocabulary::Opaque { eos } => [None, *eos, None],
            Vocabulary::Text(tokenizer) => [tokenizer.bos(), tokenizer.eos(), tokenizer.pad()],
        }
    }

    fn generation_config(&self) -> Value {
        match self {
            Vocabulary::Opaque { eos } => json!({
                "_from_model_config": true,
                "bos_token_id": null,
                "eos_token_id": eos,
                "pad_token_id": null,
            }),
            Vocabulary::Text(tokenizer) => tokenizer.generation_config(),
        }
    }
}

fn config(arch: &GgufArch, facts: &Facts, vocabulary: &Vocabulary) -> Value {
    let mut config = Map::new();
    let mut put = |name: &str, value: Value| config.insert(name.to_owned(), value);
    if let Some((model_type, class)) = arch.model_types.first() {
        put("architectures", json!([class]));
        put("model_type", json!(model_type));
    }
    put("vocab_size", json!(facts.vocab));
    facts.write_config(arch, &mut config);
    let mut put = |name: &str, value: Value| config.insert(name.to_owned(), value);
    let [bos, eos, pad] = vocabulary.special_ids();
    put("bos_token_id", json!(bos));
    put("eos_token_id", json!(eos));
    put("pad_token_id", json!(pad));
    put("torch_dtype", json!(Dtype::Bf16.torch_name()));
    Value::Object(config)
}

fn read_values(file: &GgufFile, name: &str, start: usize, out: &mut [f32]) -> Result<(), Error> {
    let tensor = file.tensor(name).ok_or_else(|| Error::NoSuchTensor {
        place: file.path().to_path_buf(),
        name: name.to_owned(),
    })?;
    let (values, bytes) = (tensor.kind.block_values(), tensor.kind.block_bytes());
    if !start.is_multiple_of(values) || !out.len().is_multiple_of(values) {
        return Err(Error::UnsupportedGguf {
            file: file.path().to_path_buf(),
            what: format!("tensor {name:?} is a vector in {}", tensor.kind.name()),
            advice: USE_FOLDER,
        });
    }
    let mut stored = vec![0; out.len() / values * bytes];
    file.read(name, (start / values * bytes) as u64, &mut stored)?;
    tensor.kind.dequantize(&stored, out);
    Ok(())
}

#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
