//! What every attack recovered.

use super::table::{Cell, Group, Level, Row as TableRow, table};
use super::{paragraph, section as titled};
use crate::report::grid::{NOT_RUN, Row, figure, rows, warning};
use crate::report::leak::Leak;
use crate::report::markup::{Markup, element, text};
use crate::report::number::{duration, percent};
use crate::report::sentence::{BROKEN, LEAKS};
use crate::{Adversary, Audited, Verdict};

/// All figures of one scheme; of several, attack x scheme.
pub(super) fn section(audited: &[Audited]) -> Markup {
    if audited.iter().all(|one| one.verdicts.is_empty()) {
        return titled("attacks", "The attacks", paragraph("No attack was run."));
    }
    let content = match audited {
        [one] => full_table(one),
        several => matrix(several),
    };
    titled(
        "attacks",
        "The attacks",
        [content, key()].into_iter().collect(),
    )
}

/// Every figure of every attack on one scheme.
pub(super) fn full_table(audited: &Audited) -> Markup {
    if audited.verdicts.is_empty() {
        return paragraph("No attack was run.");
    }
    let columns = [
        "attack",
        "token types",
        "tokens in text",
        "special tokens",
        "chance",
        "control",
        "spread",
        "keys",
        "time a key",
    ];
    let groups = grouped(rows(std::slice::from_ref(audited)), |row| {
        let verdict = row.cells.first().copied().flatten();
        TableRow {
            heading: row.attack.to_owned(),
            cells: verdict.map(cells).unwrap_or_default(),
            remark: verdict.and_then(warning),
        }
    });
    let caption = format!("What each attack recovered from {}", audited.scheme);
    table(&caption, &columns.map(str::to_owned), groups)
}

fn cells(verdict: &Verdict) -> Vec<Cell> {
    let shaded = |share: f64| Cell::Figure(percent(share), Level::of(verdict, share));
    vec![
        shaded(verdict.recovered_types),
        shaded(verdict.recovered_occurrences),
        Cell::Number(
            verdict
                .recovered_special
                .map_or_else(|| "none".to_owned(), percent),
        ),
        Cell::Number(percent(verdict.chance)),
        Cell::Number(percent(verdict.control)),
        Cell::Number(percent(verdict.spread)),
        Cell::Number(verdict.keys.to_string()),
        Cell::Number(duration(verdict.seconds)),
    ]
}

fn matrix(audited: &[Audited]) -> Markup {
    let columns: Vec<String> = std::iter::once("attack".to_owned())
        .chain(audited.iter().map(|one| one.scheme.clone()))
        .collect();
    let groups = grouped(rows(audited), |row| {
        let cells = row
            .cells
            .iter()
            .map(|cell| match cell {
                None => Cell::Number(NOT_RUN.to_owned()),
                Some(verdict) => {
                    let share = Leak::of(verdict).map_or(f64::NAN, |leak| leak.share);
                    let level = Level::of(verdict, share);
                    Cell::Judged(figure(*cell), level, level.word())
                }
            })
            .collect();
        TableRow {
            heading: row.attack.to_owned(),
            cells,
            remark: failures(audited, row),
        }
    });
    table(
        "The most that each attack recovered, of token types or of tokens in held-out text",
        &columns,
        groups,
    )
}

/// The warnings of one row, each with its scheme unless it is all of them.
fn failures(audited: &[Audited], row: &Row<'_>) -> Option<String> {
    let failed: Vec<(&str, String)> = audited
        .iter()
        .zip(&row.cells)
        .filter_map(|(one, cell)| {
            let verdict = (*cell)?;
            warning(verdict)?;
            Some((one.scheme.as_str(), percent(verdict.control)))
        })
        .collect();
    let first = failed.first()?;
    let run = row.cells.iter().flatten().count();
    let which = if failed.len() == run && failed.iter().all(|one| one.1 == first.1) {
        format!("its control ({})", first.1)
    } else {
        let each: Vec<String> = failed
            .iter()
            .map(|(scheme, control)| format!("\u{201c}{scheme}\u{201d} {control}"))
            .collect();
        format!("its control ({})", each.join(", "))
    };
    Some(format!(
        "{} did not work even on {which}: a low figure of it says nothing.",
        row.attack
    ))
}

/// A group for each adversary.
fn grouped(rows: Vec<Row<'_>>, render: impl Fn(&Row<'_>) -> TableRow) -> Vec<Group> {
    Adversary::ALL
        .into_iter()
        .map(|adversary| Group {
            name: Some(adversary.subject().to_owned()),
            rows: rows
                .iter()
                .filter(|row| row.adversary == adversary)
                .map(&render)
                .collect(),
        })
        .filter(|group| !group.rows.is_empty())
        .collect()
}

/// What the grounds of figures mean.
fn key() -> Markup {
    let entries = [
        (
            Level::Broken,
            format!("broken: {} or more beyond guessing", whole(BROKEN)),
        ),
        (Level::Leaks, format!("leaks: {} or more", whole(LEAKS))),
        (
            Level::Little,
            "little: less, by an attack that works on its control".to_owned(),
        ),
        (
            Level::Unknown,
            "says nothing: less, by an attack that does not".to_owned(),
        ),
    ];
    let items: Markup = entries
        .iter()
        .map(|(level, words)| element("li", &[("class", level.class())], [text(words)]))
        .collect();
    element(
        "ul",
        &[("class", "key"), ("aria-label", "What the colours mean")],
        [items],
    )
}

fn whole(share: f64) -> String {
    format!("{:.0} %", share * 100.0)
}
