//! Tables with captions and scopes, which scroll alone where the screen is narrow.

use crate::Verdict;
use crate::report::leak::{beyond, control_works, is_share};
use crate::report::markup::{Markup, element, text, wrap};
use crate::report::sentence::{BROKEN, LEAKS, Standing};

/// One cell behind the first.
pub(super) enum Cell {
    /// Flush left.
    Words(String),
    /// Flush right.
    Number(String),
    /// A figure on the ground of its level.
    Figure(String, Level),
    /// The same with words under it.
    Judged(String, Level, &'static str),
}

/// Rows under one heading.
pub(super) struct Group {
    /// None: the table has one group.
    pub(super) name: Option<String>,
    /// In order.
    pub(super) rows: Vec<Row>,
}

/// One line.
pub(super) struct Row {
    /// Its first cell.
    pub(super) heading: String,
    /// The others.
    pub(super) cells: Vec<Cell>,
    /// What must be said under them.
    pub(super) remark: Option<String>,
}

impl Row {
    /// Without a remark.
    pub(super) fn new(heading: impl Into<String>, cells: Vec<Cell>) -> Self {
        Self {
            heading: heading.into(),
            cells,
            remark: None,
        }
    }
}

/// How bad a figure is, in colour and word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Level {
    Broken,
    Leaks,
    Little,
    Unknown,
}

impl Level {
    /// Of `share` that `verdict` reports.
    pub(super) fn of(verdict: &Verdict, share: f64) -> Self {
        if !is_share(share) {
            return Self::Unknown;
        }
        let beyond = beyond(share, verdict.chance);
        if beyond >= BROKEN {
            Self::Broken
        } else if beyond >= LEAKS {
            Self::Leaks
        } else if control_works(verdict) {
            Self::Little
        } else {
            Self::Unknown
        }
    }

    /// For a class.
    pub(super) fn class(self) -> &'static str {
        match self {
            Self::Broken => "broken",
            Self::Leaks => "leaks",
            Self::Little => "little",
            Self::Unknown => "unknown",
        }
    }

    /// In words.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Broken => "broken",
            Self::Leaks => "leaks",
            Self::Little => "little",
            Self::Unknown => "says nothing",
        }
    }
}

impl From<Standing> for Level {
    fn from(standing: Standing) -> Self {
        match standing {
            Standing::Broken => Self::Broken,
            Standing::Leaks => Self::Leaks,
            Standing::LittleFound => Self::Little,
            Standing::Inconclusive | Standing::NotMeasured => Self::Unknown,
        }
    }
}

/// A table whose first column heads its rows.
pub(super) fn table(caption: &str, columns: &[String], groups: Vec<Group>) -> Markup {
    let width = columns.len().to_string();
    let first = groups.iter().flat_map(|group| &group.rows).next();
    let heads: Markup = columns
        .iter()
        .enumerate()
        .map(|(place, name)| {
            let below = first.and_then(|row| row.cells.get(place.checked_sub(1)?));
            let mut class = match below {
                Some(Cell::Words(_)) => "words",
                _ => "figure",
            }
            .to_owned();
            if is_long(name) {
                class += " long";
            }
            element("th", &[("scope", "col"), ("class", &class)], [text(name)])
        })
        .collect();
    let bodies: Markup = groups
        .into_iter()
        .map(|group| {
            let mut rows = Markup::default();
            if let Some(name) = &group.name {
                let head = [("scope", "rowgroup"), ("colspan", width.as_str())];
                let cell = element("th", &head, [stay(name)]);
                rows.push(element("tr", &[("class", "group")], [cell]));
            }
            for line in group.rows {
                rows.push(row(&line.heading, line.cells));
                if let Some(remark) = line.remark {
                    let cell = element("td", &[("colspan", &width)], [stay(&remark)]);
                    rows.push(element("tr", &[("class", "remark")], [cell]));
                }
            }
            wrap("tbody", &[], rows)
        })
        .collect();
    element(
        "div",
        // Focusable, so that it scrolls from the keyboard.
        &[
            ("class", "scroll"),
            ("role", "region"),
            ("aria-label", caption),
            ("tabindex", "0"),
        ],
        [element(
            "table",
            &[],
            [
                element("caption", &[], [stay(caption)]),
                element("thead", &[], [wrap("tr", &[], heads)]),
                bodies,
            ],
        )],
    )
}

/// Words as wide as the screen, which do not scroll with the columns.
fn stay(words: &str) -> Markup {
    element("span", &[("class", "stay")], [text(words)])
}

fn row(heading: &str, cells: Vec<Cell>) -> Markup {
    let mut out = element("th", &[("scope", "row")], [text(heading)]);
    for cell in cells {
        out.push(match cell {
            Cell::Words(words) => {
                let class = if is_long(&words) {
                    "words long"
                } else {
                    "words"
                };
                element("td", &[("class", class)], [text(&words)])
            }
            Cell::Number(figure) => element("td", &[], [text(&figure)]),
            Cell::Figure(figure, level) => {
                element("td", &[("class", level.class())], [text(&figure)])
            }
            Cell::Judged(figure, level, words) => element(
                "td",
                &[("class", level.class())],
                [
                    text(&figure),
                    text(" "),
                    element("span", &[("class", "level")], [text(words)]),
                ],
            ),
        });
    }
    wrap("tr", &[], out)
}

/// Whether words may break into lines.
fn is_long(words: &str) -> bool {
    words.chars().count() > 16
}
