//! The matrix for a page of documentation.

use super::grid::{figure, rows, warning};
use super::number::printable;
use crate::Audited;

/// Attack x scheme as a Markdown table, with the figures of [`matrix_table`](super::matrix_table).
#[must_use]
pub fn matrix_markdown(audited: &[Audited]) -> String {
    let rows = rows(audited);
    if rows.is_empty() {
        return "No attack was run.\n".to_owned();
    }
    let line = |cells: Vec<String>| format!("| {} |\n", cells.join(" | "));
    let mut header = vec!["attack".to_owned(), "adversary".to_owned()];
    header.extend(audited.iter().map(|one| escaped(&one.scheme)));
    let mut out = line(header);
    let mut rule = vec!["---".to_owned(); 2];
    rule.extend(vec!["--:".to_owned(); audited.len()]);
    out += &line(rule);
    let mut failed = false;
    for row in &rows {
        let mut cells = vec![
            format!("`{}`", row.attack),
            row.adversary.short().to_owned(),
        ];
        for cell in &row.cells {
            let mark = if cell.and_then(warning).is_some() {
                failed = true;
                " (!)"
            } else {
                ""
            };
            cells.push(format!("{}{mark}", escaped(&figure(*cell))));
        }
        out += &line(cells);
    }
    out += "\nEach figure: the most that the attack recovered, of token types or of tokens in held-out text.";
    if failed {
        out += " (!): the attack did not work even on its control, so a low figure of it says nothing.";
    }
    out.push('\n');
    out
}

/// Text that is neither a mark nor the end of a cell.
fn escaped(text: &str) -> String {
    let mut out = String::new();
    for letter in printable(text).chars() {
        if "\\`*_[]<>|&~#".contains(letter) {
            out.push('\\');
        }
        out.push(letter);
    }
    out
}

#[cfg(test)]
mod tests {
    use crate::report::samples::{audited, schemes, verdict};

    use super::*;

    #[test]
    fn every_line_has_as_many_cells() {
        let text = matrix_markdown(&schemes());
        let lines: Vec<&str> = text.lines().take_while(|line| !line.is_empty()).collect();
        assert_eq!(lines.len(), 2 + 11);
        for line in lines {
            assert_eq!(line.matches('|').count(), 2 + 6 + 1, "{line}");
        }
        assert!(text.contains("| `neuron-anchor` | host | 99.98 % | ") || text.contains("99.97 %"));
        assert!(text.contains(" (!) |") && text.contains("\n\nEach figure"));
    }

    #[test]
    fn names_cannot_break_out_of_their_cells() {
        let text = matrix_markdown(&[audited("a|b\n<img>", vec![verdict("x", 0.000_001, 0.0)])]);
        assert!(
            text.starts_with("| attack | adversary | a\\|b\u{fffd}\\<img\\> |\n"),
            "{text}"
        );
        assert!(text.contains("| \\< 0.01 % |"));
        assert_eq!(matrix_markdown(&[]), "No attack was run.\n");
    }
}
