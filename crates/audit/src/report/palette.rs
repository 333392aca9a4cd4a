//! All colours, once: the page's in light and dark, and those of SVG files.

/// A name, its colour on light ground and on dark ground.
pub(super) const PALETTE: [(&str, &str, &str); 23] = [
    ("ground", "#fdfcfa", "#191918"),
    ("raised", "#ffffff", "#232321"),
    ("ink", "#1d1c1a", "#eae7e1"),
    ("quiet", "#625e57", "#a9a49b"),
    ("line", "#dedad2", "#35332f"),
    ("accent", "#175e63", "#86cbc9"),
    ("broken", "#a3261c", "#f2988c"),
    ("broken-ground", "#fbe3df", "#45231f"),
    ("leaks", "#7c4a06", "#e8b878"),
    ("leaks-ground", "#fbefd9", "#3d2f1a"),
    ("little", "#2c5d3f", "#9bd0ac"),
    ("little-ground", "#e8f2ea", "#20322a"),
    ("unknown", "#57534c", "#b4afa6"),
    ("unknown-ground", "#f1eee8", "#2a2926"),
    ("s0", "#175e63", "#86cbc9"),
    ("s1", "#a3261c", "#f2988c"),
    ("s2", "#4a45a8", "#b4aef5"),
    ("s3", "#8d5a0c", "#e3b873"),
    ("s4", "#33661f", "#a5d286"),
    ("s5", "#962a6c", "#efa0cb"),
    ("s6", "#1f5c9c", "#90c0f2"),
    ("s7", "#57534c", "#b4afa6"),
    ("cell", "#1d1c1a", "#eae7e1"),
];

/// How many colours lines have.
pub(super) const SERIES: usize = 8;

/// As custom properties of the page: light, dark where that is preferred, and light on paper.
pub(super) fn properties() -> String {
    let block = |pick: fn(&(&str, &'static str, &'static str)) -> &'static str| {
        let lines: String = PALETTE
            .iter()
            .map(|row| format!("  --{}: {};\n", row.0, pick(row)))
            .collect();
        format!(":root {{\n{lines}}}\n")
    };
    let light = block(|row| row.1);
    let dark = block(|row| row.2);
    format!("{light}@media screen and (prefers-color-scheme: dark) {{\n{dark}}}\n")
}

/// A style sheet without custom properties, in the light colours.
pub(super) fn fixed(sheet: &str) -> String {
    PALETTE.iter().fold(sheet.to_owned(), |sheet, row| {
        sheet.replace(&format!("var(--{})", row.0), row.1)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Relative luminance of WCAG 2.2.
    fn luminance(colour: &str) -> f64 {
        let channel = |at: usize| {
            let value = f64::from(u8::from_str_radix(&colour[at..at + 2], 16).unwrap()) / 255.0;
            if value <= 0.040_45 {
                value / 12.92
            } else {
                ((value + 0.055) / 1.055).powf(2.4)
            }
        };
        0.2126 * channel(1) + 0.7152 * channel(3) + 0.0722 * channel(5)
    }

    #[test]
    fn everything_that_is_read_has_contrast() {
        let find = |name: &str| *PALETTE.iter().find(|row| row.0 == name).unwrap();
        let check = |ink: &str, ground: &str| {
            let (ink_row, ground_row) = (find(ink), find(ground));
            for (one, other) in [(ink_row.1, ground_row.1), (ink_row.2, ground_row.2)] {
                let (a, b) = (luminance(one), luminance(other));
                let contrast = (a.max(b) + 0.05) / (a.min(b) + 0.05);
                assert!(contrast >= 4.5, "{ink} on {ground}: {contrast:.2}");
            }
        };
        for ink in [
            "ink", "quiet", "accent", "broken", "leaks", "little", "unknown",
        ] {
            check(ink, "ground");
        }
        for series in 0..SERIES {
            check(&format!("s{series}"), "ground");
        }
        for ground in ["broken", "leaks", "little", "unknown"] {
            check(ground, &format!("{ground}-ground"));
            check("cell", &format!("{ground}-ground"));
        }
    }

    #[test]
    fn a_fixed_sheet_has_no_variable_left() {
        let sheet = fixed("a{fill:var(--ink);stroke:var(--s3)}");
        assert_eq!(sheet, "a{fill:#1d1c1a;stroke:#8d5a0c}");
    }
}
