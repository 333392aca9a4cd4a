//! The matrix for a page of documentation.

use super::grid::{figure, rows, warning};
use super::number::printable;
use super::price::prices;
use crate::Audited;

/// Scheme x attack as a Markdown table, with the figures of [`matrix_table`](super::matrix_table): fidelity first, then one
/// column an attack.
#[must_use]
pub fn matrix_markdown(audited: &[Audited]) -> String {
    let rows = rows(audited);
    if rows.is_empty() {
        return "No attack was run.\n".to_owned();
    }
    let prices = prices(audited);
    let line = |cells: Vec<String>| format!("| {} |\n", cells.join(" | "));
    let mut header = vec!["scheme".to_owned()];
    header.extend(prices.iter().map(|(name, _)| (*name).to_owned()));
    header.extend(rows.iter().map(|row| format!("`{}`", row.attack)));
    let mut out = line(header.clone());
    let rule = header.iter().enumerate();
    let rule = rule.map(|(number, _)| if number == 0 { "---" } else { "--:" });
    out += &line(rule.map(str::to_owned).collect());
    let mut failed = false;
    for (number, one) in audited.iter().enumerate() {
        let mut cells = vec![escaped(&one.scheme)];
        let price = prices.iter().filter_map(|(_, cells)| cells.get(number));
        cells.extend(price.map(|cell| escaped(cell)));
        for row in &rows {
            let cell = row.cells.get(number).copied().flatten();
            let mark = if cell.and_then(warning).is_some() {
                failed = true;
                " (!)"
            } else {
                ""
            };
            cells.push(format!("{}{mark}", escaped(&figure(cell))));
        }
        out += &line(cells);
    }
    out += "\nEach share: the most that the attack recovered, of token types or of tokens in held-out text.";
    if failed {
        out += " (!): the attack did not work even on its control, so a low figure of it says nothing.";
    }
    out.push('\n');
    out
}

/// Text that is neither a mark nor the end of a cell.
pub(super) fn escaped(text: &str) -> String {
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
        assert_eq!(lines.len(), 2 + 6);
        // The scheme, three figures of fidelity, eleven attacks.
        for line in lines {
            assert_eq!(line.matches('|').count(), 1 + 3 + 11 + 1, "{line}");
        }
        assert!(text.starts_with("| scheme | mean KL, nats | top-1 | perplexity | `"));
        assert!(text.contains("99.98 %"));
        assert!(text.contains(" (!) |") && text.contains("\n\nEach share"));
    }

    #[test]
    fn names_cannot_break_out_of_their_cells() {
        let text = matrix_markdown(&[audited("a|b\n<img>", vec![verdict("x", 0.000_001, 0.0)])]);
        assert!(text.contains("| a\\|b\u{fffd}\\<img\\> |"), "{text}");
        assert!(text.contains("| \\< 0.01 % |"), "{text}");
        assert_eq!(matrix_markdown(&[]), "No attack was run.\n");
    }
}
