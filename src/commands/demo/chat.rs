use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::Result;
use equicrypt_cipher::{CipherIds, MasterKey};
use equicrypt_gateway::{Host, Owner, Session};
use equicrypt_spec::MANIFEST_FILE;
use serde_json::{Value, json};

use super::show::{Report, Show};
use super::turn::{self, Turn, turn};
use super::{options, prompt};
use crate::args::Demo;
use crate::commands::ask::runtime;
use crate::commands::encrypt::encrypt;
use crate::commands::host_process::HostProcess;
use crate::commands::tokens::read_manifest;

/// One question to the plain and to the encrypted model, both in processes of their own.
pub(super) fn run(
    show: &mut Show,
    args: &Demo,
    scratch: &Path,
    model: &Path,
    key: &MasterKey,
) -> Result<Value> {
    let at = |name: &str| -> PathBuf { scratch.join(name) };
    let start = Instant::now();
    let options = options();
    let summary = encrypt(model, &at("encrypted"), key, &options)?;
    let written = format!(
        "{} tensors, {} MB, profile permute",
        summary.tensors,
        summary.bytes / 1_000_000
    );
    show.step("encrypt", &written, start)?;

    let start = Instant::now();
    let encrypted_host = HostProcess::start(&at("encrypted"))?;
    let (process, url) = (encrypted_host.id(), encrypted_host.url());
    let started =
        format!("process {process}, on {url}: started with the encrypted folder and nothing else");
    show.step("host", &started, start)?;
    let plain_host = HostProcess::start(model)?;

    let owner = Owner::open(model)?;
    let prompt = prompt(&owner, &args.prompt)?;
    let manifest = read_manifest(&at("encrypted").join(MANIFEST_FILE))?;
    let session = Session::open(owner, key, &manifest)?;
    let owner = session.owner();
    let room = owner.max_positions() - prompt.len();
    let max_tokens = room.min(args.max_tokens as usize);
    let sent = session.encrypt_prompt(&prompt)?;
    // The demo's prompt is no secret: the plain model has to see it to be compared with.
    let plain_stops = CipherIds::of_public_text(owner.stop_ids().to_vec());
    let plain_prompt = CipherIds::of_public_text(prompt);

    let runtime = runtime()?;
    let hosts = (
        Host::new(encrypted_host.url(), None)?,
        Host::new(plain_host.url(), None)?,
    );
    let (mut encrypted_turns, mut plain_turns): (Vec<Turn>, Vec<Turn>) = (Vec::new(), Vec::new());
    show.question(
        &args.prompt,
        "The host answers in cipher ids, decrypted here:",
    )?;
    // Alternating, so that whatever else the machine does falls on both.
    for round in 0..ROUNDS {
        let mut text = owner.text().stream();
        let mut on_ids = |ids: &[u32]| -> Result<()> {
            for id in session.decrypt(ids)? {
                if round == 0
                    && !owner.stop_ids().contains(&id)
                    && let Some(piece) = text.push(id)?
                {
                    show.piece(&piece)?;
                }
            }
            Ok(())
        };
        let encrypted = turn(
            &hosts.0,
            &sent,
            session.stop_ids(),
            session.vocab_size(),
            max_tokens,
            &mut on_ids,
        );
        encrypted_turns.push(runtime.block_on(encrypted)?);
        if round == 0 {
            show.piece(&text.finish()?.unwrap_or_default())?;
            show.end_of_answer()?;
        }
        let vocab = owner.config().vocab_size;
        let mut ignore = |_: &[u32]| Ok(());
        let plain = turn(
            &hosts.1,
            &plain_prompt,
            &plain_stops,
            vocab,
            max_tokens,
            &mut ignore,
        );
        plain_turns.push(runtime.block_on(plain)?);
    }

    let returned = encrypted_turns[0].ids.clone();
    let decrypted = session.decrypt(&returned)?;
    let plain_ids = &plain_turns[0].ids;
    let report = Report {
        prompt: &args.prompt,
        host_saw: sent.as_slice(),
        host_saw_as_text: owner.text().garble(sent.as_slice()),
        host_returned: &returned,
        host_returned_as_text: owner.text().garble(&returned),
        answer: owner.text().decode(&decrypted, true)?,
        plain_answer: owner.text().decode(plain_ids, true)?,
        identical: decrypted == *plain_ids,
        plain_rate: turn::rate(&plain_turns),
        encrypted_rate: turn::rate(&encrypted_turns),
        key_id: key.id().to_string(),
    };
    if !args.json {
        show.report(&report)?;
    }
    anyhow::ensure!(
        report.identical,
        "the encrypted model's answer differs from the plain model's"
    );
    Ok(json!({
        "prompt": report.prompt,
        "host_saw": report.host_saw,
        "host_returned": report.host_returned,
        "host_returned_as_text": report.host_returned_as_text,
        "answer": report.answer,
        "plain_answer": report.plain_answer,
        "identical": report.identical,
        "tokens_per_second": { "plain": report.plain_rate, "encrypted": report.encrypted_rate },
        "key_id": report.key_id,
    }))
}

/// How often each model answers, for the rates.
const ROUNDS: usize = 3;
