//! The report: one page of HTML that asks for nothing, runs nothing, and reads on a phone, in the dark and on paper.

mod attacks;
mod facts;
mod figures;
mod notes;
mod table;
mod verdict;

use super::About;
use super::markup::{Markup, doctype, element, style, text, void, wrap};
use super::palette::properties;
use super::plot::SHEET;
use crate::Audited;

/// The whole report: the verdict for each adversary first, then what was audited, every attack's figures, curves, fidelity
/// against leakage where there are several schemes, what the words mean, and how to get the same figures again.
#[must_use]
pub fn html(audited: &[Audited], about: &About) -> String {
    let title = title(audited);
    let head = element(
        "head",
        &[],
        [
            void("meta", &[("charset", "utf-8")]),
            // The browser itself keeps the promise that the page asks for nothing.
            void(
                "meta",
                &[
                    ("http-equiv", "Content-Security-Policy"),
                    ("content", "default-src 'none'; style-src 'unsafe-inline'"),
                ],
            ),
            void(
                "meta",
                &[
                    ("name", "viewport"),
                    ("content", "width=device-width, initial-scale=1"),
                ],
            ),
            void(
                "meta",
                &[("name", "color-scheme"), ("content", "light dark")],
            ),
            element("title", &[], [text(&title)]),
            style(&(properties() + include_str!("../page.css") + SHEET)),
        ],
    );
    let main = [
        verdict::section(audited),
        facts::section(audited),
        attacks::section(audited),
        figures::section(audited),
        verdict::each_scheme(audited),
        notes::words(),
        notes::reproduce(about),
    ]
    .into_iter()
    .collect();
    let body = element(
        "body",
        &[],
        [
            element(
                "header",
                &[],
                [
                    element("p", &[("class", "kicker")], [text("equicrypt audit")]),
                    element("h1", &[], [text(&title)]),
                    element(
                        "p",
                        &[("class", "quiet")],
                        [text(&subtitle(audited, about))],
                    ),
                ],
            ),
            wrap("main", &[], main),
        ],
    );
    let page = element("html", &[("lang", "en")], [head, body]);
    [doctype(), page]
        .into_iter()
        .collect::<Markup>()
        .into_string()
        + "\n"
}

fn title(audited: &[Audited]) -> String {
    match audited {
        [] => "What attacks recover: nothing was audited".to_owned(),
        [one] => format!("What attacks recover from {}, {}", one.model, one.scheme),
        several => format!("What attacks recover from {} encryptions", several.len()),
    }
}

fn subtitle(audited: &[Audited], about: &About) -> String {
    let mut names: Vec<&str> = Vec::new();
    for one in audited {
        if !names.contains(&one.model.as_str()) {
            names.push(&one.model);
        }
    }
    names.push(&about.date);
    names.join(" \u{b7} ")
}

/// A section with its heading.
fn section(id: &'static str, heading: &str, content: Markup) -> Markup {
    let heading_id = format!("{id}-heading");
    element(
        "section",
        &[("id", id), ("aria-labelledby", &heading_id)],
        [
            element("h2", &[("id", &heading_id)], [text(heading)]),
            content,
        ],
    )
}

fn paragraph(words: &str) -> Markup {
    element("p", &[], [text(words)])
}
