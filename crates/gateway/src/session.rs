use std::sync::Arc;

use equicrypt_cipher::{CipherIds, MasterKey, Vocabulary};
use equicrypt_spec::Manifest;

use crate::belongs::belongs;
use crate::{Error, Owner};

/// One model under one key: plain ids to cipher ids and back. It exists only if key, manifest and
/// original model belong together, so that nothing can be encrypted under a wrong vocabulary, and
/// nothing is sent.
pub struct Session {
    owner: Arc<Owner>,
    vocabulary: Vocabulary,
    stop_ids: CipherIds,
    plain_vocab_size: usize,
    epoch: u32,
}

impl Session {
    /// Checks that the manifest names this key, and names the owner's model: architecture,
    /// vocabulary, and, if the folder has weights, their fingerprint. Without weights the
    /// fingerprint is believed; a manifest from the owner's own disk is then better than one that
    /// the host publishes.
    pub fn open(
        owner: impl Into<Arc<Owner>>,
        key: &MasterKey,
        manifest: &Manifest,
    ) -> Result<Self, Error> {
        let owner = owner.into();
        belongs(owner.dir(), owner.config(), manifest)?;
        Self::under(owner, key, manifest)
    }

    /// The same for a manifest that is known to be of the owner's model.
    pub(crate) fn under(
        owner: Arc<Owner>,
        key: &MasterKey,
        manifest: &Manifest,
    ) -> Result<Self, Error> {
        let vocabulary = Vocabulary::open(key, manifest)?;
        let stop_ids = vocabulary.encrypt_to_all(owner.stop_ids())?;
        Ok(Self {
            plain_vocab_size: owner.config().vocab_size,
            owner,
            vocabulary,
            stop_ids,
            epoch: manifest.epoch,
        })
    }

    /// Plain ids of a prompt to cipher ids.
    pub fn encrypt_prompt(&self, plain: &[u32]) -> Result<CipherIds, Error> {
        Ok(self.vocabulary.encrypt(plain)?)
    }

    /// The same where the cipher ids of the beginning are known, because a host generated some of them.
    pub fn encrypt_knowing(&self, plain: &[u32], known: &[u32]) -> Result<CipherIds, Error> {
        Ok(self.vocabulary.encrypt_knowing(plain, known)?)
    }

    /// Whether plain ids have more than one cipher id.
    #[must_use]
    pub fn has_homophones(&self) -> bool {
        self.vocabulary.has_homophones()
    }

    pub(crate) fn vocabulary(&self) -> &Vocabulary {
        &self.vocabulary
    }

    /// The cipher ids that end an answer.
    #[must_use]
    pub fn stop_ids(&self) -> &CipherIds {
        &self.stop_ids
    }

    /// Cipher ids of an answer to plain ids. Fails on an id outside the vocabulary.
    pub fn decrypt(&self, cipher: &[u32]) -> Result<Vec<u32>, Error> {
        let plain = self.vocabulary.decrypt(cipher)?;
        let outside = plain
            .iter()
            .position(|id| *id as usize >= self.plain_vocab_size);
        match outside {
            None => Ok(plain),
            Some(position) => Err(Error::Cipher(equicrypt_cipher::Error::IdOutOfRange {
                position,
                count: plain.len(),
                size: self.plain_vocab_size,
            })),
        }
    }

    /// How many cipher ids there are: what a host sends must be below.
    #[must_use]
    pub fn vocab_size(&self) -> usize {
        self.vocabulary.size()
    }

    /// The epoch of its vocabulary.
    #[must_use]
    pub fn epoch(&self) -> u32 {
        self.epoch
    }

    /// The original model's side.
    #[must_use]
    pub fn owner(&self) -> &Owner {
        &self.owner
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use equicrypt_checkpoint::{Checkpoint, CheckpointWriter, Dtype, TensorHeader};
    use equicrypt_spec::{FORMAT_VERSION, Profile};

    use super::*;
    use crate::belongs::hex;
    use crate::fixture::{END, VOCAB, folder};

    fn key() -> MasterKey {
        MasterKey::from_bytes([7; 32])
    }

    fn manifest(fingerprint: &[u8]) -> Manifest {
        Manifest {
            format_version: FORMAT_VERSION,
            key_id: key().id(),
            epoch: 0,
            weights_epoch: None,
            profile: Profile::Permute,
            architecture: "llama".into(),
            source_fingerprint: hex(fingerprint),
            vocab_size: VOCAB,
            plain_vocab_size: VOCAB,
            dtype: "BF16".into(),
            kept_id: None,
            rotates_output: false,
            noise: 0.0,
            homophone_table: None,
        }
    }

    fn open(dir: &Path, manifest: &Manifest) -> Result<Session, Error> {
        Session::open(Owner::open(dir)?, &key(), manifest)
    }

    #[test]
    fn ids_go_there_and_back() {
        let dir = folder();
        let session = open(dir.path(), &manifest(&[1; 32])).unwrap();
        let plain: Vec<u32> = (0..VOCAB as u32).collect();
        let cipher = session.encrypt_prompt(&plain).unwrap();
        assert_ne!(cipher.as_slice(), plain);
        assert_eq!(session.decrypt(cipher.as_slice()).unwrap(), plain);
        assert_eq!(
            session.decrypt(session.stop_ids().as_slice()).unwrap(),
            [END, 258]
        );
        assert!(session.encrypt_prompt(&[VOCAB as u32]).is_err());
        assert!(session.decrypt(&[VOCAB as u32]).is_err());
    }

    #[test]
    fn what_does_not_belong_together_opens_no_session() {
        let dir = folder();
        let good = manifest(&[1; 32]);
        let wrong_key = Manifest {
            key_id: MasterKey::from_bytes([8; 32]).id(),
            ..good.clone()
        };
        let error = open(dir.path(), &wrong_key).err().unwrap();
        assert!(
            matches!(
                error,
                Error::Cipher(equicrypt_cipher::Error::WrongKey { .. })
            ),
            "{error}"
        );
        for (manifest, what) in [
            (
                Manifest {
                    architecture: "qwen3".into(),
                    ..good.clone()
                },
                "architecture",
            ),
            (
                Manifest {
                    plain_vocab_size: VOCAB - 1,
                    ..good.clone()
                },
                "plain_vocab_size",
            ),
            (
                Manifest {
                    vocab_size: VOCAB - 1,
                    ..good.clone()
                },
                "vocab_size",
            ),
            (
                Manifest {
                    vocab_size: 1 << 28,
                    ..good.clone()
                },
                "vocab_size",
            ),
            (
                Manifest {
                    kept_id: Some(0),
                    ..good.clone()
                },
                "kept_id",
            ),
        ] {
            let message = open(dir.path(), &manifest).err().unwrap().to_string();
            assert!(message.contains(what), "{message}");
        }
    }

    #[test]
    fn the_fingerprint_counts_where_there_are_weights() {
        let dir = folder();
        let headers = [TensorHeader::new("w", Dtype::Bf16, &[2])];
        let writer = CheckpointWriter::create(dir.path(), &headers).unwrap();
        writer.write("w", 0, &[1, 2, 3, 4]).unwrap();
        writer.finish().unwrap();
        let fingerprint = Checkpoint::open(dir.path()).unwrap().fingerprint().unwrap();
        assert!(open(dir.path(), &manifest(&fingerprint)).is_ok());
        let message = open(dir.path(), &manifest(&[1; 32]))
            .err()
            .unwrap()
            .to_string();
        assert!(message.contains("source_fingerprint"), "{message}");
    }
}
