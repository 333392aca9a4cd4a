//! The original tokenizer with the ids of the secret vocabulary.

mod check;
mod classes;
mod folder;
mod ids;
mod model;
mod processor;
mod rewrite;
mod settings;
mod source;
#[cfg(test)]
mod tests;

use std::path::Path;

use equicrypt_checkpoint::{Checkpoint, model_config};
use equicrypt_cipher::{MasterKey, Schedule, Vocabulary};
use equicrypt_spec::{MANIFEST_FILE, Manifest, ModelConfig};

use crate::Error;
use crate::belongs::belongs;
use folder::File;
use ids::Ids;
use settings::Settings;
use source::Source;

/// A Hugging Face tokenizer folder that turns text into cipher ids and cipher ids into text:
/// `encode(text) = encrypt(encode_plain(text))`, `decode(ids) = decode_plain(decrypt(ids))`.
///
/// It is the secret vocabulary in another form: whoever has it reads what whoever has the key
/// reads. Everything is made and checked in memory; [`CipherTokenizer::write`] writes it.
pub struct CipherTokenizer {
    files: Vec<File>,
    tokens: usize,
}

impl CipherTokenizer {
    /// Makes the tokenizer of the original model in `dir`, with the checks of
    /// [`crate::Session::open`]. Without a manifest the vocabulary is the one of epoch 0, for which
    /// the folder must have its weights; whether the key encrypted the model is then not known.
    ///
    /// # Errors
    /// If key, manifest and model do not belong together; if a plain id has more than one cipher
    /// id; if a file cannot be read, or holds ids in a place that is not known.
    pub fn open(dir: &Path, key: &MasterKey, manifest: Option<&Manifest>) -> Result<Self, Error> {
        if dir.join(MANIFEST_FILE).exists() {
            return Err(Error::EncryptedFolder {
                dir: dir.to_owned(),
            });
        }
        let config = model_config(dir)?;
        let vocabulary = match manifest {
            Some(manifest) => {
                belongs(dir, &config, manifest)?;
                if manifest.vocab_size != manifest.plain_vocab_size {
                    return Err(Error::Homophones {
                        cipher: manifest.vocab_size,
                        plain: manifest.plain_vocab_size,
                    });
                }
                Vocabulary::open(key, manifest)?
            }
            None => first_epoch(dir, key, &config)?,
        };
        Self::under(dir, &vocabulary)
    }

    /// The same under a vocabulary of this model.
    fn under(dir: &Path, vocabulary: &Vocabulary) -> Result<Self, Error> {
        let ids = Ids::new(vocabulary)?;
        let settings = Settings::read(dir)?;
        let source = Source::read(dir, &settings)?;
        if source.vocab_size() > ids.count() {
            return Err(Error::Field {
                path: dir.join("config.json"),
                field: "vocab_size".into(),
                expected: "at least the number of ids of tokenizer.json",
                found: format!("{} for {} ids", ids.count(), source.vocab_size()),
            });
        }
        let rewritten = rewrite::rewrite(&source, &ids)?;
        check::check(&source, &rewritten, &ids)?;
        let mut files = vec![File::json("tokenizer.json", &rewritten.json)];
        files.push(File::json(
            "tokenizer_config.json",
            &settings.rewritten(&source, &ids)?,
        ));
        files.extend(settings.unchanged(&source)?);
        files.push(File::new("SECRET-DO-NOT-UPLOAD.txt", NOTICE.into()));
        Ok(Self {
            files,
            tokens: source.tokens(),
        })
    }

    /// Writes the folder, which appears complete or not at all; folder mode 0700, files 0600.
    ///
    /// # Errors
    /// If the folder exists, is to be inside an encrypted folder, or cannot be written.
    pub fn write(&self, output: &Path) -> Result<(), Error> {
        folder::write(&self.files, output)
    }

    /// How many tokens it has.
    #[must_use]
    pub fn tokens(&self) -> usize {
        self.tokens
    }
}

/// What `encrypt` uses unless it is told otherwise.
fn first_epoch(dir: &Path, key: &MasterKey, config: &ModelConfig) -> Result<Vocabulary, Error> {
    let fingerprint = Checkpoint::open(dir)?.fingerprint()?;
    let schedule = Schedule::new(key, &fingerprint, 0);
    let kept = config.uncounted_id();
    Ok(Vocabulary::derive(&schedule, config.vocab_size, kept))
}

const NOTICE: &str = "\
This folder is a secret. Keep it like the key that it was made with.

It is a tokenizer whose ids are the cipher ids of an encrypted model: together with the public
tokenizer it is the secret vocabulary. Whoever has it can read every prompt and every answer that
was, is or will be encrypted under the same key and epoch.

Use it on the owner's machine only. Do not upload it, do not put it beside the encrypted model, do
not give it to an engine that runs on the host.
";
