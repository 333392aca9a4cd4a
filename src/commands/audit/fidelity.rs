//! How near an encrypted copy is to the original, on the texts of the audit.

use anyhow::Result;
use equicrypt_audit::{MeasuredFidelity, compare, compare_encoders};
use equicrypt_checkpoint::Checkpoint;
use equicrypt_cipher::{MasterKey, Outputs, Vocabulary};
use equicrypt_engine::{Decoder, Encoder, Precision};
use equicrypt_spec::Manifest;

use crate::commands::verify;

/// The original, loaded, and what to compare on.
pub(super) enum Original {
    Decoder(Decoder, Vec<Vec<u32>>),
    Encoder(Encoder, Vec<(Vec<u32>, Vec<u32>)>),
}

impl Original {
    pub(super) fn load(source: &Checkpoint, texts: &[Vec<u32>]) -> Result<Self> {
        if source.model_config()?.task.is_of_encoder() {
            let texts = texts.iter().map(|text| (text.clone(), Vec::new()));
            let model = Encoder::load(source, Precision::F32)?;
            return Ok(Self::Encoder(model, texts.collect()));
        }
        let prompts = verify::prompts(source.dir())?;
        let model = Decoder::load(source, Precision::F32)?;
        Ok(Self::Decoder(model, prompts))
    }

    pub(super) fn compare(
        &self,
        encrypted: &Checkpoint,
        key: &MasterKey,
        manifest: &Manifest,
    ) -> Result<MeasuredFidelity> {
        Ok(match self {
            Self::Decoder(plain, prompts) => {
                let model = Decoder::load(encrypted, Precision::F32)?;
                let vocabulary = Vocabulary::open(key, manifest)?;
                let fidelity = compare(plain, &model, &vocabulary, prompts, GREEDY_TOKENS)?;
                MeasuredFidelity::Decoder(fidelity)
            }
            Self::Encoder(plain, texts) => {
                let model = Encoder::load(encrypted, Precision::F32)?;
                let outputs = Outputs::open(key, manifest, plain.config())?;
                MeasuredFidelity::Encoder(compare_encoders(plain, &model, &outputs, texts)?)
            }
        })
    }
}

/// Each answer's: enough to see whether the answers begin alike.
const GREEDY_TOKENS: usize = 16;
