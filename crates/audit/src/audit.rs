//! An audit: every attack, on every copy, marked.

use std::path::Path;
use std::time::Instant;

use equicrypt_engine::{Encoder, Part, Precision, Text};

use crate::Error;
use crate::attacks::{Attack, Method, first_values};
use crate::evidence::{Attacker, Evidence, Guesses, Pair, Reader};
use crate::judge::{CHOICES, Exam, Mark, Share, Truth};
use crate::matrix::Matrix;
use crate::verdict::{Point, Verdict};
use crate::weights::Weights;

/// One encrypted copy of the model, under a key of its own.
pub struct EncryptedCopy {
    weights: Weights,
    truth: Truth,
}

impl EncryptedCopy {
    /// Opens an encrypted folder; `truth` marks the guesses.
    ///
    /// # Errors
    /// If the folder is not one of a supported model.
    pub fn open(dir: &Path, truth: Truth) -> Result<Self, Error> {
        let weights = Weights::open(dir)?;
        Ok(Self { weights, truth })
    }
}

/// Texts under the model's tokenizer.
pub struct AuditTexts {
    /// Texts that the adversaries have not seen, with the special tokens that the model wants.
    pub held_out: Vec<Vec<u32>>,
    /// More texts, for attacks that tell texts apart.
    pub more: Vec<Vec<u32>>,
    /// A document that an adversary injects.
    pub document: Vec<u32>,
    /// The special tokens: they are reported apart.
    pub special: Vec<u32>,
}

/// The original checkpoint, studied by attacks.
pub struct Audit {
    public: Weights,
    control: EncryptedCopy,
    texts: AuditTexts,
    choices: Vec<u32>,
}

impl Audit {
    /// Of the original in `dir`.
    ///
    /// # Errors
    /// If the folder is not one of a supported model.
    pub fn new(dir: &Path, texts: AuditTexts) -> Result<Self, Error> {
        let public = Weights::open(dir)?;
        let tokens = public.config().vocab_size;
        let truth = Truth::of_control(tokens)?;
        let weights = Weights::with_shuffled_vocabulary(dir, truth.rows().to_vec())?;
        let exam = Exam::new(&truth, &texts.held_out.concat(), &texts.special);
        let choices = exam.with_choices().choices;
        let control = EncryptedCopy { weights, truth };
        Ok(Self {
            public,
            control,
            texts,
            choices,
        })
    }

    /// The original checkpoint.
    #[must_use]
    pub fn public(&self) -> &Weights {
        &self.public
    }

    /// The held-out texts.
    #[must_use]
    pub fn texts(&self) -> &[Vec<u32>] {
        &self.texts.held_out
    }

    /// Tokens of the held-out texts.
    #[must_use]
    pub fn text_tokens(&self) -> usize {
        self.texts.held_out.iter().map(Vec::len).sum()
    }

    /// Prepares an attack and runs it on a copy in which nothing is encrypted but the ids. None where it does not apply.
    ///
    /// # Errors
    /// If the original cannot be read.
    pub fn study(&self, attack: &'static Attack) -> Result<Option<Studied<'_>>, Error> {
        if !attack.applies(self.public.config()) {
            return Ok(None);
        }
        let start = Instant::now();
        let ready = match attack.method {
            Method::Weights(study) => Ready::Weights(study(&self.public)?),
            Method::Choice(study) => Ready::Choice(study(&self.public, &self.choices)?),
            Method::Pairs(study) => Ready::Pairs(study(&self.public)?),
            Method::Document(study) => Ready::Document(study(&self.public)?),
            Method::Values(study) => match first_values(&self.public, &[0])? {
                Some(_) => Ready::Values(study(&self.public)?),
                None => return Ok(None),
            },
            Method::Embeddings(attack) => {
                let texts = self.distinct_texts();
                let public = sentences(&self.public, &texts)?;
                Ready::Embeddings(attack, texts, public)
            }
            Method::Log(_) | Method::Oracle(_) => return Ok(None),
        };
        let mut studied = Studied {
            audit: self,
            attack,
            ready,
            seconds: start.elapsed().as_secs_f64(),
            control: 0.0,
        };
        studied.control = studied.on_control()?;
        Ok(Some(studied))
    }

    /// Texts of which no two are equal, so that each can be told from the others.
    fn distinct_texts(&self) -> Vec<Vec<u32>> {
        let mut texts = [self.texts.held_out.as_slice(), &self.texts.more].concat();
        texts.sort();
        texts.dedup();
        texts.retain(|text| !text.is_empty());
        texts
    }
}

/// An attack that knows the original.
pub struct Studied<'a> {
    audit: &'a Audit,
    attack: &'static Attack,
    ready: Ready<'a>,
    seconds: f64,
    control: f64,
}

enum Ready<'a> {
    Weights(Attacker<'a>),
    Choice(Attacker<'a>),
    Pairs(Attacker<'a>),
    Document(Attacker<'a>),
    Values(Reader<'a>),
    Embeddings(
        fn(&Matrix, &Matrix, usize) -> Guesses,
        Vec<Vec<u32>>,
        Matrix,
    ),
}

impl Studied<'_> {
    /// Runs it on all copies.
    ///
    /// # Errors
    /// If a copy cannot be read.
    pub fn verdict(&self, copies: &[EncryptedCopy]) -> Result<Verdict, Error> {
        let start = Instant::now();
        let all: Vec<Vec<(f64, Mark)>> = copies
            .iter()
            .map(|copy| self.marks(copy, &self.audit.texts.document))
            .collect::<Result<_, _>>()?;
        let keys = all.len();
        let seconds = self.seconds + start.elapsed().as_secs_f64() / keys.max(1) as f64;
        let mean = |of: &dyn Fn(&Mark) -> f64, place: usize| {
            let values = all.iter().map(|marks| of(&marks[place].1));
            values.sum::<f64>() / keys.max(1) as f64
        };
        let points = all.first().map_or(0, Vec::len);
        let last = points.saturating_sub(1);
        let types = |mark: &Mark| mark.types;
        let occurrences = |mark: &Mark| mark.occurrences;
        let ends = || all.iter().filter_map(|marks| marks.last());
        let special: Vec<f64> = ends().filter_map(|(_, mark)| mark.special).collect();
        let extreme = |fold: fn(f64, f64) -> f64| {
            ends()
                .map(|(_, mark)| mark.types)
                .reduce(fold)
                .unwrap_or(0.0)
        };
        let curve = |place: usize| Point {
            effort: all[0][place].0,
            recovered_types: mean(&types, place),
            recovered_occurrences: mean(&occurrences, place),
            contest: None,
        };
        let effort = self.attack.effort();
        Ok(Verdict {
            attack: self.attack.name,
            adversary: self.attack.adversary,
            recovered_types: mean(&types, last),
            recovered_occurrences: mean(&occurrences, last),
            recovered_special: (!special.is_empty())
                .then(|| special.iter().sum::<f64>() / special.len() as f64),
            chance: self.chance(),
            control: self.control,
            spread: extreme(f64::max) - extreme(f64::min),
            keys,
            seconds,
            curve: match effort {
                Some(_) => (0..points).map(curve).collect(),
                None => Vec::new(),
            },
            effort,
        })
    }

    /// What it recovers where nothing is encrypted but the ids: of a document, the held-out text itself.
    fn on_control(&self) -> Result<f64, Error> {
        let control = &self.audit.control;
        let marks = self.marks(control, &self.audit.texts.held_out.concat())?;
        let last = marks.last().map(|(_, mark)| match self.ready {
            Ready::Document(_) => mark.occurrences,
            _ => mark.types,
        });
        Ok(last.unwrap_or(0.0))
    }

    fn chance(&self) -> f64 {
        let of = match &self.ready {
            Ready::Choice(_) => CHOICES.min(self.audit.public.config().vocab_size),
            Ready::Embeddings(_, texts, _) => texts.len(),
            _ => self.audit.public.config().vocab_size,
        };
        1.0 / of.max(1) as f64
    }

    /// For each effort, how well it did; an injected document is this one.
    fn marks(&self, copy: &EncryptedCopy, document: &[u32]) -> Result<Vec<(f64, Mark)>, Error> {
        let texts = &self.audit.texts;
        let exam = Exam::new(&copy.truth, &texts.held_out.concat(), &texts.special);
        let with = |attacker: &Attacker<'_>, exam: &Exam<'_>, known: &[Pair]| {
            attacker(&Evidence {
                weights: &copy.weights,
                asked: &exam.asked,
                known,
            })
        };
        match &self.ready {
            Ready::Weights(attacker) => {
                let guesses = with(attacker, &exam, &[])?;
                Ok(vec![(1.0, exam.mark(&guesses, &[]))])
            }
            Ready::Choice(attacker) => {
                let exam = exam.with_choices();
                let guesses = with(attacker, &exam, &[])?;
                Ok(vec![(1.0, exam.mark(&guesses, &[]))])
            }
            Ready::Pairs(attacker) => {
                let mut all: Vec<Vec<Pair>> = PAIRS.iter().map(|n| exam.known(*n)).collect();
                all.dedup_by_key(|known| known.len());
                let mark = |known: Vec<Pair>| {
                    let guesses = with(attacker, &exam, &known)?;
                    Ok((known.len() as f64, exam.mark(&guesses, &known)))
                };
                all.into_iter().map(mark).collect()
            }
            Ready::Document(attacker) => {
                let mark = |length: usize| {
                    let known = exam.pairs_of(&document[..length]);
                    let guesses = with(attacker, &exam, &known)?;
                    Ok((length as f64, exam.mark(&guesses, &[])))
                };
                lengths(document.len()).into_iter().map(mark).collect()
            }
            Ready::Values(reader) => {
                let values = first_values(&copy.weights, &exam.asked)?;
                let guesses = values.map(|values| reader(&values)).transpose()?;
                Ok(vec![(1.0, exam.mark(&guesses.unwrap_or_default(), &[]))])
            }
            Ready::Embeddings(attack, texts, public) => {
                let cipher: Vec<Vec<u32>> =
                    texts.iter().map(|text| copy.truth.encrypt(text)).collect();
                let encrypted = sentences(&copy.weights, &cipher)?;
                let mark = |known| {
                    let places = unknown_reversed(texts.len(), known);
                    let guesses = attack(public, &encrypted.gather(&places), known);
                    (known as f64, mark_texts(&guesses, &places, texts, known))
                };
                Ok(known_texts(texts.len()).map(mark).collect())
            }
        }
    }
}

impl Attack {
    /// What the points of its curve count.
    #[must_use]
    pub fn effort(&self) -> Option<&'static str> {
        match self.method {
            Method::Pairs(_) => Some("known pairs"),
            Method::Document(_) => Some("tokens of the document"),
            Method::Embeddings(_) => Some("known texts"),
            Method::Log(_) | Method::Oracle(_) => Some("tokens seen"),
            _ => None,
        }
    }
}

/// The sentence embeddings of texts.
fn sentences(weights: &Weights, texts: &[Vec<u32>]) -> Result<Matrix, Error> {
    let model = Encoder::load(weights.checkpoint(), Precision::F32)?;
    let rows: Vec<Vec<u32>> = match weights.shuffled() {
        Some(shuffled) => {
            let row = |id: &u32| shuffled[*id as usize];
            texts
                .iter()
                .map(|text| text.iter().map(row).collect())
                .collect()
        }
        None => texts.to_vec(),
    };
    let mut values = Vec::new();
    let mut width = 1;
    for texts in rows.chunks(64) {
        let texts: Vec<Text<'_>> = (texts.iter())
            .map(|tokens| Text {
                tokens,
                token_types: &[],
            })
            .collect();
        for answer in model.forward(&texts, Part::Answer)? {
            width = answer.width();
            values.extend(answer.to_f32());
        }
    }
    Ok(Matrix::new(width.max(1), values))
}

/// The first `known` places, and behind them all others from last to first: what is not known is in another order.
fn unknown_reversed(texts: usize, known: usize) -> Vec<u32> {
    let (known, texts) = (known as u32, texts as u32);
    (0..known).chain((known..texts).rev()).collect()
}

/// Marks what was taken for the texts at `places`, of those that were not known; each counts with its tokens.
fn mark_texts(guesses: &Guesses, places: &[u32], texts: &[Vec<u32>], known: usize) -> Mark {
    let (mut types, mut occurrences) = (Share::default(), Share::default());
    for (guess, place) in guesses.iter().zip(places).skip(known) {
        types.add(guess == place, 1);
        occurrences.add(guess == place, texts[*place as usize].len());
    }
    Mark {
        types: types.share(),
        occurrences: occurrences.share(),
        special: None,
    }
}

/// 0, 16, 32, ... known texts, at most half of them.
fn known_texts(texts: usize) -> impl Iterator<Item = usize> {
    let doubling = (4..).map(|power| 1 << power);
    std::iter::once(0).chain(doubling.take_while(move |known| *known <= texts / 2))
}

/// Half decades up to all of it.
fn lengths(tokens: usize) -> Vec<usize> {
    let steps = [30, 100, 300, 1_000, 3_000, 10_000, 30_000, 100_000];
    let shorter = steps.into_iter().filter(|length| *length < tokens);
    shorter.chain([tokens]).collect()
}

const PAIRS: &[usize] = &[2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048];
