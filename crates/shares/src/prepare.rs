use std::path::Path;

use equicrypt_checkpoint::{Checkpoint, CheckpointWriter, Dtype, StagedDir, TensorHeader};
use equicrypt_engine::{LinearId, LinearLayers, Projection};
use equicrypt_ring::{IntegerWeights, LayerDigest, MaskSeed, ModelDigest, Residues, SEED_BYTES};
use equicrypt_spec::TensorSpec;
use rayon::prelude::*;
use zeroize::Zeroizing;

use crate::Error;
use crate::check::LayerCheck;
use crate::files::{
    CheckFile, FORMAT, LayerEntry, Manifest, bias_tensor, copy_others, modules, scales_tensor,
};

/// Where the logits of a decoder are computed whose head is not the embedding. One whose head is the embedding has it with the
/// owner in any case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum HeadPlace {
    /// By the owner: a larger folder, and less traffic.
    Local,
    /// By the hosts.
    #[default]
    Remote,
}

/// How a model is prepared.
#[derive(Debug, Clone, Copy, Default)]
pub struct PrepareOptions {
    /// Where logits are computed.
    pub head: HeadPlace,
}

/// What was prepared.
#[derive(Debug, Clone, Copy)]
pub struct Prepared {
    /// What hosts must have.
    pub digest: ModelDigest,
    /// Linear layers that hosts compute.
    pub layers: usize,
    /// Weights in them.
    pub weights: u64,
    /// Bytes that go to host A for a token.
    pub bytes_up: u64,
    /// Bytes that come from each of the hosts for a token.
    pub bytes_down: u64,
}

/// Makes the owner's folder of a public checkpoint: the embedding, norms and biases, the scales of the integer weights, what
/// belongs to the tokenizer, and secret vectors by which answers are checked; see below. The folder appears whole or not at all.
///
/// For each layer two vectors for each prime are drawn, out of a seed of the operating system's, and multiplied with the weights
/// once. An answer that is not the layer's passes with a probability of less than 2^-61 then. Who reads the file with these vectors can
/// make wrong answers that pass: it has mode 0600. It does not help to read a prompt.
///
/// # Errors
/// If the checkpoint is not that of a supported model, or the folder exists or cannot be written.
pub fn prepare(
    checkpoint: &Checkpoint,
    out: &Path,
    options: &PrepareOptions,
) -> Result<Prepared, Error> {
    let source = LinearLayers::open(checkpoint)?;
    let staged = StagedDir::new(out)?;
    let mut bytes = Zeroizing::new([0; SEED_BYTES]);
    getrandom::fill(&mut *bytes).map_err(Error::Randomness)?;
    let seed = MaskSeed::from_bytes(*bytes);

    let layers = source.ids().par_iter().enumerate().with_max_len(1);
    let layers: Vec<Layer> = layers
        .map(|(index, id)| Layer::read(&source, &seed, index, *id))
        .collect::<Result<_, _>>()?;
    let digests: Vec<LayerDigest> = layers.iter().map(|layer| layer.digest).collect();
    let digest = ModelDigest::of(&digests);

    let dir = staged.path();
    copy_others(checkpoint.dir(), dir)?;
    let head = Projection::Head.of(None);
    let keeps_head = options.head == HeadPlace::Local && source.ids().contains(&head);
    let mut kept = source.others();
    if keeps_head {
        kept.extend(source.tensors_of(head)?);
    }
    write_tensors(checkpoint, &source, dir, &kept, &layers)?;
    let products: Vec<&Residues> = layers.iter().map(|layer| &layer.product).collect();
    CheckFile::write(dir, &digest, &seed, &products)?;
    let fingerprint = checkpoint.fingerprint()?;
    let manifest = Manifest {
        version: FORMAT,
        digest: digest.to_string(),
        source_fingerprint: fingerprint
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect(),
        layers: layers.iter().map(|layer| layer.entry.clone()).collect(),
    };
    manifest.write(dir)?;
    staged.commit()?;

    let head = head.to_string();
    let asked = || {
        let entries = layers.iter().map(|layer| &layer.entry);
        entries.filter(|entry| !(keeps_head && entry.name == head))
    };
    Ok(Prepared {
        digest,
        layers: asked().count(),
        weights: asked().map(|l| l.inputs as u64 * l.outputs as u64).sum(),
        bytes_up: asked().map(|l| 8 * l.inputs as u64).sum(),
        bytes_down: asked().map(|l| 8 * l.outputs as u64).sum(),
    })
}

/// What the owner keeps of a layer.
struct Layer {
    entry: LayerEntry,
    digest: LayerDigest,
    scales: Vec<f64>,
    bias: Option<Vec<f64>>,
    /// W^T s.
    product: Residues,
}

impl Layer {
    fn read(
        source: &LinearLayers<'_>,
        seed: &MaskSeed,
        index: usize,
        id: LinearId,
    ) -> Result<Self, Error> {
        let name = id.to_string();
        let fail = |source| Error::Layer {
            layer: name.clone(),
            source,
        };
        let weights = source.read(id)?;
        let (inputs, outputs) = (weights.inputs(), weights.outputs());
        let integers = IntegerWeights::quantise(outputs, inputs, |row, out| {
            weights.append_row(row, out);
        });
        let integers = integers.map_err(fail)?;
        Ok(Self {
            digest: integers.digest(&name),
            scales: integers.scales().to_vec(),
            bias: weights.bias().map(<[f64]>::to_vec),
            product: LayerCheck::product_of(seed, index, &integers).map_err(fail)?,
            entry: LayerEntry {
                has_bias: weights.bias().is_some(),
                name,
                inputs,
                outputs,
            },
        })
    }
}

/// The tensors that are kept as they are, under the names of the table, and what belongs to the integer weights.
fn write_tensors(
    checkpoint: &Checkpoint,
    source: &LinearLayers<'_>,
    dir: &Path,
    kept: &[&TensorSpec],
    layers: &[Layer],
) -> Result<(), Error> {
    let config = source.config();
    let table = config.architecture.tensors(config);
    let mut headers = Vec::new();
    let mut copies = Vec::new();
    for tensor in kept {
        let named = table.iter().find(|named| named.key() == tensor.key());
        let (name, found) = match (named, checkpoint.tensor(&tensor.name)) {
            (Some(named), Some(found)) => (named.name.clone(), found),
            // The table was checked against the header.
            _ => continue,
        };
        headers.push(TensorHeader::new(&name, found.dtype, &found.shape));
        copies.push((name, found));
    }
    let mut small: Vec<(String, &[f64])> = Vec::new();
    for (index, layer) in layers.iter().enumerate() {
        small.push((scales_tensor(index), &layer.scales));
        if let Some(bias) = &layer.bias {
            small.push((bias_tensor(index), bias));
        }
    }
    for (name, values) in &small {
        headers.push(TensorHeader::new(name, Dtype::F64, &[values.len()]));
    }
    let writer = CheckpointWriter::create(dir, &headers)?;
    let mut block = Vec::new();
    for (name, found) in copies {
        let mut start = 0;
        while start < found.byte_len {
            block.resize((found.byte_len - start).min(BLOCK) as usize, 0);
            checkpoint.read(&found.name, start, &mut block)?;
            writer.write(&name, start, &block)?;
            start += block.len() as u64;
        }
    }
    for (name, values) in small {
        let bytes: Vec<u8> = values
            .iter()
            .flat_map(|value| value.to_le_bytes())
            .collect();
        writer.write(&name, 0, &bytes)?;
    }
    writer.finish()?;
    // The linear layer of a sentence embedding is one of the hosts', but its file must be there.
    for module in modules(checkpoint.dir())? {
        if checkpoint
            .dir()
            .join(&module)
            .join("model.safetensors")
            .is_file()
        {
            CheckpointWriter::create(&dir.join(module), &[])?.finish()?;
        }
    }
    Ok(())
}

/// Bytes that are copied at a time.
const BLOCK: u64 = 8 << 20;
