use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use equicrypt_checkpoint::Checkpoint;
use equicrypt_engine::{Chunk, Decoder, KvCache, Want};
use serde::Serialize;
use serde_json::{Value, json};

use super::{median, process, threads, write_json};
use crate::args::{BenchEngine, ProfileName};
use crate::commands::serve::precision;
use crate::progress;
use crate::terminal::Terminal;

pub(super) fn run(args: &BenchEngine) -> Result<()> {
    let place = tempfile::tempdir().context("cannot make a scratch folder")?;
    let busy = progress::spinner("encrypting under a key that is thrown away".into());
    let encrypted = place.path().join("encrypted");
    let options: &[&str] = match args.profile {
        ProfileName::Permute => &["--profile", "permute"],
        ProfileName::Rotate => &["--profile", "rotate", "--dtype", "f32"],
    };
    let key = process::key(place.path())?;
    process::encrypt(&args.model, &key, &encrypted, options)?;
    busy.finish_and_clear();
    let load = |folder: &Path| -> Result<Decoder> {
        let checkpoint = Checkpoint::open(folder)?;
        Ok(Decoder::load(&checkpoint, precision(args.dtype))?)
    };
    let pair = [load(&args.model)?, load(&encrypted)?];
    let cases = cases(args, pair[0].config().max_positions)?;
    let mut results = Vec::new();
    for case in &cases {
        let busy = progress::spinner(case.name());
        let caches = [case.behind(&pair[0])?, case.behind(&pair[1])?];
        let mut rounds = Vec::new();
        for round in 0..args.rounds.get() {
            let mut rates = [0.0; 2];
            // Whoever comes second finds a warmer processor.
            let order = if round % 2 == 0 { [0, 1] } else { [1, 0] };
            for side in order {
                rates[side] = case.rate(&pair[side], &caches[side])?;
            }
            rounds.push(rates);
        }
        results.push(Measured {
            case: case.name(),
            answers: case.answers,
            behind: case.behind,
            rounds,
        });
        busy.finish_and_clear();
    }
    tell(args, &results)
}

/// So many answers behind so many ids each, or a prompt.
struct Case {
    answers: usize,
    behind: usize,
    /// Ids that are read at once.
    prompt: usize,
}

/// Ids a second in every round, of the plain and of the encrypted model.
#[derive(Serialize)]
struct Measured {
    case: String,
    answers: usize,
    behind: usize,
    rounds: Vec<[f64; 2]>,
}

fn cases(args: &BenchEngine, most: usize) -> Result<Vec<Case>> {
    let [first, ..] = args.contexts.as_slice() else {
        bail!("--context: expected a number of ids");
    };
    let answers = |answers: usize, behind: usize| Case {
        answers,
        // The new ids need places too.
        behind: behind.min(most.saturating_sub(STEPS)),
        prompt: 1,
    };
    let at_once = args.batches.iter();
    let at_once = at_once.map(|batch| answers(batch.get(), first.get()));
    let longer = args.contexts.iter().skip(1);
    let longer = longer.map(|context| answers(1, context.get()));
    let prompt = Case {
        answers: 1,
        behind: 0,
        prompt: PROMPT.min(most),
    };
    Ok(at_once.chain(longer).chain([prompt]).collect())
}

impl Case {
    fn name(&self) -> String {
        match (self.prompt, self.answers) {
            (1, 1) => format!("one answer behind {} ids", self.behind),
            (1, answers) => format!("{answers} answers behind {} ids", self.behind),
            (prompt, _) => format!("a prompt of {prompt} ids"),
        }
    }

    /// A cache that holds what stands in front.
    fn behind(&self, decoder: &Decoder) -> Result<KvCache> {
        let mut cache = decoder.new_cache();
        for start in (0..self.behind).step_by(PROMPT) {
            let ids = ids(decoder, start, PROMPT.min(self.behind - start));
            pass(
                decoder,
                std::slice::from_mut(&mut cache),
                &ids,
                Want::Nothing,
            )?;
        }
        Ok(cache)
    }

    /// Ids a second, of all answers together.
    fn rate(&self, decoder: &Decoder, cache: &KvCache) -> Result<f64> {
        let mut caches: Vec<_> = (0..self.answers).map(|_| cache.fork()).collect();
        let steps = if self.prompt == 1 { STEPS } else { 1 };
        let new = ids(decoder, self.behind, self.prompt);
        // What is read first must not be found cold.
        let mut warm = [cache.fork()];
        pass(decoder, &mut warm, &new[..1], Want::Last)?;
        let start = Instant::now();
        for _ in 0..steps {
            pass(decoder, &mut caches, &new, Want::Last)?;
        }
        let ids = self.answers * self.prompt * steps;
        Ok(ids as f64 / start.elapsed().as_secs_f64())
    }
}

fn pass(decoder: &Decoder, caches: &mut [KvCache], tokens: &[u32], want: Want) -> Result<()> {
    let chunk = |cache| Chunk {
        tokens,
        cache,
        want,
    };
    let mut chunks: Vec<_> = caches.iter_mut().map(chunk).collect();
    decoder.forward(&mut chunks)?;
    Ok(())
}

/// Ids that say nothing: what they are does not change how long they take.
fn ids(decoder: &Decoder, start: usize, count: usize) -> Vec<u32> {
    let vocabulary = decoder.config().vocab_size;
    let id = |place: usize| ((place * 7_919 + 13) % vocabulary) as u32;
    (start..start + count).map(id).collect()
}

fn tell(args: &BenchEngine, results: &[Measured]) -> Result<()> {
    let mut terminal = Terminal::new();
    let json = report(args, results);
    if args.json.as_deref() == Some(Path::new("-")) {
        return terminal.json(&json);
    }
    terminal.line(&format!(
        "{}, {} threads; ids a second, medians of {} rounds, in turn",
        args.model.display(),
        threads(),
        args.rounds
    ))?;
    terminal.line(&format!(
        "{:<32} {:>9} {:>10} {:>28} {:>14}",
        "", "plain", "encrypted", "encrypted / plain", "of one answer"
    ))?;
    for measured in results {
        let [plain, encrypted] = measured.medians();
        let [ratio, least, most] = measured.ratios();
        let of_one = measured.of_one(results);
        let of_one = of_one.map_or(String::new(), |times| format!("{times:.2}"));
        let ratio = format!("{ratio:.3} ({least:.3} to {most:.3})");
        let line = format!(
            "{:<32} {plain:>9.1} {encrypted:>10.1} {ratio:>28} {of_one:>14}",
            measured.case
        );
        terminal.line(line.trim_end())?;
    }
    write_json(args.json.as_deref(), &json)
}

fn report(args: &BenchEngine, results: &[Measured]) -> Value {
    let each = results.iter().map(|measured| {
        let [plain, encrypted] = measured.medians();
        let [ratio, least, most] = measured.ratios();
        json!({
            "case": measured.case,
            "plain": plain,
            "encrypted": encrypted,
            "encrypted_of_plain": { "median": ratio, "least": least, "most": most },
            "of_one_answer": measured.of_one(results),
            "rounds": measured.rounds,
        })
    });
    json!({
        "model": args.model.display().to_string(),
        "threads": threads(),
        "ids_per_second": each.collect::<Vec<_>>(),
    })
}

impl Measured {
    fn medians(&self) -> [f64; 2] {
        [0, 1].map(|side| {
            median(
                &self
                    .rounds
                    .iter()
                    .map(|rates| rates[side])
                    .collect::<Vec<_>>(),
            )
        })
    }

    /// Encrypted over plain: the middle one, the least, the largest.
    fn ratios(&self) -> [f64; 3] {
        let ratios = self
            .rounds
            .iter()
            .map(|[plain, encrypted]| encrypted / plain);
        let ratios: Vec<f64> = ratios.collect();
        let least = ratios.iter().copied().fold(f64::INFINITY, f64::min);
        let most = ratios.iter().copied().fold(0.0, f64::max);
        [median(&ratios), least, most]
    }

    /// How many times the plain model's ids a second of one answer behind as many ids.
    fn of_one(&self, results: &[Measured]) -> Option<f64> {
        let is_one = |other: &&Measured| other.answers == 1 && other.behind == self.behind;
        let one = results.iter().find(is_one).filter(|_| self.answers > 1)?;
        Some(self.medians()[0] / one.medians()[0])
    }
}

/// Ids of each answer.
const STEPS: usize = 24;
/// Ids of the prompt.
const PROMPT: usize = 512;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ratios_are_taken_within_a_round() {
        let measured = |answers, rounds: &[[f64; 2]]| Measured {
            case: String::new(),
            answers,
            behind: 128,
            rounds: rounds.to_vec(),
        };
        // The machine is slower from round to round.
        let one = measured(1, &[[8.0, 8.0], [4.0, 2.0], [2.0, 2.0]]);
        assert_eq!(one.ratios(), [1.0, 0.5, 1.0]);
        let many = measured(8, &[[16.0, 8.0], [12.0, 2.0], [2.0, 2.0]]);
        let results = [one, many];
        assert_eq!(results[1].of_one(&results), Some(3.0));
        assert_eq!(results[0].of_one(&results), None);
    }
}
