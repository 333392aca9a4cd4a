use equicrypt_checkpoint::Checkpoint;
use equicrypt_engine::{LinearId, LinearLayers};
use equicrypt_ring::{IntegerWeights, LayerDigest, ModelDigest, PackedWeights};
use rayon::prelude::*;

use crate::Error;

/// The linear layers of a public checkpoint as integers.
pub struct LinearModel {
    layers: Vec<Layer>,
    digest: ModelDigest,
}

/// One of them.
pub(crate) struct Layer {
    pub(crate) id: LinearId,
    pub(crate) weights: PackedWeights,
}

impl LinearModel {
    /// Reads a Hugging Face folder of a decoder or an encoder. Two bytes a weight are kept.
    ///
    /// # Errors
    /// If it is not that of a supported model, or a weight is not finite.
    pub fn load(checkpoint: &Checkpoint) -> Result<Self, Error> {
        let source = LinearLayers::open(checkpoint)?;
        let read = |id: &LinearId| -> Result<(Layer, LayerDigest), Error> {
            let (id, weights) = (*id, source.read(*id)?);
            let integers =
                IntegerWeights::quantise(weights.outputs(), weights.inputs(), |row, out| {
                    weights.append_row(row, out)
                });
            let integers = integers.map_err(|source| Error::Layer {
                layer: id.to_string(),
                source,
            })?;
            let digest = integers.digest(&id.to_string());
            let weights = PackedWeights::new(&integers);
            Ok((Layer { id, weights }, digest))
        };
        let read: Vec<_> =
            (source.ids().par_iter().with_max_len(1).map(read)).collect::<Result<_, _>>()?;
        let (layers, digests): (Vec<_>, Vec<_>) = read.into_iter().unzip();
        Ok(Self {
            layers,
            digest: ModelDigest::of(&digests),
        })
    }

    /// What owners must have prepared to be answered.
    #[must_use]
    pub fn digest(&self) -> ModelDigest {
        self.digest
    }

    /// How many linear layers there are.
    #[must_use]
    pub fn layers(&self) -> usize {
        self.layers.len()
    }

    /// How many weights they have.
    #[must_use]
    pub fn weights(&self) -> u64 {
        let of = |layer: &Layer| layer.weights.inputs() as u64 * layer.weights.outputs() as u64;
        self.layers.iter().map(of).sum()
    }

    pub(crate) fn layer(&self, index: u32) -> Result<&Layer, Error> {
        self.layers.get(index as usize).ok_or(Error::NoLayer {
            found: index,
            last: self.layers.len().saturating_sub(1),
        })
    }
}
