//! What was audited, and how near it is to the original.

use equicrypt_spec::Profile;

use super::section as titled;
use super::table::{Cell, Group, Row, table};
use crate::report::markup::{Markup, element, text, wrap};
use crate::report::number::{count, measure, percent, plural};
use crate::{Audited, MeasuredFidelity};

/// A list for one scheme; a list and a table for several.
pub(super) fn section(audited: &[Audited]) -> Markup {
    let content = match audited {
        [] => return Markup::default(),
        [one] => list(&facts(one)),
        several => compared(several),
    };
    titled("audited", "What was audited", content)
}

fn list(facts: &[(String, String)]) -> Markup {
    let items: Markup = facts
        .iter()
        .map(|(name, value)| {
            element(
                "div",
                &[],
                [
                    element("dt", &[], [text(name)]),
                    element("dd", &[], [text(value)]),
                ],
            )
        })
        .collect();
    wrap("dl", &[("class", "facts")], items)
}

/// What all schemes share as a list, and the rest as a table: a scheme a row, a fact a column.
fn compared(audited: &[Audited]) -> Markup {
    let all: Vec<Vec<(String, String)>> = audited.iter().map(facts).collect();
    let (shared, own): (Vec<_>, Vec<_>) = all
        .iter()
        .flatten()
        .cloned()
        .partition(|fact| all.iter().all(|facts| facts.contains(fact)));
    let mut names: Vec<String> = Vec::new();
    for (name, _) in own {
        if !names.contains(&name) && name != SCHEME {
            names.push(name);
        }
    }
    let first = all.first().map_or(&[][..], Vec::as_slice);
    let shared: Vec<(String, String)> = first
        .iter()
        .filter(|fact| shared.contains(fact) && fact.0 != SCHEME)
        .cloned()
        .collect();
    if names.is_empty() {
        return list(&shared);
    }
    let rows = audited
        .iter()
        .zip(&all)
        .map(|(one, facts)| {
            let cells = names
                .iter()
                .map(|name| {
                    let fact = facts.iter().find(|(known, _)| known == name);
                    Cell::Words(fact.map_or("", |(_, value)| value).to_owned())
                })
                .collect();
            Row::new(one.scheme.clone(), cells)
        })
        .collect();
    let columns: Vec<String> = std::iter::once(SCHEME.to_owned()).chain(names).collect();
    let table = table(
        "Encryptions, and how near each is to the original",
        &columns,
        vec![Group { name: None, rows }],
    );
    [list(&shared), table].into_iter().collect()
}

fn facts(audited: &Audited) -> Vec<(String, String)> {
    let profile = audited.profile.map_or("none of equicrypt's", Profile::name);
    let noise = if audited.noise == 0.0 {
        "none".to_owned()
    } else {
        format!("{} x the tensor's standard deviation", audited.noise)
    };
    let mut facts = vec![
        (SCHEME, audited.scheme.clone()),
        ("model", audited.model.clone()),
        ("architecture", audited.architecture.clone()),
        ("profile", profile.to_owned()),
        ("weights", audited.dtype.clone()),
        ("noise on embedding and head", noise),
        ("vocabulary", plural(audited.vocab_size, "token type")),
        ("held-out text", plural(audited.text_tokens, "token")),
    ];
    match &audited.fidelity {
        None => facts.push(("fidelity", "not measured".to_owned())),
        Some(MeasuredFidelity::Decoder(fidelity)) => {
            let equal = fidelity
                .greedy_match_lengths
                .iter()
                .filter(|length| **length >= fidelity.greedy_tokens)
                .count();
            facts.extend([
                (
                    "compared on",
                    format!(
                        "{}, {}",
                        plural(fidelity.prompts, "prompt"),
                        plural(fidelity.positions, "position")
                    ),
                ),
                ("mean KL, in nats", measure(fidelity.mean_kl)),
                ("top-1 agreement", percent(fidelity.top1_agreement)),
                (
                    "perplexity, plain and encrypted",
                    format!(
                        "{} and {}",
                        measure(fidelity.perplexity_plain),
                        measure(fidelity.perplexity_encrypted)
                    ),
                ),
                (
                    "greedy answers equal",
                    format!(
                        "{} of {}, over {} tokens",
                        count(equal),
                        count(fidelity.greedy_match_lengths.len()),
                        count(fidelity.greedy_tokens)
                    ),
                ),
            ]);
        }
        Some(MeasuredFidelity::Encoder(fidelity)) => {
            facts.extend([
                (
                    "compared on",
                    format!(
                        "{}: {} of {}",
                        fidelity.compared,
                        count(fidelity.vectors),
                        plural(fidelity.texts, "text")
                    ),
                ),
                (
                    "1 - smallest cosine",
                    measure((1.0 - fidelity.min_cosine).max(0.0)),
                ),
                (
                    "largest relative difference",
                    measure(fidelity.max_relative_difference),
                ),
            ]);
            let optional = [
                ("agreement", fidelity.agreement.map(percent)),
                (
                    "largest difference of a probability",
                    fidelity.max_probability_difference.map(measure),
                ),
                ("mean KL, in nats", fidelity.mean_kl.map(measure)),
            ];
            facts.extend(
                optional
                    .into_iter()
                    .filter_map(|(name, value)| Some((name, value?))),
            );
        }
    }
    facts
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value))
        .collect()
}

const SCHEME: &str = "encryption";
