//! Attack x scheme.

use super::leak::{CONTROL_THRESHOLD, Leak, control_works};
use super::number::percent;
use crate::{Adversary, Audited, Verdict};

/// One attack on every scheme.
pub(super) struct Row<'a> {
    /// Whose attack.
    pub(super) adversary: Adversary,
    /// Its name.
    pub(super) attack: &'static str,
    /// One a scheme; none where it was not run.
    pub(super) cells: Vec<Option<&'a Verdict>>,
}

/// All attacks: adversaries who hold most first, attacks of one adversary as they come. An attack that stands twice in one
/// scheme has two rows.
pub(super) fn rows(audited: &[Audited]) -> Vec<Row<'_>> {
    let mut rows: Vec<Row<'_>> = Vec::new();
    for (column, one) in audited.iter().enumerate() {
        for verdict in &one.verdicts {
            let free = rows.iter_mut().find(|row| {
                row.adversary == verdict.adversary
                    && row.attack == verdict.attack
                    && row.cells.get(column).is_some_and(Option::is_none)
            });
            let row = match free {
                Some(row) => row,
                None => {
                    rows.push(Row {
                        adversary: verdict.adversary,
                        attack: verdict.attack,
                        cells: vec![None; audited.len()],
                    });
                    let Some(last) = rows.last_mut() else {
                        continue;
                    };
                    last
                }
            };
            if let Some(cell) = row.cells.get_mut(column) {
                *cell = Some(verdict);
            }
        }
    }
    let place = |row: &Row<'_>| Adversary::ALL.iter().position(|who| *who == row.adversary);
    rows.sort_by_key(place);
    rows
}

/// The one figure of an attack on a scheme: the most that it recovered, of types or of tokens.
pub(super) fn figure(verdict: Option<&Verdict>) -> String {
    let Some(verdict) = verdict else {
        return NOT_RUN.to_owned();
    };
    percent(Leak::of(verdict).map_or(f64::NAN, |leak| leak.share))
}

/// What to say about an attack whose control failed.
pub(super) fn warning(verdict: &Verdict) -> Option<String> {
    (!control_works(verdict)).then(|| {
        format!(
            "{} did not work even on its control ({}, expected {} or more): a low figure of it says nothing.",
            verdict.attack,
            percent(verdict.control),
            percent(CONTROL_THRESHOLD),
        )
    })
}

/// Where an attack was not run.
pub(super) const NOT_RUN: &str = "-";

#[cfg(test)]
mod tests {
    use crate::report::samples::{audited, verdict};

    use super::*;

    #[test]
    fn an_attack_has_one_row_for_all_schemes_and_gaps_where_it_was_not_run() {
        let mut reader = verdict("frequency", 0.1, 0.1);
        reader.adversary = Adversary::LogReader;
        let all = [
            audited("a", vec![reader.clone(), verdict("spectral", 0.9, 0.8)]),
            audited(
                "b",
                vec![verdict("spectral", 0.2, 0.3), reader.clone(), reader],
            ),
        ];
        let rows = rows(&all);
        let shown: Vec<(&str, Vec<String>)> = rows
            .iter()
            .map(|row| {
                (
                    row.attack,
                    row.cells.iter().map(|cell| figure(*cell)).collect(),
                )
            })
            .collect();
        let expected = [
            ("spectral", ["90.00 %", "30.00 %"]),
            ("frequency", ["10.00 %", "10.00 %"]),
            ("frequency", ["-", "10.00 %"]),
        ];
        assert_eq!(shown.len(), expected.len());
        for ((name, cells), (expected_name, expected_cells)) in shown.iter().zip(expected) {
            assert_eq!(*name, expected_name);
            assert_eq!(cells, &expected_cells);
        }
    }

    #[test]
    fn a_failed_control_is_named_with_its_figure() {
        let mut attack = verdict("gate-mean", 0.01, 0.01);
        assert_eq!(warning(&attack), None);
        attack.control = 0.8;
        assert_eq!(
            warning(&attack).unwrap(),
            "gate-mean did not work even on its control (80.00 %, expected 95.00 % or more): a low figure of it says nothing."
        );
    }
}
