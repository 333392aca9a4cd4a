//! The whole thing on real models: what the owner sees, and what the host sees.

mod chat;
mod embeddings;
mod shares;
mod show;
mod turn;

use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result, bail};
use equicrypt_checkpoint::Checkpoint;
use equicrypt_cipher::{MasterKey, Options, read_key_file, write_key_file};
use equicrypt_gateway::Owner;
use equicrypt_spec::Profile;
use serde_json::json;

use crate::args::Demo;
use crate::commands::ask::conversation;
use crate::commands::fetch::cached;
use crate::models::{MINILM, Model, SMOLLM2};
use crate::terminal::Terminal;
use show::Show;

pub(super) fn run(args: &Demo) -> Result<()> {
    let mut show = Show::new(Terminal::new(), args.json);
    let scratch = tempfile::Builder::new()
        .prefix("equicrypt-demo-")
        .tempdir()
        .context("cannot make a temporary folder for the demo")?;
    let folder = |name: &str| -> Result<PathBuf> {
        let folder = scratch.path().join(name);
        std::fs::create_dir(&folder)
            .with_context(|| format!("cannot make {}", folder.display()))?;
        Ok(folder)
    };
    if args.shares {
        let model = match &args.model {
            Some(model) => model.clone(),
            None => fetched(&mut show, &SMOLLM2, &folder("chat")?)?,
        };
        if Checkpoint::open(&model)?
            .model_config()?
            .task
            .is_of_encoder()
        {
            bail!(
                "{} does not answer; --shares is for decoders",
                model.display()
            );
        }
        let report = shares::run(&mut show, args, scratch.path(), &model)?;
        return finish(args, &report);
    }
    let start = Instant::now();
    let key = key(&scratch.path().join("owner.key"))?;
    let made = format!("32 random bytes, key id {}", key.id());
    show.step("key", &made, start)?;

    if let Some(model) = &args.model {
        let config = Checkpoint::open(model)?.model_config()?;
        let own = folder("own")?;
        let report = if !config.task.is_of_encoder() {
            chat::run(&mut show, args, &own, model, &key)?
        } else if config.sentence.is_some() {
            let embeddings = embeddings::run(&mut show, &own, model, &key)?;
            json!({ "embeddings": embeddings })
        } else {
            bail!(
                "{} gives neither text nor sentence embeddings; encrypt, serve and classify it instead",
                model.display()
            );
        };
        show.threats()?;
        return finish(args, &report);
    }
    let own = folder("chat")?;
    let model = fetched(&mut show, &SMOLLM2, &own)?;
    let mut report = chat::run(&mut show, args, &own, &model, &key)?;
    show.heading("\nThe same with sentence embeddings")?;
    let own = folder("embeddings")?;
    let model = fetched(&mut show, &MINILM, &own)?;
    report["embeddings"] = embeddings::run(&mut show, &own, &model, &key)?;
    show.threats()?;
    finish(args, &report)
}

fn finish(args: &Demo, report: &serde_json::Value) -> Result<()> {
    if args.json {
        Terminal::new().json(report)?;
    }
    Ok(())
}

fn key(path: &Path) -> Result<MasterKey> {
    write_key_file(path, &MasterKey::generate()?, None)?;
    Ok(read_key_file(path, || {
        Err(equicrypt_cipher::Error::PassphraseNeeded)
    })?)
}

/// A model that is downloaded once.
fn fetched(show: &mut Show, model: &'static Model, scratch: &Path) -> Result<PathBuf> {
    let cached = cached(model)?;
    let start = Instant::now();
    let folder = scratch.join("plain");
    cached.write(&folder)?;
    let made = format!("{}, as a Hugging Face folder", model.name);
    show.step("model", &made, start)?;
    Ok(folder)
}

/// The question's ids, in the model's chat template if it has one.
fn prompt(owner: &Owner, question: &str) -> Result<Vec<u32>> {
    Ok(match owner.template() {
        Some(_) => owner.prompt(&conversation(None, question))?,
        None => owner.prompt_of_text(question)?,
    })
}

fn options() -> Options {
    Options {
        profile: Profile::Permute,
        dtype: None,
        epoch: 0,
        expand: 0,
        scales: true,
        rotate_output: false,
        noise: 0.0,
    }
}
