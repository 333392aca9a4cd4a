use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use equicrypt_checkpoint::Checkpoint;
use equicrypt_engine::{Chunk, Decoder, Precision, Want};
use equicrypt_gateway::Owner;
use equicrypt_shares::{OwnerModel, PrepareOptions, Remote, RemoteOptions, prepare};
use serde_json::{Value, json};

use super::prompt;
use super::show::{SharesReport, Show};
use crate::args::Demo;
use crate::commands::host_process::HostProcess;
use crate::commands::shares_view::View;

/// One question to the engine alone, and to an engine whose linear layers two other processes compute.
pub(super) fn run(show: &mut Show, args: &Demo, scratch: &Path, model: &Path) -> Result<Value> {
    let start = Instant::now();
    let checkpoint = Checkpoint::open(model)?;
    let folder = scratch.join("owner");
    let prepared = prepare(&checkpoint, &folder, &PrepareOptions::default())?;
    let made = format!(
        "{} linear layers of {} million weights are for the hosts; the owner's folder checks their answers",
        prepared.layers,
        prepared.weights / 1_000_000
    );
    show.step("prepare", &made, start)?;

    let start = Instant::now();
    let host = |name| HostProcess::start_shares(model, &scratch.join(name));
    let hosts = [host("a.key")?, host("b.key")?];
    let [a, b] = [&hosts[0], &hosts[1]].map(HostProcess::id);
    let started = format!("processes {a} and {b}: started with the public model and nothing else");
    show.step("hosts", &started, start)?;
    let addresses = [hosts[0].url().parse()?, hosts[1].url().parse()?];
    let owner_model = Arc::new(OwnerModel::open(&folder)?);
    let remote = Remote::new(owner_model, addresses, RemoteOptions::default())?;
    // Of the prompt's pass through the first layer.
    let views: Arc<Mutex<Option<[View; 2]>>> = Arc::default();
    let kept = Arc::clone(&views);
    remote.watch(move |seen| {
        let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.is_none() {
            *kept = Some([View::of_a(seen), View::of_b(seen)]);
        }
    });
    remote.connect()?;
    let there = remote.decoder(Precision::F32)?;

    let owner = Owner::open(model)?;
    let prompt = prompt(&owner, &args.prompt)?;
    let room = owner.max_positions() - prompt.len();
    let most = room.min(args.max_tokens as usize);
    show.question(
        &args.prompt,
        "Answered here, with linear layers from two hosts:",
    )?;
    let mut text = owner.text().stream();
    let mut on_id = |id: u32| -> Result<()> {
        if !owner.stop_ids().contains(&id)
            && let Some(piece) = text.push(id)?
        {
            show.piece(&piece)?;
        }
        Ok(())
    };
    let of_shares = answer(&there, &owner, &prompt, most, &mut on_id)?;
    show.piece(&text.finish()?.unwrap_or_default())?;
    show.end_of_answer()?;
    let here = Decoder::load(&checkpoint, Precision::F32)?;
    let alone = answer(&here, &owner, &prompt, most, &mut |_| Ok(()))?;

    let traffic = remote.traffic();
    let views = views.lock().unwrap_or_else(PoisonError::into_inner).take();
    let answer = owner.text().decode(&of_shares.ids, true)?;
    let plain_answer = owner.text().decode(&alone.ids, true)?;
    let report = SharesReport {
        prompt: &args.prompt,
        answer: &answer,
        plain_answer: &plain_answer,
        views: views.as_ref(),
        identical: of_shares.ids == alone.ids,
        rates: [alone.rate(), of_shares.rate()],
        bytes: [traffic.a, traffic.b],
        tokens: traffic.tokens,
    };
    if !args.json {
        show.shares(&report)?;
    }
    ensure!(
        report.identical,
        "the answer with two hosts differs from the plain model's"
    );
    let seen = |view: &View| json!({ "sent": view.sent.0, "answered": view.received.0 });
    Ok(json!({
        "prompt": report.prompt,
        "answer": report.answer,
        "plain_answer": report.plain_answer,
        "identical": report.identical,
        "host_a_saw": views.as_ref().map(|views| seen(&views[0])),
        "host_b_saw": views.as_ref().map(|views| seen(&views[1])),
        "tokens_per_second": { "plain": report.rates[0], "shares": report.rates[1] },
        "bytes": {
            "tokens": traffic.tokens,
            "to_a": traffic.a.sent, "from_a": traffic.a.received,
            "to_b": traffic.b.sent, "from_b": traffic.b.received,
        },
    }))
}

/// A greedy answer.
struct Answer {
    ids: Vec<u32>,
    /// From the first id to the last.
    decoding: Duration,
}

impl Answer {
    /// Ids a second; the first belongs to the prompt's time.
    fn rate(&self) -> f64 {
        let ids = self.ids.len().saturating_sub(1) as f64;
        match self.decoding.as_secs_f64() {
            0.0 => 0.0,
            seconds => ids / seconds,
        }
    }
}

fn answer(
    decoder: &Decoder,
    owner: &Owner,
    prompt: &[u32],
    most: usize,
    on_id: &mut dyn FnMut(u32) -> Result<()>,
) -> Result<Answer> {
    let mut cache = decoder.new_cache();
    let (mut next, mut ids) = (prompt.to_vec(), Vec::new());
    let mut first = Instant::now();
    while ids.len() < most {
        let chunk = Chunk {
            tokens: &next,
            cache: &mut cache,
            want: Want::Last,
        };
        let logits = decoder.forward(&mut [chunk])?.remove(0).row_f64(0);
        let largest = (0..logits.len()).max_by(|a, b| logits[*a].total_cmp(&logits[*b]));
        let id = largest.unwrap_or_default() as u32;
        if ids.is_empty() {
            first = Instant::now();
        }
        ids.push(id);
        on_id(id)?;
        if owner.stop_ids().contains(&id) {
            break;
        }
        next = vec![id];
    }
    Ok(Answer {
        ids,
        decoding: first.elapsed(),
    })
}
