//! How near an encrypted copy is to the original, on the texts of the audit.

use anyhow::{Result, bail};
use equicrypt_audit::{MeasuredFidelity, Renaming, compare, compare_encoders};
use equicrypt_checkpoint::Checkpoint;
use equicrypt_cipher::{MasterKey, Outputs, Vocabulary};
use equicrypt_engine::{Decoder, Encoder, Precision};
use equicrypt_spec::Manifest;

use crate::commands::verify;

/// The original, loaded, and what to compare on.
pub(super) enum Original {
    Decoder(Box<Decoder>, Vec<Vec<u32>>),
    Encoder(Box<Encoder>, Vec<(Vec<u32>, Vec<u32>)>),
}

impl Original {
    pub(super) fn load(source: &Checkpoint, texts: &[Vec<u32>]) -> Result<Self> {
        if source.model_config()?.task.is_of_encoder() {
            let texts = texts.iter().map(|text| (text.clone(), Vec::new()));
            let model = Box::new(Encoder::load(source, Precision::F32)?);
            return Ok(Self::Encoder(model, texts.collect()));
        }
        let prompts = verify::prompts(source.dir())?;
        let model = Box::new(Decoder::load(source, Precision::F32)?);
        Ok(Self::Decoder(model, prompts))
    }

    pub(super) fn compare(
        &self,
        encrypted: &Checkpoint,
        key: &MasterKey,
        manifest: &Manifest,
    ) -> Result<MeasuredFidelity> {
        match self {
            Self::Decoder(..) => self.compare_renamed(encrypted, &Vocabulary::open(key, manifest)?),
            Self::Encoder(plain, texts) => {
                let model = Encoder::load(encrypted, Precision::F32)?;
                let outputs = Outputs::open(key, manifest, plain.config())?;
                let fidelity = compare_encoders(plain, &model, &outputs, texts)?;
                Ok(MeasuredFidelity::Encoder(fidelity))
            }
        }
    }

    /// The same for a decoder of which only the renaming of ids is known.
    pub(super) fn compare_renamed(
        &self,
        encrypted: &Checkpoint,
        renaming: &impl Renaming,
    ) -> Result<MeasuredFidelity> {
        let Self::Decoder(plain, prompts) = self else {
            bail!("an encoder's outputs are renamed too");
        };
        let model = Decoder::load(encrypted, Precision::F32)?;
        let fidelity = compare(plain, &model, renaming, prompts, GREEDY_TOKENS)?;
        Ok(MeasuredFidelity::Decoder(fidelity))
    }
}

/// Each answer's: enough to see whether the answers begin alike.
const GREEDY_TOKENS: usize = 16;
