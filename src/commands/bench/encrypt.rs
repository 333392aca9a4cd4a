use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result};
use equicrypt_checkpoint::Checkpoint;
use serde::Serialize;
use serde_json::{Value, json};

use super::{copies, median, process, synthetic, write_json};
use crate::args::{BenchEncrypt, Way};
use crate::progress;
use crate::terminal::Terminal;

pub(super) fn run(args: &BenchEncrypt) -> Result<()> {
    let place = match &args.scratch {
        Some(dir) => tempfile::Builder::new().prefix("bench-").tempdir_in(dir),
        None => tempfile::tempdir(),
    };
    let place = place.context("cannot make a scratch folder; give another one with --scratch")?;
    let bench = Bench::prepare(args, place.path())?;
    let mut contestants = vec![Contestant::Loop, Contestant::Cp];
    contestants.extend(args.ways().iter().copied().map(Contestant::Encrypt));
    let mut runs = Vec::new();
    for round in 0..args.rounds.get() {
        for contestant in &contestants {
            let label = format!("round {}: {}", round + 1, contestant.name());
            let busy = progress::spinner(label);
            runs.extend(bench.run(round, *contestant)?);
            busy.finish_and_clear();
        }
    }
    let report = Report {
        bytes: bench.bytes,
        cores: std::thread::available_parallelism().map_or(1, usize::from),
        rounds: args.rounds.get(),
        contestants,
        runs,
    };
    report.tell(&bench.about, args.json.as_deref())
}

/// Who takes turns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Contestant {
    Loop,
    Cp,
    Encrypt(Way),
}

/// One turn of one of them.
#[derive(Serialize)]
struct Run {
    contestant: &'static str,
    round: u16,
    /// Until everything was written: from here on the system wrote by itself.
    written_seconds: f64,
    /// Until everything was on the disk.
    flushed_seconds: f64,
    /// Of the process that encrypted.
    peak_memory_bytes: Option<u64>,
}

/// What all turns share.
struct Bench {
    model: PathBuf,
    about: String,
    bytes: u64,
    key: PathBuf,
    out: PathBuf,
}

impl Bench {
    fn prepare(args: &BenchEncrypt, place: &Path) -> Result<Self> {
        let (model, about) = match &args.model {
            Some(model) => (model.clone(), model.display().to_string()),
            None => {
                let model = place.join("model");
                let busy = progress::spinner("making a model with random weights".into());
                synthetic::llama(&model, args.size)?;
                busy.finish_and_clear();
                (model, "a Llama with random bf16 weights".to_owned())
            }
        };
        let layers = Checkpoint::open(&model)?.model_config()?.layers;
        let key = process::key(place)?;
        Ok(Self {
            bytes: copies::warm(&model)?,
            about: format!("{about}, {layers} layers"),
            model,
            key,
            out: place.join("out"),
        })
    }

    /// One turn, with everything that is read in memory and nothing left to be written; `None` if there is no cp.
    fn run(&self, round: u16, contestant: Contestant) -> Result<Option<Run>> {
        copies::warm(&self.model)?;
        let start = Instant::now();
        let mut peak_memory_bytes = None;
        let (written, flushed) = match contestant {
            Contestant::Loop | Contestant::Cp => {
                match contestant {
                    Contestant::Loop => copies::by_loop(&self.model, &self.out)?,
                    _ if copies::by_cp(&self.model, &self.out)? => {}
                    _ => return Ok(None),
                }
                let written = start.elapsed().as_secs_f64();
                copies::flush(&self.out)?;
                (written, start.elapsed().as_secs_f64())
            }
            Contestant::Encrypt(way) => {
                let summary = process::encrypt(&self.model, &self.key, &self.out, options(way))?;
                let flushed = start.elapsed().as_secs_f64();
                peak_memory_bytes = summary["peak_memory_bytes"].as_u64();
                let flush = summary["flush_seconds"].as_f64();
                (flushed - flush.context("no flush_seconds")?, flushed)
            }
        };
        std::fs::remove_dir_all(&self.out).context("cannot delete a copy")?;
        if let Some(place) = self.out.parent() {
            copies::flush(place)?;
        }
        Ok(Some(Run {
            contestant: contestant.name(),
            round,
            written_seconds: written,
            flushed_seconds: flushed,
            peak_memory_bytes,
        }))
    }
}

fn options(way: Way) -> &'static [&'static str] {
    match way {
        Way::Permute => &["--profile", "permute"],
        Way::RotateBf16 => &["--profile", "rotate", "--dtype", "bf16"],
        Way::RotateF32 => &["--profile", "rotate", "--dtype", "f32"],
    }
}

impl Contestant {
    fn name(self) -> &'static str {
        match self {
            Self::Loop => "copy, by a loop",
            Self::Cp => "cp",
            Self::Encrypt(Way::Permute) => "permute",
            Self::Encrypt(Way::RotateBf16) => "rotate, bf16",
            Self::Encrypt(Way::RotateF32) => "rotate, f32",
        }
    }
}

/// Where the clock stops.
#[derive(Clone, Copy)]
enum Stop {
    Written,
    Flushed,
}

struct Report {
    bytes: u64,
    cores: usize,
    rounds: u16,
    contestants: Vec<Contestant>,
    runs: Vec<Run>,
}

impl Report {
    fn tell(&self, about: &str, json: Option<&Path>) -> Result<()> {
        let mut terminal = Terminal::new();
        if json == Some(Path::new("-")) {
            return terminal.json(&self.json(about));
        }
        self.table(&mut terminal, about)?;
        write_json(json, &self.json(about))
    }

    fn table(&self, terminal: &mut Terminal, about: &str) -> Result<()> {
        terminal.line(&format!(
            "{about}, {:.2} GB, in memory; {} cores; medians of {} rounds, in turn; GB of the original a second",
            self.bytes as f64 / 1e9,
            self.cores,
            self.rounds,
        ))?;
        terminal.line(&format!(
            "{:<16} {:^29}  {:^29}",
            "", "written", "flushed to the disk"
        ))?;
        let half = format!("{:>9} {:>9} {:>9}", "GB/s", "of copy", "of cp");
        terminal.line(&format!("{:<16} {half}  {half} {:>12}", "", "peak memory"))?;
        for contestant in &self.contestants {
            let mut line = format!("{:<16}", contestant.name());
            for stop in [Stop::Written, Stop::Flushed] {
                let [rate, copy, cp] = self.figures(*contestant, stop);
                line += &format!(" {rate:>9.2} {copy:>9.2} {cp:>9.2} ");
            }
            if let Some(peak) = self.peak(*contestant) {
                line += &format!("{:>9.0} MB", peak as f64 / 1e6);
            }
            terminal.line(line.trim_end())?;
        }
        for contestant in &self.contestants {
            if let Contestant::Encrypt(_) = contestant {
                let [written, flushed] = self.per_core(*contestant);
                terminal.line(&format!(
                    "{}: {:.0} MB/s a core written, {:.0} flushed: {:.0} and {:.0} times the nearest published figure, \
                     14 billion parameters in 3.43 minutes on 96 cores ({:.2} MB/s a core)",
                    contestant.name(),
                    written * 1e3,
                    flushed * 1e3,
                    written / PEER,
                    flushed / PEER,
                    PEER * 1e3,
                ))?;
            }
        }
        Ok(())
    }

    fn json(&self, about: &str) -> Value {
        let medians = self.contestants.iter().map(|contestant| {
            let figures = |stop| {
                let [rate, copy, cp] = self.figures(*contestant, stop);
                json!({ "gb_per_second": rate, "of_copy": copy, "of_cp": cp })
            };
            let value = json!({
                "written": figures(Stop::Written),
                "flushed": figures(Stop::Flushed),
                "peak_memory_bytes": self.peak(*contestant),
                "gb_per_second_and_core": self.per_core(*contestant),
            });
            (contestant.name().to_owned(), value)
        });
        json!({
            "model": about,
            "bytes": self.bytes,
            "cores": self.cores,
            "rounds": self.rounds,
            "medians": medians.collect::<serde_json::Map<_, _>>(),
            "peer_gb_per_second_and_core": PEER,
            "runs": self.runs,
        })
    }

    /// GB/s, and as shares of those of copying in the same round by a loop and by cp; NaN where there is no cp.
    fn figures(&self, contestant: Contestant, stop: Stop) -> [f64; 3] {
        let rates = self.rates(contestant, stop);
        let of = |other| {
            let other = self.rates(other, stop);
            let ratios = rates.iter().zip(&other).map(|(rate, other)| rate / other);
            median(&ratios.collect::<Vec<_>>())
        };
        [median(&rates), of(Contestant::Loop), of(Contestant::Cp)]
    }

    fn per_core(&self, contestant: Contestant) -> [f64; 2] {
        [Stop::Written, Stop::Flushed]
            .map(|stop| median(&self.rates(contestant, stop)) / self.cores as f64)
    }

    /// The most memory of any turn.
    fn peak(&self, contestant: Contestant) -> Option<u64> {
        let peaks = self.turns(contestant).map(|run| run.peak_memory_bytes);
        peaks.max().flatten()
    }

    fn rates(&self, contestant: Contestant, stop: Stop) -> Vec<f64> {
        let rate = |run: &Run| {
            let seconds = match stop {
                Stop::Written => run.written_seconds,
                Stop::Flushed => run.flushed_seconds,
            };
            self.bytes as f64 / 1e9 / seconds
        };
        self.turns(contestant).map(rate).collect()
    }

    fn turns(&self, contestant: Contestant) -> impl Iterator<Item = &Run> {
        let turns = self.runs.iter();
        turns.filter(move |run| run.contestant == contestant.name())
    }
}

/// GB/s and core of 14 billion parameters of 2 bytes in 3.43 minutes on 96 cores.
const PEER: f64 = 14.0 * 2.0 / (3.43 * 60.0) / 96.0;

#[cfg(test)]
mod tests {
    use super::*;

    fn run(contestant: Contestant, round: u16, written: f64, flushed: f64, peak: u64) -> Run {
        Run {
            contestant: contestant.name(),
            round,
            written_seconds: written,
            flushed_seconds: flushed,
            peak_memory_bytes: Some(peak),
        }
    }

    #[test]
    fn ratios_are_medians_of_those_of_each_round() {
        let permute = Contestant::Encrypt(Way::Permute);
        let mut runs = Vec::new();
        // The machine is slower from round to round: ratios of medians would say something else.
        for (round, (copy, encrypt)) in [(1.0, 2.0), (2.0, 8.0), (8.0, 8.0)].into_iter().enumerate()
        {
            runs.push(run(Contestant::Loop, round as u16, copy, 10.0, 0));
            runs.push(run(permute, round as u16, encrypt, 20.0, 7 + round as u64));
        }
        let report = Report {
            bytes: 4_000_000_000,
            cores: 2,
            rounds: 3,
            contestants: vec![Contestant::Loop, permute],
            runs,
        };
        let [rate, copy, cp] = report.figures(permute, Stop::Written);
        assert_eq!((rate, copy), (0.5, 0.5));
        assert!(cp.is_nan());
        assert_eq!(report.figures(permute, Stop::Flushed)[1], 0.5);
        assert_eq!(report.peak(permute), Some(9));
        assert_eq!(report.per_core(permute), [0.25, 0.1]);
    }
}
