//! What a log reader recovers as traffic grows.

use std::cell::RefCell;
use std::time::Instant;

use super::allocation::allocate;
use super::code::SecretCode;
use super::corpus::Corpus;
use super::{Allocation, Language, Log, LogAttack, Pair, Prior, contest};
use crate::evidence::{Guesses, NO_GUESS};
use crate::judge::Share;
use crate::verdict::{Point, Verdict};
use crate::{Adversary, Attack, Error};

/// Text of the owner's, and what attackers know instead of it.
pub struct LogAudit {
    vocabulary: usize,
    traffic: Corpus,
    held_out: Corpus,
    priors: Vec<(Adversary, Corpus)>,
    template: Vec<u32>,
    language: Option<Box<dyn Language>>,
    controls: RefCell<Vec<(&'static str, f64)>>,
    /// Defences that differ in their epochs alone share their points.
    points: RefCell<Vec<(Try, Point)>>,
}

/// What a point of a curve depends on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Try {
    attack: &'static str,
    adversary: Adversary,
    homophones: usize,
    allocation: Allocation,
    keys: u8,
    seen: usize,
}

/// What stands against a log reader.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogDefence {
    /// Extra cipher ids, shared out among the frequent plain ids.
    pub homophones: usize,
    /// How they are shared out.
    pub allocation: Allocation,
    /// After how many tokens the vocabulary changes.
    pub epoch_tokens: Option<usize>,
}

impl LogAudit {
    /// `traffic` under a tokenizer of `vocabulary` ids: its last messages, a twelfth of it, are held out, no attack sees
    /// them. `template` are the fixed first ids of every prompt.
    #[must_use]
    pub fn new(
        vocabulary: usize,
        traffic: &Corpus,
        priors: Vec<(Adversary, Corpus)>,
        template: Vec<u32>,
    ) -> Self {
        let messages: Vec<&[u32]> = traffic.messages().collect();
        let (seen, held_out) = messages.split_at(messages.len() - messages.len() / HELD_OUT);
        Self {
            vocabulary,
            traffic: Corpus::of(seen.iter().copied()),
            held_out: Corpus::of(held_out.iter().copied()),
            priors,
            template,
            language: None,
            controls: RefCell::default(),
            points: RefCell::default(),
        }
    }

    /// The same, with a language model in the attackers' hands.
    #[must_use]
    pub fn with_language(mut self, language: Box<dyn Language>) -> Self {
        self.language = Some(language);
        self
    }

    /// Whether attackers have a language model.
    #[must_use]
    pub fn has_language(&self) -> bool {
        self.language.is_some()
    }

    /// Tokens that attackers may come to see.
    #[must_use]
    pub fn tokens(&self) -> usize {
        self.traffic.ids().len()
    }

    /// Tokens on which they are marked.
    #[must_use]
    pub fn held_out_tokens(&self) -> usize {
        self.held_out.ids().len()
    }

    /// One verdict for each kind of attacker.
    ///
    /// # Errors
    /// Never for a vocabulary that is one.
    pub fn verdicts(
        &self,
        attack: &'static Attack,
        run: LogAttack,
        defence: LogDefence,
        keys: u8,
    ) -> Result<Vec<Verdict>, Error> {
        let control = self.control(attack, run)?;
        let verdict = |(adversary, prior): &(Adversary, Corpus)| {
            let start = Instant::now();
            let known = self.points.borrow().len();
            let curve = self.curve((attack, run), (*adversary, prior), defence, keys)?;
            let made = self.points.borrow().len() - known;
            let seconds = start.elapsed().as_secs_f64() / (f64::from(keys) * made.max(1) as f64);
            let last = curve.last().copied();
            Ok(Verdict {
                attack: attack.name,
                adversary: *adversary,
                recovered_types: last.map_or(0.0, |last| last.recovered_types),
                recovered_occurrences: last.map_or(0.0, |last| last.recovered_occurrences),
                recovered_special: None,
                chance: 1.0 / self.vocabulary as f64,
                control,
                spread: 0.0,
                keys: keys.into(),
                seconds,
                curve,
                effort: attack.effort(),
            })
        };
        self.priors.iter().map(verdict).collect()
    }

    /// Of the tokens that an attacker names who knows the traffic itself as plain text, with nothing but ids renamed, the
    /// share that is named rightly.
    fn control(&self, attack: &'static Attack, run: LogAttack) -> Result<f64, Error> {
        let known = self.controls.borrow();
        if let Some((_, share)) = known.iter().find(|(name, _)| *name == attack.name) {
            return Ok(*share);
        }
        drop(known);
        let seen = self.traffic.first(CONTROL);
        let homophones = vec![1; self.vocabulary];
        let code = SecretCode::new(&homophones, 0)?;
        let prior = Prior::new(&seen, &homophones, self.language.as_deref());
        let known = self.known(&code);
        let guesses = guesses(run, &prior, &seen, &code, &known)?;
        let is_named = |cipher: &&u32| guesses[**cipher as usize] != NO_GUESS;
        let mut named = Share::default();
        for cipher in code.encrypt(&seen).ids().iter().filter(is_named) {
            let plain = code.plain_of()[*cipher as usize];
            named.add(guesses[*cipher as usize] == plain, 1);
        }
        (self.controls.borrow_mut()).push((attack.name, named.share()));
        Ok(named.share())
    }

    fn curve(
        &self,
        (attack, run): (&'static Attack, LogAttack),
        (adversary, prior): (Adversary, &Corpus),
        defence: LogDefence,
        keys: u8,
    ) -> Result<Vec<Point>, Error> {
        let counts = self.traffic.counts(self.vocabulary);
        let homophones = allocate(&counts, defence.homophones, defence.allocation)?;
        // The rule is public, the owner's text is not: the attacker applies it to what he has.
        let counts = prior.counts(self.vocabulary);
        let known_homophones = allocate(&counts, defence.homophones, defence.allocation)?;
        let prior = Prior::new(prior, &known_homophones, self.language.as_deref());
        lengths(self.tokens())
            .into_iter()
            .map(|tokens| {
                // A new vocabulary forgets what was learnt of the one before.
                let seen = defence
                    .epoch_tokens
                    .map_or(tokens, |epoch| epoch.min(tokens));
                let this = Try {
                    attack: attack.name,
                    adversary,
                    homophones: defence.homophones,
                    allocation: defence.allocation,
                    keys,
                    seen,
                };
                let known = self.known_point(&this);
                let point = match known {
                    Some(point) => point,
                    None => self.point(run, &prior, &homophones, this)?,
                };
                Ok(Point {
                    effort: tokens as f64,
                    ..point
                })
            })
            .collect()
    }

    fn known_point(&self, this: &Try) -> Option<Point> {
        let points = self.points.borrow();
        let known = points.iter().find(|(known, _)| known == this);
        known.map(|(_, point)| *point)
    }

    /// The mean over the keys.
    fn point(
        &self,
        run: LogAttack,
        prior: &Prior<'_>,
        homophones: &[u32],
        this: Try,
    ) -> Result<Point, Error> {
        let Try { keys, seen, .. } = this;
        let (mut types, mut occurrences, mut score) = (0.0, 0.0, 0.0);
        for key in 0..keys {
            let code = SecretCode::new(homophones, key + 1)?;
            let text = self.traffic.rotated(key.into(), keys.into()).first(seen);
            let known = self.known(&code);
            let guesses = guesses(run, prior, &text, &code, &known)?;
            let (of_types, of_tokens) = mark(&code, &guesses, &self.held_out);
            types += of_types / f64::from(keys);
            occurrences += of_tokens / f64::from(keys);
            let occurring = code.encrypt(&text).counts(code.cipher_ids());
            let occurring: Vec<bool> = occurring.iter().map(|count| *count > 0).collect();
            score += contest::score(&occurring, &guesses, code.plain_of()) / f64::from(keys);
        }
        let point = Point {
            effort: seen as f64,
            recovered_types: types,
            recovered_occurrences: occurrences,
            contest: Some(score),
        };
        self.points.borrow_mut().push((this, point));
        Ok(point)
    }

    /// What every prompt begins with is the same everywhere, so it has the same ids everywhere, homophones or not.
    fn known(&self, code: &SecretCode) -> Vec<Pair> {
        let prefix = Corpus::of([self.template.as_slice()]);
        let cipher = code.encrypt(&prefix);
        let pairs = cipher.ids().iter().zip(prefix.ids());
        pairs
            .map(|(cipher, plain)| Pair {
                cipher: *cipher,
                plain: *plain,
            })
            .collect()
    }
}

/// What an attacker makes of `text` under `code`.
fn guesses(
    run: LogAttack,
    prior: &Prior<'_>,
    text: &Corpus,
    code: &SecretCode,
    known: &[Pair],
) -> Result<Guesses, Error> {
    let traffic = code.encrypt(text);
    let log = Log {
        traffic: &traffic,
        cipher_ids: code.cipher_ids(),
        known,
    };
    run(prior, &log)
}

/// Shares of cipher ids and of tokens in `text` that were named rightly.
fn mark(code: &SecretCode, guesses: &Guesses, text: &Corpus) -> (f64, f64) {
    let (mut types, mut occurrences) = (Share::default(), Share::default());
    let right = |cipher: u32| guesses[cipher as usize] == code.plain_of()[cipher as usize];
    for cipher in (0u32..).take(code.cipher_ids()) {
        types.add(right(cipher), 1);
    }
    for cipher in code.encrypt(text).ids() {
        occurrences.add(right(*cipher), 1);
    }
    (types.share(), occurrences.share())
}

/// Half decades up to all of it.
fn lengths(tokens: usize) -> Vec<usize> {
    let steps = (4..).map(|half| 10f64.powf(f64::from(half) / 2.0).round() as usize);
    let steps = steps.map(|step| if step > 10 { step / 10 * 10 } else { step });
    let shorter = steps.take_while(|step| *step < tokens);
    shorter.chain([tokens]).collect()
}

/// One part of so many is held out.
const HELD_OUT: usize = 12;
/// Tokens of the control.
const CONTROL: usize = 100_000;
