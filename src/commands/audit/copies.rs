//! Encrypted copies of one model under fresh keys, for attacks that are to be tried under several.

use std::path::Path;

use anyhow::{Context, Result};
use equicrypt_audit::{EncryptedCopy, Truth};
use equicrypt_checkpoint::{Checkpoint, Dtype};
use equicrypt_cipher::{
    Homophones, MasterKey, Options, Schedule, Vocabulary, encrypt_with_homophones,
};
use equicrypt_spec::Manifest;
use tempfile::TempDir;

/// Copies, and where they are until this is dropped.
pub(super) struct Copies {
    pub(super) copies: Vec<EncryptedCopy>,
    _place: TempDir,
}

/// What an encrypted folder was made with, as its manifest and its weights tell.
pub(super) fn options_of(
    manifest: &Manifest,
    plain: &Checkpoint,
    encrypted: &Checkpoint,
) -> Result<Options> {
    let dtype = Dtype::from_name(&manifest.dtype)
        .with_context(|| format!("the manifest's dtype is {:?}", manifest.dtype))?;
    let expand = encrypted.model_config()?.hidden_size - plain.model_config()?.hidden_size;
    Ok(Options {
        profile: manifest.profile,
        dtype: Some(dtype),
        epoch: manifest.epoch,
        expand,
        scales: true,
        rotate_output: manifest.rotates_output,
        noise: manifest.noise,
    })
}

/// What makes one way to encrypt differ from another, in words.
pub(super) fn scheme(options: &Options) -> String {
    let mut words = vec![options.profile.name().to_owned()];
    if options.expand > 0 {
        words.push(format!("{} more coordinates", options.expand));
    }
    if options.rotate_output {
        words.push("rotated output".to_owned());
    }
    if options.noise > 0.0 {
        words.push(format!("noise {}", options.noise));
    }
    words.join(", ")
}

/// How many cipher ids an encrypted folder gives each plain id.
pub(super) fn homophones_of(key: &MasterKey, manifest: &Manifest) -> Result<Homophones> {
    let schedule = Schedule::new(key, &manifest.fingerprint()?, manifest.epoch);
    Ok(Homophones::open(&schedule, manifest)?)
}

impl Copies {
    /// `count` copies of `source`, each under a key that is thrown away.
    pub(super) fn make(
        source: &Checkpoint,
        options: &Options,
        homophones: &Homophones,
        count: usize,
    ) -> Result<Self> {
        let place = tempfile::tempdir().context("cannot make a folder for encrypted copies")?;
        let mut copies = Vec::new();
        for number in 0..count {
            let folder = place.path().join(number.to_string());
            let key = MasterKey::generate()?;
            let progress = |_| ();
            let summary =
                encrypt_with_homophones(source, &folder, &key, options, homophones, &progress)?;
            copies.push(open(&folder, &key, &summary.manifest)?);
        }
        Ok(Self {
            copies,
            _place: place,
        })
    }
}

/// An encrypted folder of which the key is at hand.
pub(super) fn open(folder: &Path, key: &MasterKey, manifest: &Manifest) -> Result<EncryptedCopy> {
    let truth = Truth::of(&Vocabulary::open(key, manifest)?)?;
    Ok(EncryptedCopy::open(folder, truth)?)
}
