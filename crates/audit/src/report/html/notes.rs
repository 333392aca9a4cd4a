//! What the words mean, and how to get the same figures again.

use super::section as titled;
use crate::report::About;
use crate::report::leak::CONTROL_THRESHOLD;
use crate::report::markup::{Markup, element, text, wrap};
use crate::report::number::{percent, plural};

/// The glossary, and what no attack is needed for.
pub(super) fn words() -> Markup {
    let control = format!(
        "The same attack on a copy of the model that has nothing but a secret vocabulary. Below {} the attack itself is not \
         working, and its low figures say nothing.",
        percent(CONTROL_THRESHOLD)
    );
    let entries = [
        (
            "Token, token type",
            "Models read text in tokens, words or pieces of words; each different one is a type. The share of types says how \
             much of the secret vocabulary is known; the share of tokens in held-out text says how much of a text that the \
             attack did not use is then readable. Special tokens, such as the end of an answer, are counted apart.",
        ),
        (
            "Chance",
            "What guessing blindly recovers. A leak is counted beyond it: (recovered - chance) / (1 - chance).",
        ),
        ("Control", control.as_str()),
        (
            "The verdict's words",
            "\u{201c}Does not protect\u{201d}: the best attack's leak is 50 % or more. \u{201c}Leaks\u{201d}: 5 % or more. \
             \u{201c}Little recovered\u{201d}: less than 5 %, which is no proof: attacks that were not tried may do better. \
             \u{201c}Inconclusive\u{201d}: no attack worked on its control. \u{201c}Not measured\u{201d}: none was run. Whoever \
             holds more can run the attacks of whoever holds less, so its figure is never the smaller one.",
        ),
        (
            "Keys, spread, time",
            "Figures are the mean over this many keys; the spread is the largest share of types less the smallest. The time is \
             for one key.",
        ),
        (
            "Mean KL, top-1, perplexity",
            "How far the encrypted model's predictions are from the plain one's: 0, 100 % and equal perplexities are no \
             difference. A model that leaks little because it is no longer useful protects nothing.",
        ),
        (
            "Visible in any case",
            "The architecture and all sizes, the number of tokens and their timing, the order of positions, and which texts \
             and beginnings are equal. No attack is needed for these. A host without the original checkpoint can do at least \
             what a reader of cipher ids can.",
        ),
    ];
    let items: Markup = entries
        .iter()
        .map(|(term, meaning)| {
            element(
                "div",
                &[],
                [
                    element("dt", &[], [text(term)]),
                    element("dd", &[], [text(meaning)]),
                ],
            )
        })
        .collect();
    titled(
        "words",
        "What the words mean",
        wrap("dl", &[("class", "glossary")], items),
    )
}

/// The command, the version, the day, the machine.
pub(super) fn reproduce(about: &About) -> Markup {
    let facts = format!(
        "equicrypt {}, {}, {}.",
        about.version,
        about.date,
        plural(about.threads, "thread")
    );
    let content = [
        // It scrolls.
        element(
            "pre",
            &[("tabindex", "0"), ("aria-label", "The command")],
            [element("code", &[], [text(&about.command)])],
        ),
        element("p", &[("class", "quiet")], [text(&facts)]),
    ];
    titled(
        "reproduce",
        "The same figures again",
        content.into_iter().collect(),
    )
}
