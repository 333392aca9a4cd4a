use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use equicrypt_checkpoint::Checkpoint;
use equicrypt_engine::{Chunk, Decoder, KvCache, Precision, Want};
use equicrypt_shares::{
    HostAddress, OwnerModel, PrepareOptions, Prepared, Remote, RemoteOptions, Traffic, prepare,
};
use serde_json::{Value, json};

use super::network::{Pace, relay};
use super::{median, threads, write_json};
use crate::args::BenchShares;
use crate::commands::host_process::HostProcess;
use crate::progress;
use crate::terminal::Terminal;

pub(super) fn run(args: &BenchShares) -> Result<()> {
    let place = tempfile::tempdir().context("cannot make a scratch folder")?;
    let busy = progress::spinner("preparing, and starting two hosts".into());
    let checkpoint = Checkpoint::open(&args.model)?;
    let owner = place.path().join("owner");
    let prepared = prepare(&checkpoint, &owner, &PrepareOptions::default())?;
    let host = |name| HostProcess::start_shares(&args.model, &place.path().join(name));
    let hosts = [host("a.key")?, host("b.key")?];
    let plain = Decoder::load(&checkpoint, Precision::F32)?;
    let most = plain.config().max_positions;
    let needed = args.prompt.get() + args.tokens.get();
    ensure!(
        needed <= most,
        "--prompt and --tokens: expected at most {most} together, the model's context, found {needed}"
    );
    let owner = Arc::new(OwnerModel::open(&owner)?);
    busy.finish_and_clear();

    let mut lines = vec![Line::measure("the engine alone", &plain, args, &|| ())?];
    drop(plain);
    let mut traffic = Traffic::default();
    for case in cases(args) {
        let addresses = [&hosts[0], &hosts[1]].map(|host| behind(host, case.network));
        let [a, b] = addresses;
        let options = RemoteOptions {
            reserve: case.reserve,
            ..RemoteOptions::default()
        };
        let remote = Remote::new(Arc::clone(&owner), [a?, b?], options)?;
        remote.connect()?;
        let decoder = remote.decoder(Precision::F32)?;
        let ready = || {
            while remote.reserved() < case.reserve {
                thread::sleep(MOMENT);
            }
            // The last ones are asked about, and not answered yet.
            thread::sleep(MOMENT);
        };
        lines.push(Line::measure(&case.name(), &decoder, args, &ready)?);
        // Masks that nobody took would count as bytes of tokens.
        if case.reserve == 0 {
            traffic = remote.traffic();
        }
    }
    tell(args, &lines, &traffic, &prepared)
}

/// One line of the table.
struct Case {
    network: Option<Pace>,
    reserve: usize,
}

/// No network at all first. A reserve is for all of a round.
fn cases(args: &BenchShares) -> Vec<Case> {
    let pace = |milliseconds: &f64| Pace {
        round_trip: Duration::from_secs_f64(milliseconds / 1e3),
        bits_per_second: args.megabits.get().saturating_mul(1_000_000),
    };
    let slow = args.round_trips.iter().map(pace).map(Some);
    let networks = [None].into_iter().chain(slow);
    let reserves = match args.reserve {
        true => vec![0, args.prompt.get() + args.tokens.get()],
        false => vec![0],
    };
    let with = |network| {
        let reserves = reserves.iter();
        reserves.map(move |reserve| Case {
            network,
            reserve: *reserve,
        })
    };
    networks.flat_map(with).collect()
}

impl Case {
    fn name(&self) -> String {
        let place = match self.network {
            None => "this machine".into(),
            Some(pace) => format!("{} ms", pace.round_trip.as_secs_f64() * 1e3),
        };
        match self.reserve {
            0 => format!("shares, {place}"),
            _ => format!("shares, {place}, reserve"),
        }
    }
}

/// The host, behind that network.
fn behind(host: &HostProcess, network: Option<Pace>) -> Result<HostAddress> {
    let Some(pace) = network else {
        return Ok(host.url().parse()?);
    };
    let parts = host.url().strip_prefix("tcp://");
    let (at, pin) = (parts.and_then(|rest| rest.split_once('#')))
        .with_context(|| format!("expected tcp://ADDRESS#FINGERPRINT, found {}", host.url()))?;
    let relayed = relay(at.to_owned(), pace).context("cannot listen on a free port")?;
    Ok(format!("tcp://{relayed}#{pin}").parse()?)
}

/// Ids a second, round by round.
struct Line {
    name: String,
    prompt: Vec<f64>,
    answer: Vec<f64>,
}

impl Line {
    /// `ready` is waited for before a round.
    fn measure(
        name: &str,
        decoder: &Decoder,
        args: &BenchShares,
        ready: &dyn Fn(),
    ) -> Result<Self> {
        let busy = progress::spinner(name.to_owned());
        let vocabulary = decoder.config().vocab_size as u32;
        let ids: Vec<u32> = (0..args.prompt.get() as u32)
            .map(|place| (place * 7_919 + 13) % vocabulary)
            .collect();
        // What is set up at the first call is no one's concern.
        pass(decoder, &mut decoder.new_cache(), &ids[..1])?;
        let (mut prompt, mut answer) = (Vec::new(), Vec::new());
        for _ in 0..args.rounds.get() {
            ready();
            let mut cache = decoder.new_cache();
            let start = Instant::now();
            pass(decoder, &mut cache, &ids)?;
            prompt.push(ids.len() as f64 / start.elapsed().as_secs_f64());
            let start = Instant::now();
            for place in 0..args.tokens.get() {
                pass(decoder, &mut cache, &[place as u32 % vocabulary])?;
            }
            answer.push(args.tokens.get() as f64 / start.elapsed().as_secs_f64());
        }
        busy.finish_and_clear();
        Ok(Self {
            name: name.to_owned(),
            prompt,
            answer,
        })
    }
}

fn pass(decoder: &Decoder, cache: &mut KvCache, tokens: &[u32]) -> Result<()> {
    let want = Want::Last;
    decoder.forward(&mut [Chunk {
        tokens,
        cache,
        want,
    }])?;
    Ok(())
}

fn tell(args: &BenchShares, lines: &[Line], traffic: &Traffic, prepared: &Prepared) -> Result<()> {
    let each = |bytes: u64| bytes as f64 / traffic.tokens as f64;
    let ways = [
        ("to A", each(traffic.a.sent), prepared.bytes_up),
        ("from A", each(traffic.a.received), prepared.bytes_down),
        ("to B", each(traffic.b.sent), 0),
        ("from B", each(traffic.b.received), prepared.bytes_down),
    ];
    let json = report(args, lines, &ways);
    let mut terminal = Terminal::new();
    if args.json.as_deref() == Some(Path::new("-")) {
        return terminal.json(&json);
    }
    terminal.line(&format!(
        "{}, owner and both hosts on this machine of {} threads; {} Mbit/s where a round trip is given; ids a second, medians of {} rounds \
         (least to most)",
        args.model.display(),
        threads(),
        args.megabits,
        args.rounds
    ))?;
    terminal.line(&format!(
        "{:<30} {:>26} {:>26}",
        "",
        format!("prompt of {}", args.prompt),
        format!("answer of {}", args.tokens)
    ))?;
    for line in lines {
        let cell = |rates: &[f64]| {
            let [least, most] = ends(rates);
            format!("{:.2} ({least:.2} to {most:.2})", median(rates))
        };
        terminal.line(&format!(
            "{:<30} {:>26} {:>26}",
            line.name,
            cell(&line.prompt),
            cell(&line.answer)
        ))?;
    }
    for (way, found, formula) in ways {
        terminal.line(&format!(
            "bytes a token {way}: {found:.0}; of vectors, by the layers' sizes, {formula}"
        ))?;
    }
    write_json(args.json.as_deref(), &json)
}

fn report(args: &BenchShares, lines: &[Line], ways: &[(&str, f64, u64)]) -> Value {
    let lines = lines.iter().map(|line| {
        json!({
            "case": line.name,
            "prompt": median(&line.prompt),
            "answer": median(&line.answer),
            "prompt_rounds": line.prompt,
            "answer_rounds": line.answer,
        })
    });
    let ways = ways
        .iter()
        .map(|(way, found, formula)| json!({ "way": way, "found": found, "of_vectors": formula }));
    json!({
        "model": args.model.display().to_string(),
        "threads": threads(),
        "megabits_per_second": args.megabits,
        "ids_per_second": lines.collect::<Vec<_>>(),
        "bytes_per_token": ways.collect::<Vec<_>>(),
    })
}

fn ends(rates: &[f64]) -> [f64; 2] {
    let least = rates.iter().copied().fold(f64::INFINITY, f64::min);
    [least, rates.iter().copied().fold(0.0, f64::max)]
}

const MOMENT: Duration = Duration::from_millis(50);
