//! The verdict in plain words: one sentence for each adversary of the threat model, decided by numbers alone.

use serde::Serialize;

use super::leak::{Leak, control_works};
use super::number::{duration, effort, percent};
use crate::{Adversary, Audited, Verdict};

/// What one adversary can do to one encrypted model.
#[derive(Debug, Clone, Serialize)]
pub struct Sentence {
    /// Who.
    pub adversary: Adversary,
    /// In one word.
    pub standing: Standing,
    /// The most that an attack recovered of token types or of tokens in held-out text; none if no attack gave a number.
    pub share: Option<f64>,
    /// The attack that did.
    pub attack: Option<&'static str>,
    /// Every attack that this adversary can run, works on its control, and gave a number.
    pub tried: Vec<&'static str>,
    /// In plain words, with what was tried and what it recovered.
    pub text: String,
}

/// How an encrypted model stands against one adversary. With r the share that the best attack recovered and c what guessing
/// blindly recovers, the leak is (r - c) / (1 - c).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Standing {
    /// The leak is at least one half.
    Broken,
    /// The leak is at least one twentieth.
    Leaks,
    /// It is smaller, and at least one attack of this adversary works on its control. No proof of anything.
    LittleFound,
    /// It is smaller, but no attack of this adversary works even on its control.
    Inconclusive,
    /// It is smaller, and no attack of this adversary was run.
    NotMeasured,
}

impl Standing {
    /// In few words.
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            Self::Broken => "does not protect",
            Self::Leaks => "leaks",
            Self::LittleFound => "little recovered",
            Self::Inconclusive => "inconclusive",
            Self::NotMeasured => "not measured",
        }
    }
}

/// One sentence for each adversary, those who hold most first. An adversary who holds all that another one holds can run the
/// other's attacks too, so it never reads less.
#[must_use]
pub fn verdicts(audited: &Audited) -> Vec<Sentence> {
    Adversary::ALL
        .into_iter()
        .map(|adversary| sentence(audited, adversary))
        .collect()
}

/// What stands after a low figure, always.
const NO_PROOF: &str =
    "That is no proof: another attack, more traffic or more time may recover more.";

/// The leak from which a model is [`Standing::Broken`].
pub(super) const BROKEN: f64 = 0.5;

/// The leak from which a model [`Standing::Leaks`].
pub(super) const LEAKS: f64 = 0.05;

fn sentence(audited: &Audited, adversary: Adversary) -> Sentence {
    let of = |who: Adversary| {
        audited
            .verdicts
            .iter()
            .filter(move |verdict| verdict.adversary == who)
    };
    let own: Vec<&Verdict> = of(adversary).collect();
    let weaker: Vec<&Verdict> = adversary.weaker().iter().copied().flat_map(of).collect();
    let best = own
        .iter()
        .chain(&weaker)
        .filter_map(|verdict| Some((*verdict, Leak::of(verdict)?)))
        .reduce(|best, next| {
            if next.1.beyond(next.0.chance) > best.1.beyond(best.0.chance) {
                next
            } else {
                best
            }
        });
    let (standing, text) = match best {
        Some((verdict, leak)) if leak.beyond(verdict.chance) >= LEAKS => {
            read(adversary, verdict, leak)
        }
        _ => little(adversary, &own, &weaker, best),
    };
    Sentence {
        adversary,
        standing,
        share: best.map(|(_, leak)| leak.share),
        attack: best.map(|(verdict, _)| verdict.attack),
        tried: sorted_out(&[own, weaker].concat()).0,
        text,
    }
}

/// The words for an attack that recovered something.
fn read(adversary: Adversary, verdict: &Verdict, leak: Leak) -> (Standing, String) {
    let (standing, end) = if leak.beyond(verdict.chance) >= BROKEN {
        (
            Standing::Broken,
            "This encryption does not protect against it.",
        )
    } else {
        (
            Standing::Leaks,
            "This encryption slows it down at best: more traffic or a better attack may read more.",
        )
    };
    let what = if leak.occurrences >= leak.share * NEARLY {
        format!(
            "reads {} of the tokens in held-out text",
            percent(leak.occurrences)
        )
    } else if leak.occurrences.is_finite() {
        format!(
            "recovers {} of the token types and reads {} of the tokens in held-out text",
            percent(leak.types),
            percent(leak.occurrences)
        )
    } else {
        format!("recovers {} of the token types", percent(leak.types))
    };
    let less = if verdict.adversary == adversary {
        ""
    } else {
        " with an attack that needs less than it holds"
    };
    let knob = match (leak.effort, verdict.effort) {
        (Some(value), Some(unit)) => {
            let half = half_from(verdict).filter(|half| *half < value);
            let half = half.map(|half| format!(", half from {} on", effort(half)));
            format!(" at {} {unit}{}", effort(value), half.unwrap_or_default())
        }
        _ => String::new(),
    };
    let text = format!(
        "{} {what}{less} ({}{knob}, {}; guessing blindly: {}). {end}",
        adversary.subject(),
        verdict.attack,
        duration(verdict.seconds),
        percent(verdict.chance),
    );
    (standing, text)
}

/// The least effort that reads half of the tokens in held-out text.
fn half_from(verdict: &Verdict) -> Option<f64> {
    verdict
        .curve
        .iter()
        .filter(|point| point.recovered_occurrences >= 0.5)
        .map(|point| point.effort)
        .reduce(f64::min)
}

/// The words for attacks that recovered little, say nothing, or were not run.
fn little(
    adversary: Adversary,
    own: &[&Verdict],
    weaker: &[&Verdict],
    best: Option<(&Verdict, Leak)>,
) -> (Standing, String) {
    let subject = adversary.subject();
    if own.is_empty() {
        let mut text = format!("{subject}: not measured, for no attack of its own was run.");
        if let Some((verdict, leak)) = best {
            text += &format!(
                " The attacks of adversaries who hold less recovered at most {} ({}).",
                percent(leak.share),
                verdict.attack
            );
        }
        return (Standing::NotMeasured, text);
    }
    let (own_good, _) = sorted_out(own);
    let (good, bad) = sorted_out(&[own, weaker].concat());
    let Some((verdict, leak)) = best.filter(|_| !own_good.is_empty()) else {
        let text = format!(
            "{subject}: nothing is known. None of its attacks ({}) both works on its control and gives a share.",
            names(own).join(", ")
        );
        return (Standing::Inconclusive, text);
    };
    let tried = if let [one] = good.as_slice() {
        format!("the one attack tried ({one}) recovered")
    } else {
        format!(
            "none of the {} attacks tried ({}) recovered more than",
            good.len(),
            good.join(", ")
        )
    };
    let mut text = format!(
        "{subject}: {tried} {} of token types or of tokens in held-out text (guessing blindly: {}). {NO_PROOF}",
        percent(leak.share),
        percent(verdict.chance),
    );
    if !bad.is_empty() {
        text += &format!(
            " Not counted, for not working even on the control: {}.",
            bad.join(", ")
        );
    }
    (Standing::LittleFound, text)
}

/// The names of the attacks that work on their control and gave a number, and of those that do not.
fn sorted_out(verdicts: &[&Verdict]) -> (Vec<&'static str>, Vec<&'static str>) {
    let (good, bad): (Vec<&Verdict>, Vec<&Verdict>) = verdicts
        .iter()
        .copied()
        .partition(|verdict| control_works(verdict) && Leak::of(verdict).is_some());
    (names(&good), names(&bad))
}

/// Every name once.
fn names(verdicts: &[&Verdict]) -> Vec<&'static str> {
    let mut names = Vec::new();
    for verdict in verdicts {
        if !names.contains(&verdict.attack) {
            names.push(verdict.attack);
        }
    }
    names
}

/// From this part of the larger share on, the share of tokens in text is said alone.
const NEARLY: f64 = 0.98;

#[cfg(test)]
mod tests;
