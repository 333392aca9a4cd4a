//! Tables for a terminal: plain text, at most 110 columns, without colour.

use super::grid::{figure, rows, warning};
use super::number::{count, duration, percent, printable, score};
use super::price::prices;
use super::sentence::verdicts;
use crate::Audited;

/// Every attack on one scheme with its figures, and the verdicts under it.
#[must_use]
pub fn table(audited: &Audited) -> String {
    let mut out = wrapped(&headline(audited), "");
    let prices = prices(std::slice::from_ref(audited));
    if !prices.is_empty() {
        let figures: Vec<String> = prices
            .iter()
            .map(|(name, cells)| format!("{name} {}", cells.concat()))
            .collect();
        out += &wrapped(&format!("fidelity: {}", figures.join("; ")), "  ");
    }
    out.push('\n');
    if audited.verdicts.is_empty() {
        out += "No attack was run.\n";
    } else {
        let header = [
            "attack",
            "adversary",
            "types",
            "tokens",
            "chance",
            "control",
            "per key",
        ];
        let ordered = rows(std::slice::from_ref(audited));
        let all: Vec<_> = ordered
            .iter()
            .flat_map(|row| &row.cells)
            .flatten()
            .collect();
        let cells: Vec<Vec<String>> = all
            .iter()
            .map(|verdict| {
                vec![
                    verdict.attack.to_owned(),
                    verdict.adversary.short().to_owned(),
                    percent(verdict.recovered_types),
                    percent(verdict.recovered_occurrences),
                    percent(verdict.chance),
                    marked(percent(verdict.control), warning(verdict).is_some()),
                    duration(verdict.seconds),
                ]
            })
            .collect();
        out += &aligned(&header.map(str::to_owned), &cells, 2);
        out +=
            "\ntypes: of the vocabulary; tokens: of held-out text; both without special tokens.\n";
        for verdict in &all {
            if let Some(point) = verdict.curve.last()
                && let Some(points) = point.contest
            {
                out += &wrapped(
                    &format!(
                        "{} ({}): a challenge score of {} at {} tokens seen (+10 an id named rightly, -1 wrongly)",
                        verdict.attack,
                        verdict.adversary.short(),
                        score(points),
                        count(point.effort as usize),
                    ),
                    "  ",
                );
            }
        }
        for warning in all.iter().filter_map(|verdict| warning(verdict)) {
            out += &wrapped(&format!("! {warning}"), "  ");
        }
    }
    out.push('\n');
    out += &sentences(audited);
    out
}

/// Attack x scheme: the most that each attack recovered, of types or of tokens. Schemes are numbered, and named above.
#[must_use]
pub fn matrix_table(audited: &[Audited]) -> String {
    let mut out = String::new();
    for (number, one) in audited.iter().enumerate() {
        out += &wrapped(&format!("[{}] {}", number + 1, headline(one)), "    ");
    }
    out.push('\n');
    let rows = rows(audited);
    if rows.is_empty() {
        return out + "No attack was run.\n";
    }
    let columns: Vec<usize> = (0..audited.len()).collect();
    for block in columns.chunks(SCHEMES_ABREAST) {
        let mut header = vec!["attack".to_owned(), "adversary".to_owned()];
        header.extend(block.iter().map(|column| format!("[{}]", column + 1)));
        let mut cells: Vec<Vec<String>> = rows
            .iter()
            .map(|row| {
                let mut cells = vec![row.attack.to_owned(), row.adversary.short().to_owned()];
                cells.extend(block.iter().map(|column| {
                    let cell = row.cells.get(*column).copied().flatten();
                    marked(figure(cell), cell.and_then(warning).is_some())
                }));
                cells
            })
            .collect();
        for (name, of_schemes) in prices(audited) {
            let mut line = vec![name.to_owned(), "(fidelity)".to_owned()];
            line.extend(
                block
                    .iter()
                    .filter_map(|column| of_schemes.get(*column).cloned()),
            );
            cells.push(line);
        }
        out += &aligned(&header, &cells, 2);
        out.push('\n');
    }
    out += "Each figure: the most that the attack recovered, of token types or of tokens in held-out text.\n";
    let failed = rows.iter().flat_map(|row| &row.cells).flatten();
    if failed
        .filter_map(|verdict| warning(verdict))
        .next()
        .is_some()
    {
        out += "! The attack did not work even on its control: a low figure of it says nothing.\n";
    }
    out
}

/// The sentences, each with its standing before it.
fn sentences(audited: &Audited) -> String {
    verdicts(audited)
        .iter()
        .map(|said| {
            let line = format!("{:<PLACE$}{}", said.standing.words(), said.text);
            wrapped(&line, &" ".repeat(PLACE))
        })
        .collect()
}

/// What was audited, in one line.
fn headline(audited: &Audited) -> String {
    // Logs have no weights.
    let weights = match audited.dtype.is_empty() {
        true => String::new(),
        false => format!(", {}, noise {}", audited.dtype, audited.noise),
    };
    printable(&format!(
        "{}: {}{weights}, {} token types, {} tokens of held-out text",
        audited.scheme,
        audited.architecture,
        count(audited.vocab_size),
        count(audited.text_tokens),
    ))
}

fn marked(figure: String, failed: bool) -> String {
    format!("{}{figure}", if failed { "! " } else { "" })
}

/// Columns two spaces apart, the first `left` of them flush left and the others flush right.
fn aligned(header: &[String], rows: &[Vec<String>], left: usize) -> String {
    let width = |column: usize| {
        rows.iter()
            .chain([&header.to_vec()])
            .filter_map(|row| row.get(column))
            .map(|cell| cell.chars().count())
            .max()
            .unwrap_or(0)
    };
    let widths: Vec<usize> = (0..header.len()).map(width).collect();
    let line = |row: &[String]| {
        let cells: Vec<String> = row
            .iter()
            .zip(&widths)
            .enumerate()
            .map(|(column, (cell, width))| {
                if column < left {
                    format!("{cell:<width$}")
                } else {
                    format!("{cell:>width$}")
                }
            })
            .collect();
        format!("{}\n", cells.join("  ").trim_end())
    };
    let rules: Vec<String> = widths.iter().map(|width| "-".repeat(*width)).collect();
    let mut out = line(header);
    out += &line(&rules);
    out.extend(rows.iter().map(|row| line(row)));
    out
}

/// Lines of at most [`WIDTH`] columns, all but the first behind `hanging`. A longer word stays whole.
fn wrapped(text: &str, hanging: &str) -> String {
    let mut out = String::new();
    let mut used = 0;
    for word in text.split(' ') {
        let length = word.chars().count();
        if used > 0 && used + 1 + length > WIDTH {
            out.truncate(out.trim_end().len());
            out.push('\n');
            out += hanging;
            used = hanging.chars().count();
        } else if !out.is_empty() {
            out.push(' ');
            used += 1;
        }
        out += word;
        used += length;
    }
    out.push('\n');
    out
}

/// The widest line, in columns.
const WIDTH: usize = 100;

/// Where a sentence begins, behind its standing.
const PLACE: usize = 18;

/// How many schemes stand beside one another.
const SCHEMES_ABREAST: usize = 6;

#[cfg(test)]
mod tests {
    use crate::report::samples::{audited, schemes, verdict};

    use super::*;

    #[test]
    fn columns_align_and_lines_are_short() {
        let all = schemes();
        for text in all.iter().map(table).chain([matrix_table(&all)]) {
            assert!(
                text.lines().all(|line| line.chars().count() <= 110),
                "{text}"
            );
            let lines: Vec<&str> = text.lines().collect();
            let rule = lines
                .iter()
                .position(|line| line.starts_with("---"))
                .unwrap();
            let ends: Vec<usize> = lines[rule]
                .match_indices("-  ")
                .map(|(place, _)| place + 1)
                .collect();
            assert!(ends.len() >= 6);
            let body = lines[rule + 1..].iter().take_while(|line| !line.is_empty());
            for line in body {
                let letters: Vec<char> = line.chars().collect();
                for end in &ends {
                    assert_eq!(letters[*end..*end + 2], [' ', ' '], "{line}");
                }
                for end in &ends[2..] {
                    assert_ne!(letters[*end - 1], ' ', "flush right: {line}");
                }
            }
        }
    }

    #[test]
    fn every_attack_figure_and_verdict_is_there() {
        for one in schemes() {
            let text = table(&one);
            for verdict in &one.verdicts {
                assert!(text.contains(verdict.attack));
                assert!(text.contains(&percent(verdict.recovered_occurrences)));
            }
            let flowing = text.split_whitespace().collect::<Vec<_>>().join(" ");
            for said in verdicts(&one) {
                let line = format!("{} {}", said.standing.words(), said.text);
                assert!(flowing.contains(&line), "{line}\n{text}");
            }
            assert!(text.contains("! gate-mean did not work even on its control"));
        }
    }

    #[test]
    fn nothing_to_show_is_said() {
        let empty = audited("rotate", Vec::new());
        let text = table(&empty);
        assert!(text.contains("No attack was run."));
        assert_eq!(text.matches("not measured  ").count(), 7);
        assert!(matrix_table(&[empty]).contains("No attack was run."));
        assert!(matrix_table(&[]).contains("No attack was run."));
    }

    #[test]
    fn a_terminal_is_not_steered_and_long_names_do_not_break_lines() {
        let scheme = format!("\u{1b}[2J{}", "x".repeat(200));
        let text = table(&audited(&scheme, vec![verdict("a", f64::NAN, 1e300)]));
        assert!(!text.contains('\u{1b}'));
        assert!(text.contains("no number"));
    }
}
