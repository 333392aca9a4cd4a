use std::collections::HashMap;
use std::path::Path;

use equicrypt_checkpoint::Checkpoint;
use equicrypt_engine::{LinearId, LinearLayers};
use equicrypt_ring::ModelDigest;
use equicrypt_spec::ModelConfig;

use crate::Error;
use crate::check::LayerCheck;
use crate::files::{CheckFile, MANIFEST_FILE, Manifest, bias_tensor, scales_tensor};

/// A folder that [`prepare`](crate::prepare) has made, as far as hosts' answers need it.
pub struct OwnerModel {
    checkpoint: Checkpoint,
    config: ModelConfig,
    digest: ModelDigest,
    layers: Vec<OwnerLayer>,
    by_name: HashMap<String, usize>,
}

/// What the owner knows of a linear layer.
pub(crate) struct OwnerLayer {
    pub(crate) name: String,
    pub(crate) inputs: usize,
    pub(crate) outputs: usize,
    /// Of each output's weights.
    pub(crate) scales: Vec<f64>,
    pub(crate) bias: Option<Vec<f64>>,
    pub(crate) check: LayerCheck,
    /// Whether it belongs to the layers that every token passes.
    pub(crate) is_of_all_tokens: bool,
}

impl OwnerLayer {
    pub(crate) fn error(&self, source: equicrypt_ring::Error) -> Error {
        Error::Layer {
            layer: self.name.clone(),
            source,
        }
    }
}

impl OwnerModel {
    /// Opens the folder.
    ///
    /// # Errors
    /// If it is not one, is damaged, or others can read what answers are checked with.
    pub fn open(dir: &Path) -> Result<Self, Error> {
        let manifest = Manifest::read(dir)?;
        let wrong = |expected: &str, found: String| Error::Folder {
            path: dir.join(MANIFEST_FILE),
            expected: expected.to_owned(),
            found,
        };
        let digest = ModelDigest::from_hex(&manifest.digest);
        let digest = digest.ok_or_else(|| wrong("a digest", manifest.digest.clone()))?;
        let checkpoint = Checkpoint::open(dir)?;
        let config = checkpoint
            .model_config()
            .map_err(equicrypt_engine::Error::from)?;
        let checks = CheckFile::read(dir, &digest, &manifest.layers)?;
        let mut layers = Vec::with_capacity(manifest.layers.len());
        let entries = manifest.layers.into_iter().zip(checks.products);
        for (index, (entry, product)) in entries.enumerate() {
            let read = |name: &str| -> Result<Vec<f64>, Error> {
                let values = checkpoint.read_f64(name)?;
                match values.len() == entry.outputs {
                    true => Ok(values),
                    false => Err(wrong(
                        &format!("{} numbers in {name}", entry.outputs),
                        values.len().to_string(),
                    )),
                }
            };
            layers.push(OwnerLayer {
                scales: read(&scales_tensor(index))?,
                bias: match entry.has_bias {
                    true => Some(read(&bias_tensor(index))?),
                    false => None,
                },
                check: LayerCheck::new(&checks.seed, index, entry.outputs, &product),
                is_of_all_tokens: entry.name.contains(" of layer "),
                name: entry.name,
                inputs: entry.inputs,
                outputs: entry.outputs,
            });
        }
        let names = layers
            .iter()
            .enumerate()
            .map(|(index, layer)| (layer.name.clone(), index));
        Ok(Self {
            by_name: names.collect(),
            checkpoint,
            config,
            digest,
            layers,
        })
    }

    /// What the model is.
    #[must_use]
    pub fn config(&self) -> &ModelConfig {
        &self.config
    }

    /// What hosts must have.
    #[must_use]
    pub fn digest(&self) -> ModelDigest {
        self.digest
    }

    /// The folder: the embedding and the norms.
    #[must_use]
    pub fn checkpoint(&self) -> &Checkpoint {
        &self.checkpoint
    }

    /// The linear layers that the folder has whole, so that they are computed here.
    pub(crate) fn local_layers(&self) -> Result<LinearLayers<'_>, Error> {
        Ok(LinearLayers::open_part(&self.checkpoint)?)
    }

    pub(crate) fn layers(&self) -> &[OwnerLayer] {
        &self.layers
    }

    pub(crate) fn index(&self, id: LinearId) -> Option<usize> {
        self.by_name.get(&id.to_string()).copied()
    }
}
