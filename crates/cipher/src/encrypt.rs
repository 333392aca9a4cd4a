use std::path::Path;
use std::time::{Duration, Instant};

use equicrypt_checkpoint::{
    Checkpoint, CheckpointWriter, Dtype, StagedDir, TensorHeader, write_json,
};
use equicrypt_spec::{MANIFEST_FILE, Manifest, Profile};
use serde_json::json;

use crate::homophones::Homophones;
use crate::pass;
use crate::plan::{OutputTensor, Plan};
use crate::schedule::Schedule;
use crate::tokenizer::{dummy_tokenizer, dummy_tokenizer_config};
use crate::{Error, MasterKey, Secrets, Vocabulary};

/// How to encrypt.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// Which part of the legal groups to use.
    pub profile: Profile,
    /// The dtype of the output; the source's if none.
    pub dtype: Option<Dtype>,
    /// The counter in the key schedule.
    pub epoch: u32,
    /// Coordinates to add to the residual stream.
    pub expand: usize,
    /// Whether powers of two may be used; without them a model that is quantised afterwards loses less.
    pub scales: bool,
    /// Whether sentence embeddings are given a secret rotation of their own: by the linear layer behind the pooling, which is
    /// added where the model has none.
    pub rotate_output: bool,
    /// The standard deviation of Gaussian noise on the embedding of tokens and on the head, in that of the tensor itself: it
    /// trades fidelity for resistance, and unties the head. 0 for none.
    pub noise: f64,
}

/// What was written.
#[derive(Debug, Clone)]
pub struct Summary {
    /// The public manifest.
    pub manifest: Manifest,
    /// Output tensors.
    pub tensors: usize,
    /// Their size in bytes.
    pub bytes: u64,
    /// How long it took at the end until all of it was on the disk.
    pub flushing: Duration,
}

/// Encrypts `source` into the new folder `out` under `key`. `progress` is told, from any thread, how many bytes were
/// written since it was last called.
///
/// Everything is checked before the first byte is written, and the folder appears whole or not at all. Memory holds one
/// block of rows for each core, and where the secret of a tensor's output axis mixes rows, 64 million of its values.
pub fn encrypt(
    source: &Checkpoint,
    out: &Path,
    key: &MasterKey,
    options: &Options,
    progress: &(dyn Fn(u64) + Sync),
) -> Result<Summary, Error> {
    let homophones = Homophones::none(source.model_config()?.vocab_size);
    encrypt_with_homophones(source, out, key, options, &homophones, progress)
}

/// The same with more than one cipher id for some plain ids: every tensor that has a row for each id gets their copies, and the
/// manifest says under the key which they are.
pub fn encrypt_with_homophones(
    source: &Checkpoint,
    out: &Path,
    key: &MasterKey,
    options: &Options,
    homophones: &Homophones,
    progress: &(dyn Fn(u64) + Sync),
) -> Result<Summary, Error> {
    let mut plan = Plan::with_homophones(source, options, homophones, key.id())?;
    let schedule = Schedule::new(key, &plan.manifest.fingerprint()?, options.epoch);
    plan.manifest.homophone_table = homophones.seal(&schedule, &plan.manifest)?;
    let vocabulary = Vocabulary::with_homophones(&schedule, homophones, plan.manifest.kept_id);
    let mut secrets = Secrets::derive(&schedule, &plan.target, &plan.permits(), &vocabulary);
    if options.noise > 0.0 {
        secrets = secrets.with_noise(&schedule);
    }
    encrypt_with(source, out, &plan, &secrets, progress)
}

/// The write pass: `plan` carried out with `secrets`, whatever they are.
pub fn encrypt_with(
    source: &Checkpoint,
    out: &Path,
    plan: &Plan,
    secrets: &Secrets,
    progress: &(dyn Fn(u64) + Sync),
) -> Result<Summary, Error> {
    let staged = StagedDir::new(out)?;
    let header = |o: &OutputTensor| TensorHeader::new(o.spec.name.as_str(), o.dtype, &o.spec.shape);
    let headers: Vec<_> = plan.outputs.iter().map(header).collect();
    let writer = CheckpointWriter::create(staged.path(), &headers)?;
    pass::run(source, &writer, plan, secrets, progress)?;
    let start = Instant::now();
    writer.finish()?;

    let dtype = plan
        .outputs
        .first()
        .map_or(Dtype::F32, |output| output.dtype);
    let file = |name: &str| staged.path().join(name);
    write_json(
        &file("config.json"),
        &plan.target.to_json(dtype.torch_name()),
    )?;
    let no_ids = json!({ "bos_token_id": null, "eos_token_id": null, "pad_token_id": null });
    write_json(&file("generation_config.json"), &no_ids)?;
    let text = |name: &str, text: String| {
        std::fs::write(file(name), text).map_err(|source| {
            Error::Checkpoint(equicrypt_checkpoint::Error::Io {
                action: "write",
                path: file(name),
                source,
            })
        })
    };
    if let Some(head) = &plan.target.sentence {
        for (path, content) in head.files(plan.target.hidden_size) {
            if let Some((folder, _)) = path.split_once('/') {
                create_folder(&file(folder))?;
            }
            write_json(&file(&path), &content)?;
        }
    }
    text("tokenizer.json", dummy_tokenizer(plan.target.vocab_size))?;
    text(
        "tokenizer_config.json",
        dummy_tokenizer_config(&plan.target),
    )?;
    text(MANIFEST_FILE, plan.manifest.to_text())?;
    staged.commit()?;
    Ok(Summary {
        manifest: plan.manifest.clone(),
        tensors: plan.outputs.len(),
        bytes: plan.bytes(),
        flushing: start.elapsed(),
    })
}

/// A folder that the weights of the linear layer behind the pooling may have made already.
fn create_folder(folder: &Path) -> Result<(), Error> {
    std::fs::create_dir_all(folder).map_err(|source| {
        Error::Checkpoint(equicrypt_checkpoint::Error::Io {
            action: "create",
            path: folder.to_path_buf(),
            source,
        })
    })
}
