//! Matching by neighbours.

use rayon::prelude::*;

use super::align::{Candidates, align};
use super::assign::{Assigned, assign};
use super::coordinates::Coordinates;
use super::judge::Judge;
use super::side::Side;
use super::{Log, Prior};
use crate::evidence::{Guesses, NO_GUESS, Pair};

/// The neighbours of an id, at distances 1 and 2 on both sides, are a fingerprint of it once they have names in common with the
/// plain text. At first their names are no more than ranges of frequency ranks; ids that match both ways with a probability
/// above [`SURE`] get names of their own, and more and more of the rarer ids are matched:
///
/// `score(c, i) = k / sqrt(n_c) sum_label n(c, label) ln (P(label | i) / P(label)) - ln(f_c / f_i)^2 / (2 (s^2 + 1 / n_c + 1 / n_i))`.
///
/// The root of n_c stands for how far neighbouring words depend on each other. A plain id with m homophones is a column that m
/// cipher ids may claim, each with a share p / m; once named, its homophones are one neighbour again.
///
/// Where homophones flatten the ranks, the first names come from [`align`]. Both beginnings are tried, and the one is kept whose
/// guesses read more like the plain text ([`Pairs`](super::Pairs)).
///
/// Source: seeded decipherment by contexts, after Dou and Knight (2012) and Nuhn and Ney (2014); the first names are ours.
pub(super) fn read(prior: &Prior<'_>, log: &Log<'_>) -> Reading {
    let mut best: Option<(f64, Reading)> = None;
    for start in [by_rank, by_coordinates] {
        let Some(reading) = start(prior, log) else {
            continue;
        };
        let reads = fluency(prior, log, &reading.guesses);
        if best.as_ref().is_none_or(|(known, _)| reads > *known) {
            best = Some((reads, reading));
        }
    }
    let mut reading = best.map_or_else(|| Reading::nothing(log), |(_, reading)| reading);
    for pair in log.known {
        reading.guesses[pair.cipher as usize] = pair.plain;
        reading.probability[pair.cipher as usize] = 1.0;
        reading.choices[pair.cipher as usize] = vec![(pair.plain, 1.0)];
    }
    reading
}

/// What was made of a log, an entry a cipher id.
pub(super) struct Reading {
    pub(super) guesses: Guesses,
    /// Of each guess, in 0..=1, as far as the attack can tell.
    pub(super) probability: Vec<f32>,
    /// The likeliest plain ids of each, likeliest first, with their probabilities.
    pub(super) choices: Vec<Vec<(u32, f32)>>,
}

impl Reading {
    pub(super) fn nothing(log: &Log<'_>) -> Self {
        Self {
            guesses: vec![NO_GUESS; log.cipher_ids],
            probability: vec![0.0; log.cipher_ids],
            choices: vec![Vec::new(); log.cipher_ids],
        }
    }

    fn set(&mut self, rows: &[u32], columns: &[u32], assigned: &[Assigned]) {
        for (cipher, one) in rows.iter().zip(assigned) {
            self.guesses[*cipher as usize] = columns[one.column];
            self.probability[*cipher as usize] = one.probability;
        }
    }
}

fn fluency(prior: &Prior<'_>, log: &Log<'_>, guesses: &Guesses) -> f64 {
    let pairs = prior.pairs();
    pairs.fluency(prior.homophones, log.traffic, guesses)
}

/// From ranges of ranks, more and more ids.
fn by_rank(prior: &Prior<'_>, log: &Log<'_>) -> Option<Reading> {
    let mut cipher = Side::of_log(log);
    let plain = Side::of_prior(prior);
    let mut named: Vec<Pair> = log.known.to_vec();
    let mut reading = Reading::nothing(log);
    for width in widths(cipher.ids.len()) {
        let rows = &cipher.ids[..width];
        let columns = plain.first(width + width / 2 + 50);
        named = round(
            (prior, log),
            (&cipher, &plain),
            (rows, columns),
            &named,
            &mut reading,
        )?;
    }
    everything((prior, log), (&mut cipher, &plain), named, &mut reading);
    Some(reading)
}

/// The rare ids too, now that many have names.
fn everything(
    told: (&Prior<'_>, &Log<'_>),
    (cipher, plain): (&mut Side, &Side),
    mut named: Vec<Pair>,
    reading: &mut Reading,
) {
    if cipher.ids.len() <= WIDEST {
        return;
    }
    let columns = &plain.ids[..plain.ids.len().min(MOST_COLUMNS)];
    for _ in 0..SWEEPS {
        cipher.rank_as_guessed(plain, &reading.guesses);
        let sides = (&*cipher, plain);
        let Some(next) = round(told, sides, (&cipher.ids, columns), &named, reading) else {
            return;
        };
        named = next;
    }
}

/// From coordinates, all ids at once.
fn by_coordinates(prior: &Prior<'_>, log: &Log<'_>) -> Option<Reading> {
    let mut cipher = Side::of_log(log);
    let plain = Side::of_prior(prior);
    let rows = cipher.ids[..cipher.ids.len().min(WIDEST)].to_vec();
    let columns = &plain.ids[..plain.ids.len().min(WIDEST)];
    if rows.is_empty() || columns.is_empty() {
        return None;
    }
    let of_log = Coordinates::of(log.traffic, &vec![1; log.cipher_ids])?;
    let of_prior = prior.coordinates()?;
    let capacities = capacities(prior, columns, rows.len() as f32 / cipher.ids.len() as f32);
    let candidates = Candidates {
        rows: &rows,
        columns,
        capacities: &capacities,
    };
    let reads = |places: &[usize]| {
        let mut guesses = vec![NO_GUESS; log.cipher_ids];
        for (cipher, place) in rows.iter().zip(places) {
            guesses[*cipher as usize] = columns[*place];
        }
        fluency(prior, log, &guesses)
    };
    let assigned = align(&of_log, of_prior, &candidates, reads)?;
    let mut reading = Reading::nothing(log);
    reading.set(&rows, columns, &assigned);
    let mut named = names(log, &rows, columns, &assigned);
    for _ in 0..ROUNDS {
        cipher.rank_as_guessed(&plain, &reading.guesses);
        named = round(
            (prior, log),
            (&cipher, &plain),
            (&rows, columns),
            &named,
            &mut reading,
        )?;
    }
    everything((prior, log), (&mut cipher, &plain), named, &mut reading);
    Some(reading)
}

/// Matches `rows` and `columns` by their neighbours' names, some rows at a time, and returns the next names.
fn round(
    (prior, log): (&Prior<'_>, &Log<'_>),
    (cipher, plain): (&Side, &Side),
    (rows, columns): (&[u32], &[u32]),
    named: &[Pair],
    reading: &mut Reading,
) -> Option<Vec<Pair>> {
    if rows.is_empty() || columns.is_empty() {
        return None;
    }
    let judge = Judge::new(cipher, plain, prior, columns, named);
    let mut all = Vec::with_capacity(rows.len());
    for block in rows.chunks(WIDEST) {
        let mut scores = judge.score(log, block);
        let part = block.len() as f32 / rows.len() as f32;
        let assigned = assign(&mut scores, &capacities(prior, columns, part));
        let choices: Vec<_> = (scores.par_chunks_exact(columns.len()))
            .map(|row| likeliest(row, columns))
            .collect();
        for (cipher, choices) in block.iter().zip(choices) {
            reading.choices[*cipher as usize] = choices;
        }
        all.extend(assigned);
    }
    reading.set(rows, columns, &all);
    Some(names(log, rows, columns, &all))
}

/// The known ones, and the sure ones.
fn names(log: &Log<'_>, rows: &[u32], columns: &[u32], assigned: &[Assigned]) -> Vec<Pair> {
    let is_sure = |one: &&Assigned| one.mutual && one.probability > SURE;
    let least = match assigned.iter().filter(is_sure).count() < FEW {
        true => 0.0,
        false => SURE,
    };
    let mut named = log.known.to_vec();
    for (cipher, one) in rows.iter().zip(assigned) {
        if one.mutual && one.probability > least {
            named.push(Pair {
                cipher: *cipher,
                plain: columns[one.column],
            });
        }
    }
    named
}

/// How many cipher ids each column stands for, of a part of them all.
fn capacities(prior: &Prior<'_>, columns: &[u32], part: f32) -> Vec<f32> {
    let width = |id: &u32| (prior.homophones[*id as usize] as f32 * part).ceil();
    columns.iter().map(width).collect()
}

fn likeliest(probabilities: &[f32], columns: &[u32]) -> Vec<(u32, f32)> {
    let mut choices: Vec<(u32, f32)> = Vec::with_capacity(CHOICES + 1);
    for (id, probability) in columns.iter().zip(probabilities) {
        if choices.len() < CHOICES || choices.last().is_some_and(|least| *probability > least.1) {
            let place = choices.partition_point(|choice| choice.1 >= *probability);
            choices.insert(place, (*id, *probability));
            choices.truncate(CHOICES);
        }
    }
    choices
}

/// How many cipher ids are matched in each round.
fn widths(all: usize) -> Vec<usize> {
    let widest = all.min(WIDEST);
    let narrow = widest.min(NARROWEST);
    let growth = (widest as f64 / narrow.max(1) as f64).powf(1.0 / STEPS as f64);
    let growing = (0..STEPS).map(|step| (narrow as f64 * growth.powi(step)) as usize);
    let mut widths: Vec<usize> = growing.chain([widest; 3]).collect();
    widths.retain(|width| *width > 0);
    widths
}

/// From which probability on an id gets a name of its own.
const SURE: f32 = 0.4;
/// Fewer sure ones than this do not do: all that match both ways get names.
const FEW: usize = 20;
/// Rounds after coordinates.
const ROUNDS: usize = 5;
/// Rounds over all ids that occur often enough.
const SWEEPS: usize = 2;
/// The most plain ids that are looked at in them.
const MOST_COLUMNS: usize = 8_000;
/// Likeliest plain ids that are kept of each.
const CHOICES: usize = 8;
const NARROWEST: usize = 150;
const WIDEST: usize = 6_000;
const STEPS: i32 = 13;
