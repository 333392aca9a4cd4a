use std::sync::{Arc, Mutex, PoisonError};

use equicrypt_cipher::MasterKey;
use equicrypt_spec::Manifest;

use crate::belongs::belongs;
use crate::{EncoderOwner, EncoderSession, Error, Owner, Session};

/// One model under one key in every epoch that its hosts have: a session for each, opened when it is first needed. It holds
/// the key, because a host may change over to an epoch that nobody knew of at the start.
pub struct Epochs<S: OfOneEpoch> {
    owner: Arc<S::Owner>,
    key: MasterKey,
    /// Compared with the original model; all others are compared with it.
    first: Manifest,
    /// The latest one last.
    open: Mutex<Vec<(Manifest, Arc<S>)>>,
}

/// What [`Epochs`] keeps one of for each epoch.
pub trait OfOneEpoch: Sized {
    /// The original model's side, which all share.
    type Owner;

    /// Fails unless manifest and original belong together.
    fn check(owner: &Self::Owner, manifest: &Manifest) -> Result<(), Error>;

    /// For a manifest that belongs to the original. Fails if the key is another one.
    fn of_epoch(
        owner: &Arc<Self::Owner>,
        key: &MasterKey,
        manifest: &Manifest,
    ) -> Result<Self, Error>;
}

impl<S: OfOneEpoch> Epochs<S> {
    /// Opens the session of `manifest`, with all of its checks.
    pub fn new(
        owner: impl Into<Arc<S::Owner>>,
        key: MasterKey,
        manifest: &Manifest,
    ) -> Result<Self, Error> {
        let owner = owner.into();
        S::check(&owner, manifest)?;
        let epochs = Self {
            owner,
            key,
            first: manifest.clone(),
            open: Mutex::default(),
        };
        epochs.at(manifest)?;
        Ok(epochs)
    }

    /// The session of the epoch that `manifest` names. Fails if it differs from the first one in anything else.
    pub fn at(&self, manifest: &Manifest) -> Result<Arc<S>, Error> {
        if let Some(field) = self.first.first_difference_but_epochs(manifest) {
            return Err(Error::OtherEncryption { field });
        }
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let known = open
            .iter()
            .position(|(known, _)| known.first_difference(manifest).is_none());
        if let Some(place) = known {
            let found = open.remove(place);
            let session = Arc::clone(&found.1);
            open.push(found);
            return Ok(session);
        }
        let session = Arc::new(S::of_epoch(&self.owner, &self.key, manifest)?);
        // A host that names a new epoch every time must not fill the memory.
        if open.len() >= MOST_OPEN {
            open.remove(0);
        }
        open.push((manifest.clone(), Arc::clone(&session)));
        Ok(session)
    }

    /// Whether plain ids have more than one cipher id, in every epoch.
    #[must_use]
    pub fn has_homophones(&self) -> bool {
        self.first.homophones() > 0
    }

    /// The original model's side.
    #[must_use]
    pub fn owner(&self) -> &S::Owner {
        &self.owner
    }
}

impl OfOneEpoch for Session {
    type Owner = Owner;

    fn check(owner: &Owner, manifest: &Manifest) -> Result<(), Error> {
        belongs(owner.dir(), owner.config(), manifest)
    }

    fn of_epoch(owner: &Arc<Owner>, key: &MasterKey, manifest: &Manifest) -> Result<Self, Error> {
        Self::under(Arc::clone(owner), key, manifest)
    }
}

impl OfOneEpoch for EncoderSession {
    type Owner = EncoderOwner;

    fn check(owner: &EncoderOwner, manifest: &Manifest) -> Result<(), Error> {
        belongs(owner.dir(), owner.config(), manifest)
    }

    fn of_epoch(
        owner: &Arc<EncoderOwner>,
        key: &MasterKey,
        manifest: &Manifest,
    ) -> Result<Self, Error> {
        Self::under(Arc::clone(owner), key, manifest)
    }
}

/// One that is being left, one that is being changed to, and two to spare.
const MOST_OPEN: usize = 4;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::{encryption, folder};

    #[test]
    fn every_epoch_has_a_session_of_its_own_and_few_are_kept() {
        let dir = folder();
        let (key, manifest) = encryption();
        let owner = Owner::open(dir.path()).unwrap();
        let epochs = Epochs::<Session>::new(owner, key, &manifest).unwrap();
        let first = epochs.at(&manifest).unwrap();
        assert!(Arc::ptr_eq(&first, &epochs.at(&manifest).unwrap()));
        let plain: Vec<u32> = (0..200).collect();
        let cipher = |session: &Session| session.encrypt_prompt(&plain).unwrap();
        for epoch in 1..20 {
            let session = epochs.at(&manifest.rekeyed(epoch)).unwrap();
            assert_ne!(cipher(&session).as_slice(), cipher(&first).as_slice());
        }
        assert_eq!(epochs.open.lock().unwrap().len(), MOST_OPEN);
        let other = Manifest {
            architecture: "qwen3".into(),
            ..manifest
        };
        assert!(epochs.at(&other).is_err());
    }
}
