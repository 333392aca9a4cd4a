//! From a Hugging Face folder to one GGUF file with an opaque vocabulary.

mod vocabulary;

use std::collections::HashSet;
use std::path::Path;

use crate::gguf::{GgmlType, GgufTensorHeader, GgufWriter, MetadataValue};
use crate::gguf_arch::{
    ARCHS, Config, Facts, GgufArch, Move, Pair, Rope, SERVE_FOLDER, convert, export_moves,
    ignorable, pairs, prefix_of,
};
use crate::staging::StagedFile;
use crate::{Checkpoint, Error};
pub use vocabulary::OpaqueVocabulary;

/// How the weights of a GGUF file are stored.
///
/// Vectors, routers and learned positions are F32 in every file. A tensor whose rows are not whole
/// blocks takes the next format that fits: Q4_K needs multiples of 256, Q8_0 of 32, F16 nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GgufWeights {
    /// 32-bit floats.
    F32,
    /// 16-bit floats; refused if a weight is above 65504.
    F16,
    /// The upper halves of 32-bit floats.
    Bf16,
    /// 8.5 bits a weight.
    Q8_0,
    /// 4.5 bits a weight, and 8.5 in the embedding and the head, whose errors cost most.
    Q4K,
}

impl GgufWeights {
    /// Every format.
    pub const ALL: [GgufWeights; 5] = [
        GgufWeights::F32,
        GgufWeights::F16,
        GgufWeights::Bf16,
        GgufWeights::Q8_0,
        GgufWeights::Q4K,
    ];

    /// The name on a command line: `f32`, `f16`, `bf16`, `q8_0` or `q4_k`.
    pub fn name(self) -> &'static str {
        match self {
            GgufWeights::F32 => "f32",
            GgufWeights::F16 => "f16",
            GgufWeights::Bf16 => "bf16",
            GgufWeights::Q8_0 => "q8_0",
            GgufWeights::Q4K => "q4_k",
        }
    }

    /// The format of this name.
    pub fn from_name(name: &str) -> Option<GgufWeights> {
        GgufWeights::ALL
            .into_iter()
            .find(|kind| kind.name() == name)
    }

    /// The format of one tensor.
    fn of(self, name: &str, shape: &[usize]) -> GgmlType {
        let kept = shape.len() < 2 || !name.ends_with(".weight");
        if kept || KEPT.iter().any(|part| name.contains(part)) {
            return GgmlType::F32;
        }
        let ends = name == "token_embd.weight" || name == "output.weight";
        let row = shape.last().copied().unwrap_or(1);
        let fits = |kind: GgmlType| row.is_multiple_of(kind.block_values());
        match self {
            GgufWeights::F32 => GgmlType::F32,
            GgufWeights::F16 => GgmlType::F16,
            GgufWeights::Bf16 => GgmlType::Bf16,
            GgufWeights::Q4K if !ends && fits(GgmlType::Q4K) => GgmlType::Q4K,
            GgufWeights::Q8_0 | GgufWeights::Q4K if fits(GgmlType::Q8_0) => GgmlType::Q8_0,
            GgufWeights::Q8_0 | GgufWeights::Q4K => GgmlType::F16,
        }
    }
}

/// Writes the model as one GGUF file that llama.cpp serves: the architecture's own metadata, an
/// [`OpaqueVocabulary`], `extra` as strings, the weights; and nothing else from the folder.
///
/// `progress` is called with the bytes written so far and in all. Memory is bounded by a few
/// blocks of rows for each thread; GPT-2's transposed tensors are held whole. The file appears
/// under its name when it is complete.
///
/// # Errors
/// [`Error::OutputExists`] if `out` exists; [`Error::UnsupportedExport`] if llama.cpp has no such
/// architecture, would compute something else than `config.json` says, or a weight does not fit
/// the format; [`Error::Json`] or [`Error::Folder`] if the folder is not sound. On any error
/// nothing is left at `out`.
pub fn export_gguf(
    model: &Checkpoint,
    out: &Path,
    weights: GgufWeights,
    vocabulary: OpaqueVocabulary,
    extra: &[(&str, &str)],
    progress: &mut dyn FnMut(u64, u64),
) -> Result<(), Error> {
    let staged = StagedFile::new(out)?;
    let config = Config::new(&model.dir().join("config.json"), model.config())?;
    let arch = architecture(&config)?;
    let facts = Facts::from_config(arch, &config)?;
    let pairs = checked_pairs(arch, &facts, model)?;
    let rope: Vec<_> = facts.rope.iter().flat_map(Rope::tensors).collect();

    let mut headers: Vec<GgufTensorHeader> = rope
        .iter()
        .map(|(name, values)| GgufTensorHeader::new(*name, GgmlType::F32, &[values.len()]))
        .collect();
    headers.extend(pairs.iter().map(|pair| {
        let kind = weights.of(&pair.gguf, &pair.gguf_shape);
        GgufTensorHeader::new(&pair.gguf, kind, &pair.gguf_shape)
    }));
    let text = |value: &str| MetadataValue::String(value.to_owned());
    let mut metadata = vec![("general.architecture".to_owned(), text(arch.name))];
    if headers.iter().any(|tensor| tensor.kind.block_values() > 1) {
        let version = MetadataValue::Unsigned(QUANTIZATION_VERSION);
        metadata.push(("general.quantization_version".to_owned(), version));
    }
    metadata.extend(facts.metadata(arch));
    metadata.extend(vocabulary.metadata(model.dir(), facts.vocab)?);
    metadata.extend(
        extra
            .iter()
            .map(|(key, value)| ((*key).to_owned(), text(value))),
    );

    let writer = GgufWriter::create(staged.path(), &metadata, &headers)?;
    for (name, values) in &rope {
        let mut bytes = vec![0; values.len() * GgmlType::F32.block_bytes()];
        GgmlType::F32.quantize(values, &mut bytes);
        writer.write(name, 0, &bytes)?;
    }
    let moves: Vec<Move> = pairs
        .iter()
        .flat_map(|pair| export_moves(pair, &facts))
        .collect();
    let kinds = headers
        .iter()
        .map(|tensor| (tensor.name.as_str(), tensor.kind));
    let kinds: std::collections::HashMap<_, _> = kinds.collect();
    let read = |name: &str, start: usize, out: &mut [f32]| read_values(model, name, start, out);
    let write = |name: &str, start: usize, values: &[f32]| {
        let kind = kinds.get(name).copied().unwrap_or(GgmlType::F32);
        let size = |values: usize| values / kind.block_values() * kind.block_bytes();
        let mut bytes = vec![0; size(values.len())];
        if !kind.quantize(values, &mut bytes) {
            return Err(Error::UnsupportedExport {
                place: model.dir().to_path_buf(),
                what: format!(
                    "{name:?} holds a number that {} cannot: an infinity, none, or one too large",
                    kind.name()
                ),
                advice: "if the model is sound, export it as bf16",
            });
        }
        writer.write(name, size(start) as u64, &bytes)?;
        Ok(bytes.len() as u64)
    };
    let total = writer.data_len();
    convert(&moves, &read, &write, total, progress)?;
    writer.finish()?;
    staged.commit()
}

fn architecture(config: &Config<'_>) -> Result<&'static GgufArch, Error> {
    let model_type = config.text("model_type")?.unwrap_or_default();
    GgufArch::of_model_type(model_type).ok_or_else(|| {
        let known = ARCHS.iter().flat_map(|arch| arch.model_types);
        let known: Vec<&str> = known.map(|(model_type, _)| *model_type).collect();
        config.unsupported(format!(
            "its model_type is {model_type:?}, and what is exported is {}",
            known.join(", ")
        ))
    })
}

/// The tensors of the model, checked against the folder both ways.
fn checked_pairs(arch: &GgufArch, facts: &Facts, model: &Checkpoint) -> Result<Vec<Pair>, Error> {
    let folder = |problem: String| Error::Folder {
        dir: model.dir().to_path_buf(),
        problem,
    };
    let prefix = prefix_of(arch, |name| model.tensor(name).is_some());
    let pairs = pairs(arch, facts, prefix)
        .map_err(|name| folder(format!("config.json makes {name:?} too large")))?;
    for pair in &pairs {
        for name in &pair.hf {
            let tensor = model
                .tensor(name)
                .ok_or_else(|| folder(format!("tensor {name:?} is missing")))?;
            if tensor.shape != pair.hf_shape {
                return Err(folder(format!(
                    "tensor {name:?} has shape {:?}, but config.json makes it {:?}",
                    tensor.shape, pair.hf_shape
                )));
            }
        }
    }
    let known = pairs.iter().flat_map(|pair| &pair.hf);
    let known: HashSet<&str> = known.map(String::as_str).collect();
    // A head that is the embedding may have been saved all the same.
    let unused = |name: &str| ignorable(name) || facts.tied && name == arch.head.hf;
    let mut names = model.tensors().map(|tensor| tensor.name.as_str());
    match names.find(|name| !known.contains(name) && !unused(name)) {
        None => Ok(pairs),
        Some(name) => Err(Error::UnsupportedExport {
            place: model.dir().to_path_buf(),
            what: format!(
                "tensor {name:?} is not part of a {} model as known here",
                arch.name
            ),
            advice: SERVE_FOLDER,
        }),
    }
}

fn read_values(model: &Checkpoint, name: &str, start: usize, out: &mut [f32]) -> Result<(), Error> {
    let tensor = model.tensor(name).ok_or_else(|| Error::NoSuchTensor {
        place: model.dir().to_path_buf(),
        name: name.to_owned(),
    })?;
    let size = tensor.dtype.size();
    let mut bytes = vec![0; out.len() * size];
    model.read(name, (start * size) as u64, &mut bytes)?;
    tensor.dtype.decode_f32(&bytes, out);
    Ok(())
}

/// The metadata key of an encrypted model's public manifest, for `extra` of [`export_gguf`].
pub const MANIFEST_KEY: &str = "equicrypt.manifest";

/// Parts of the names of tensors that llama.cpp keeps in F32 too: norms, the experts' routers,
/// learned positions.
const KEPT: [&str; 3] = ["_norm.", "ffn_gate_inp", "position_embd"];
/// GGML_QNT_VERSION of `ggml.h`: the block formats are those of this version.
const QUANTIZATION_VERSION: u64 = 2;

#[cfg(test)]
mod refusals;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
