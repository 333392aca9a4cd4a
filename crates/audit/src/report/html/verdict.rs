//! The verdict: what each adversary of the threat model can do, in words and one figure.

use super::attacks::full_table;
use super::table::{Cell, Group, Level, Row, table};
use super::{paragraph, section as titled};
use crate::report::markup::{Markup, element, text, wrap};
use crate::report::number::percent;
use crate::report::sentence::{Sentence, Standing, verdicts};
use crate::{Adversary, Audited};

/// The first section. Of several schemes, one paragraph for each adversary and a table; their sentences stand further below.
pub(super) fn section(audited: &[Audited]) -> Markup {
    let content = match audited {
        [] => paragraph("Nothing was audited, so nothing is known."),
        [one] => sentences(one),
        several => [across(several), grid(several)].into_iter().collect(),
    };
    titled("verdict", "The verdict", content)
}

/// Each scheme's sentences and all of its figures; nothing if there is one scheme, of which all that is said already.
pub(super) fn each_scheme(audited: &[Audited]) -> Markup {
    if audited.len() < 2 {
        return Markup::default();
    }
    let schemes: Markup = audited
        .iter()
        .enumerate()
        .map(|(place, one)| {
            element(
                "article",
                &[],
                [
                    element("h3", &[], [text(&format!("{}. {}", place + 1, one.scheme))]),
                    sentences(one),
                    full_table(one),
                ],
            )
        })
        .collect();
    titled("schemes", "Each encryption", schemes)
}

fn sentences(audited: &Audited) -> Markup {
    let items: Markup = verdicts(audited)
        .iter()
        .map(|said| {
            item(
                said.standing,
                &said.share.map_or_else(|| NOTHING.to_owned(), percent),
                said.adversary.subject(),
                said.text
                    .strip_prefix(said.adversary.subject())
                    .unwrap_or(&said.text),
            )
        })
        .collect();
    wrap("ul", &[("class", "verdicts")], items)
}

/// One paragraph for each adversary, over all schemes.
fn across(audited: &[Audited]) -> Markup {
    let said: Vec<Vec<Sentence>> = audited.iter().map(verdicts).collect();
    let items: Markup = Adversary::ALL
        .into_iter()
        .map(|adversary| {
            let of: Vec<(usize, &Sentence)> = said
                .iter()
                .enumerate()
                .filter_map(|(place, all)| {
                    Some((place, all.iter().find(|one| one.adversary == adversary)?))
                })
                .collect();
            let worst = ORDER
                .into_iter()
                .find(|standing| of.iter().any(|(_, one)| one.standing == *standing))
                .unwrap_or(Standing::NotMeasured);
            let share = of
                .iter()
                .filter_map(|(_, one)| one.share)
                .reduce(f64::max)
                .map_or_else(|| NOTHING.to_owned(), percent);
            item(worst, &share, adversary.subject(), &rest(audited, &of))
        })
        .collect();
    wrap("ul", &[("class", "verdicts")], items)
}

/// What comes behind the subject: how many schemes stand how, with figures, and by name where they are few.
fn rest(audited: &[Audited], said: &[(usize, &Sentence)]) -> String {
    let mut out = String::new();
    for standing in ORDER {
        let here: Vec<&(usize, &Sentence)> = said
            .iter()
            .filter(|(_, one)| one.standing == standing)
            .collect();
        if !here.is_empty() {
            out += if out.is_empty() { " " } else { " It " };
            out += &about(audited, standing, &here);
        }
    }
    out
}

/// One sentence about the schemes that stand so.
fn about(audited: &[Audited], standing: Standing, here: &[&(usize, &Sentence)]) -> String {
    let names: Vec<String> = here
        .iter()
        .filter_map(|(place, _)| Some(format!("\u{201c}{}\u{201d}", audited.get(*place)?.scheme)))
        .collect();
    let who = match names.as_slice() {
        all if all.len() == audited.len() => {
            if standing == Standing::NotMeasured {
                "any of them".to_owned()
            } else if all.len() == 2 {
                "both encryptions".to_owned()
            } else {
                format!("all {} encryptions", all.len())
            }
        }
        few if few.len() <= NAMED => few.join(", "),
        many => format!("{} of {} encryptions", many.len(), audited.len()),
    };
    let shares: Vec<f64> = here.iter().filter_map(|(_, one)| one.share).collect();
    let least = percent(shares.iter().copied().fold(f64::NAN, f64::min));
    let most = percent(shares.iter().copied().fold(f64::NAN, f64::max));
    let mut attacks: Vec<&str> = here.iter().filter_map(|(_, one)| one.attack).collect();
    attacks.sort_unstable();
    attacks.dedup();
    let mut tried: Vec<&str> = here
        .iter()
        .flat_map(|(_, one)| one.tried.iter().copied())
        .collect();
    tried.sort_unstable();
    tried.dedup();
    let range = if least == most {
        format!("{most}, {}", attacks.join(", "))
    } else {
        format!("{least} to {most}, {}", attacks.join(", "))
    };
    match standing {
        Standing::Broken => format!("reads most under {who} ({range}): no protection."),
        Standing::Leaks => format!("reads a part under {who} ({range}): slowed down at best."),
        Standing::LittleFound => format!(
            "recovers at most {most} under {who} with what was tried ({}), which is no proof of protection.",
            tried.join(", ")
        ),
        Standing::Inconclusive => {
            format!("may read anything under {who}: no attack worked on its control.")
        }
        Standing::NotMeasured => format!("was not measured against {who}."),
    }
}

fn item(standing: Standing, share: &str, subject: &str, rest: &str) -> Markup {
    let badge = element(
        "div",
        &[("class", "badge")],
        [
            element("span", &[("class", "share")], [text(share)]),
            text(" "),
            element("span", &[("class", "word")], [text(standing.words())]),
        ],
    );
    let words = element(
        "p",
        &[],
        [element("strong", &[], [text(subject)]), text(rest)],
    );
    element(
        "li",
        &[("class", Level::from(standing).class())],
        [badge, words],
    )
}

/// Adversary x scheme.
fn grid(audited: &[Audited]) -> Markup {
    let said: Vec<Vec<Sentence>> = audited.iter().map(verdicts).collect();
    let rows = Adversary::ALL
        .into_iter()
        .map(|adversary| {
            let cells = said
                .iter()
                .filter_map(|all| all.iter().find(|one| one.adversary == adversary))
                .map(|one| {
                    let share = one.share.map_or_else(|| NOTHING.to_owned(), percent);
                    Cell::Judged(share, one.standing.into(), one.standing.words())
                })
                .collect();
            Row::new(adversary.short(), cells)
        })
        .collect();
    let columns: Vec<String> = std::iter::once("adversary".to_owned())
        .chain(audited.iter().map(|one| one.scheme.clone()))
        .collect();
    table(
        "The most that any attack of each adversary recovered, and what that means",
        &columns,
        vec![Group { name: None, rows }],
    )
}

/// Worst first.
const ORDER: [Standing; 5] = [
    Standing::Broken,
    Standing::Leaks,
    Standing::Inconclusive,
    Standing::LittleFound,
    Standing::NotMeasured,
];

/// Where there is no figure.
const NOTHING: &str = "\u{2013}";

/// As many schemes are named; more are counted.
const NAMED: usize = 3;
