//! A small language of chains of words, to be read and not to be read.

use super::*;
use crate::{Adversary, Attack};

const WORDS: usize = 200;

/// Text in a language: each word has a few favourite followers, and small ids are frequent.
fn text(language: u64, seed: u64, tokens: usize) -> Corpus {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut random = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 11) as f64 / (1u64 << 53) as f64
    };
    let mix = |a: u64, b: u64| {
        let mixed = (a ^ (b << 32) ^ (language << 17)).wrapping_mul(0xD6E8_FEB8_6659_FD93);
        (mixed ^ (mixed >> 32)).wrapping_mul(0xD6E8_FEB8_6659_FD93) >> 40
    };
    let mut corpus = Corpus::default();
    let mut message = Vec::new();
    let mut word = 0u64;
    for _ in 0..tokens {
        let frequent = (random().powi(3) * WORDS as f64) as u64;
        word = match random() < 0.6 {
            true => mix(word, (random() * 4.0) as u64) % WORDS as u64,
            false => frequent,
        };
        message.push(word as u32);
        if random() < 0.05 {
            corpus.push(&message);
            message.clear();
        }
    }
    corpus
}

/// Share of held-out tokens that the attacker names who knows a text in `language`.
fn recovered(run: LogAttack, language: u64, homophones: usize, tokens: usize) -> f64 {
    let audit = LogAudit::new(
        WORDS,
        &text(1, 5, tokens + tokens / 8),
        vec![(Adversary::SourceLogReader, text(language, 9, 60_000))],
        Vec::new(),
    );
    let defence = LogDefence {
        homophones,
        allocation: Allocation::Proportional,
        epoch_tokens: None,
    };
    let attack = Attack::named("cooccurrence").unwrap();
    let verdicts = audit.verdicts(attack, run, defence, 2).unwrap();
    assert!(
        verdicts[0].control > 0.95,
        "control {}",
        verdicts[0].control
    );
    verdicts[0].recovered_occurrences
}

#[test]
fn neighbours_give_a_language_away() {
    let share = recovered(cooccurrence, 1, 0, 40_000);
    assert!(share > 0.9, "{share}");
}

#[test]
fn another_language_gives_nothing_away() {
    let share = recovered(cooccurrence, 2, 0, 40_000);
    assert!(share < 0.2, "{share}");
}

#[test]
fn homophones_cost_an_attacker_text_but_do_not_stop_him() {
    let few = recovered(cooccurrence, 1, 200, 3_000);
    let many = recovered(cooccurrence, 1, 200, 60_000);
    let without = recovered(cooccurrence, 1, 0, 3_000);
    assert!(few < without && few < 0.5 * many, "{few} {many} {without}");
}

#[test]
fn flattened_ranks_do_not_hide_neighbours() {
    let flat = recovered(cooccurrence, 1, 1_000, 40_000);
    assert!(flat > 0.5, "{flat}");
    let other = recovered(cooccurrence, 2, 1_000, 40_000);
    assert!(other < 0.2, "{other}");
}

/// The language itself, as a model of it.
struct Followers {
    counts: Vec<Vec<f32>>,
}

impl Followers {
    fn of(text: &Corpus) -> Self {
        let mut counts = vec![vec![0.1; WORDS]; WORDS];
        for message in text.messages() {
            for pair in message.windows(2) {
                counts[pair[0] as usize][pair[1] as usize] += 1.0;
            }
        }
        Self { counts }
    }
}

impl Language for Followers {
    fn read(
        &self,
        texts: &[Vec<u32>],
        visit: &mut dyn FnMut(usize, usize, &[f32]),
    ) -> Result<(), Error> {
        for (number, text) in texts.iter().enumerate() {
            for place in 1..text.len() {
                let counts = &self.counts[text[place - 1] as usize];
                let logits: Vec<f32> = counts.iter().map(|count| count.ln()).collect();
                visit(number, place, &logits);
            }
        }
        Ok(())
    }
}

#[test]
fn a_language_model_reads_on_where_neighbours_stop() {
    let prior = text(1, 9, 60_000);
    let share = |name: &str, tokens: usize| {
        let known = vec![(Adversary::SourceLogReader, prior.clone())];
        let audit = LogAudit::new(WORDS, &text(1, 5, tokens), known, Vec::new());
        let audit = audit.with_language(Box::new(Followers::of(&prior)));
        let defence = LogDefence {
            homophones: 0,
            allocation: Allocation::Proportional,
            epoch_tokens: None,
        };
        let attack = Attack::named(name).unwrap();
        let run = attack.on_logs().unwrap();
        let verdicts = audit.verdicts(attack, run, defence, 4).unwrap();
        (
            verdicts[0].recovered_occurrences,
            verdicts[0].curve.last().unwrap().contest.unwrap(),
        )
    };
    let (start, _) = share("cooccurrence", 2_000);
    let (end, score) = share("oracle", 2_000);
    assert!(end > start && score > 0.0, "{start} {end} {score}");
    for blind in ["random-search", "hill-climb"] {
        let (share, score) = share(blind, 2_000);
        assert!(share < 0.05 && score < 0.0, "{blind} {share} {score}");
    }
    let (_, all) = share("cooccurrence", 700);
    let (_, sure) = share("contest", 700);
    assert!(sure > all, "{sure} {all}");
}

#[test]
fn a_new_epoch_forgets() {
    let audit = LogAudit::new(
        WORDS,
        &text(1, 5, 40_000),
        vec![(Adversary::SourceLogReader, text(1, 9, 60_000))],
        vec![3, 4],
    );
    let verdict = |epoch_tokens| {
        let defence = LogDefence {
            homophones: 0,
            allocation: Allocation::Proportional,
            epoch_tokens,
        };
        let attack = Attack::named("frequency").unwrap();
        audit
            .verdicts(attack, frequency, defence, 1)
            .unwrap()
            .remove(0)
    };
    let (one, many) = (verdict(None), verdict(Some(1_000)));
    assert_eq!(one.curve.len(), many.curve.len());
    assert_eq!(one.curve[0], many.curve[0]);
    let later = many.curve.iter().filter(|point| point.effort >= 1_000.0);
    let later: Vec<f64> = later.map(|point| point.recovered_occurrences).collect();
    assert!(later.len() > 2 && later.iter().all(|share| *share == later[0]));
    assert!(one.recovered_occurrences > many.recovered_occurrences);
}

#[test]
fn a_template_names_its_own_tokens() {
    let text = text(1, 5, 4_000);
    let code = SecretCode::new(&[2; WORDS], 1).unwrap();
    let traffic = code.encrypt(&text);
    let known = [Pair {
        cipher: 7,
        plain: 5,
    }];
    let log = Log {
        traffic: &traffic,
        cipher_ids: code.cipher_ids(),
        known: &known,
    };
    let prior = Prior::new(&text, &[2; WORDS], None);
    for attack in [template as LogAttack, frequency, cooccurrence] {
        assert_eq!(attack(&prior, &log).unwrap()[7], 5);
    }
    let named = template(&prior, &log)
        .unwrap()
        .iter()
        .filter(|id| **id < WORDS as u32)
        .count();
    assert_eq!(named, 1);
}
