use std::sync::Arc;

use equicrypt_cipher::{CipherIds, MasterKey, Outputs};
use equicrypt_spec::{Manifest, Task};

use super::owner::{EncoderOwner, Prepared};
use crate::Error;
use crate::belongs::belongs;

/// One encoder under one key: texts to cipher ids, and a host's numbers back. It exists only if
/// key, manifest and original model belong together.
pub struct EncoderSession {
    owner: Arc<EncoderOwner>,
    outputs: Outputs,
}

/// A text that a host may see: cipher ids, and for each token which text of a pair it belongs to.
pub struct CipherText {
    ids: CipherIds,
    types: Vec<u32>,
}

impl EncoderSession {
    /// With the checks of [`crate::Session::open`].
    pub fn open(
        owner: impl Into<Arc<EncoderOwner>>,
        key: &MasterKey,
        manifest: &Manifest,
    ) -> Result<Self, Error> {
        let owner = owner.into();
        belongs(owner.dir(), owner.config(), manifest)?;
        Self::under(owner, key, manifest)
    }

    /// The same for a manifest that is known to be of the owner's model.
    pub(crate) fn under(
        owner: Arc<EncoderOwner>,
        key: &MasterKey,
        manifest: &Manifest,
    ) -> Result<Self, Error> {
        let outputs = Outputs::open(key, manifest, owner.config())?;
        Ok(Self { owner, outputs })
    }

    /// A text as it is sent.
    pub fn encrypt(&self, text: &Prepared) -> Result<CipherText, Error> {
        Ok(CipherText {
            ids: self.outputs.vocabulary().encrypt(&text.ids)?,
            types: text.types.clone(),
        })
    }

    /// A sentence embedding, cut to [`EncoderOwner::truncate_dim`].
    pub fn decrypt_embedding(&self, encrypted: &[f32]) -> Result<Vec<f64>, Error> {
        let mut vector = self.outputs.sentence(&exact(encrypted))?;
        vector.truncate(self.owner.truncate_dim().unwrap_or(usize::MAX));
        Ok(vector)
    }

    /// Logits of labels, of a text or of a token.
    pub fn decrypt_labels(&self, encrypted: &[f32]) -> Result<Vec<f64>, Error> {
        Ok(self.outputs.labels(&exact(encrypted))?)
    }

    /// Logits of all plain ids, at one token.
    pub fn decrypt_logits(&self, encrypted: &[f32]) -> Result<Vec<f64>, Error> {
        Ok(self.outputs.tokens(&exact(encrypted))?)
    }

    /// The vector of one token.
    pub fn decrypt_token_vector(&self, encrypted: &[f32]) -> Result<Vec<f64>, Error> {
        Ok(self.outputs.token_vector(&exact(encrypted))?)
    }

    /// How many cipher ids there are: what is sent is below.
    #[must_use]
    pub fn vocab_size(&self) -> usize {
        self.outputs.vocabulary().size()
    }

    /// Numbers in an embedding as a host sends it. Fails if the model makes none.
    pub fn embedding_width(&self) -> Result<usize, Error> {
        self.owner.demand(Task::Features)?;
        let config = self.owner.config();
        match &config.sentence {
            Some(head) if head.dense.is_some() => Ok(head.width),
            Some(_) => Ok(config.hidden_size),
            None => Err(Error::NoPooling {
                dir: self.owner.dir().to_owned(),
            }),
        }
    }

    /// The original model's side.
    #[must_use]
    pub fn owner(&self) -> &EncoderOwner {
        &self.owner
    }
}

impl CipherText {
    /// The token types are public: one for each id, or none.
    #[must_use]
    pub fn new(ids: CipherIds, token_types: Vec<u32>) -> Self {
        Self {
            ids,
            types: token_types,
        }
    }

    /// What the host sees.
    #[must_use]
    pub fn ids(&self) -> &[u32] {
        self.ids.as_slice()
    }

    /// For each token, which text of a pair it belongs to; empty if all belong to the first.
    #[must_use]
    pub fn token_types(&self) -> &[u32] {
        &self.types
    }
}

fn exact(values: &[f32]) -> Vec<f64> {
    values.iter().map(|value| f64::from(*value)).collect()
}
