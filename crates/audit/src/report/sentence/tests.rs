//! Each branch of the verdict.

use crate::Point;
use crate::report::samples::{audited, verdict};

use super::*;

fn of(verdicts: Vec<Verdict>, adversary: Adversary) -> Sentence {
    sentence(&audited("rotate", verdicts), adversary)
}

#[test]
fn a_host_that_reads_most_is_not_protected_against() {
    let said = of(
        vec![
            verdict("sorted-row", 0.000_5, 0.000_4),
            verdict("neuron-anchor", 0.999, 0.999),
        ],
        Adversary::BaseModelHost,
    );
    assert_eq!(said.standing, Standing::Broken);
    assert_eq!(said.attack, Some("neuron-anchor"));
    assert_eq!(said.share, Some(0.999));
    assert_eq!(
        said.text,
        "A host that has the original checkpoint reads 99.90 % of the tokens in held-out text (neuron-anchor, 12 s; \
         guessing blindly: < 0.01 %). This encryption does not protect against it."
    );
}

#[test]
fn who_holds_more_reads_no_less() {
    let attacks = vec![verdict("spectral", 0.9, 0.9)];
    let said = of(attacks.clone(), Adversary::KnownPlaintextHost);
    assert_eq!(said.standing, Standing::Broken);
    assert!(
        said.text.contains("needs less than it holds (spectral"),
        "{}",
        said.text
    );
    let said = of(attacks, Adversary::LogReader);
    assert_eq!(said.standing, Standing::NotMeasured);
    assert_eq!(said.share, None);
    assert_eq!(
        said.text,
        "A reader of cipher ids alone: not measured, for no attack of its own was run."
    );
    let mut weak = verdict("frequency", 0.01, 0.02);
    weak.adversary = Adversary::LogReader;
    let said = of(vec![weak], Adversary::BaseModelHost);
    assert_eq!(said.standing, Standing::NotMeasured);
    assert!(
        said.text.contains("at most 2.00 % (frequency)"),
        "{}",
        said.text
    );
}

#[test]
fn a_twentieth_leaks_and_the_effort_is_named() {
    let mut attack = verdict("cooccurrence", 0.02, 0.12);
    attack.adversary = Adversary::LogReader;
    attack.effort = Some("cipher tokens");
    attack.curve = vec![Point {
        effort: 1e4,
        recovered_types: 0.02,
        recovered_occurrences: 0.12,
        contest: None,
    }];
    let said = of(vec![attack], Adversary::LogReader);
    assert_eq!(said.standing, Standing::Leaks);
    assert!(said.text.contains("reads 12.00 %"), "{}", said.text);
    assert!(
        said.text.contains("at 10,000 cipher tokens"),
        "{}",
        said.text
    );
    assert!(said.text.ends_with("may read more."), "{}", said.text);
}

#[test]
fn the_least_effort_that_reads_half_is_named() {
    let mut attack = verdict("cooccurrence", 0.5, 0.89);
    attack.effort = Some("cipher tokens");
    attack.curve = [(1e4, 0.1), (1e5, 0.6), (1e6, 0.85), (5e6, 0.89)]
        .map(|(effort, share)| Point {
            effort,
            recovered_types: 0.5,
            recovered_occurrences: share,
            contest: None,
        })
        .to_vec();
    let said = of(vec![attack], Adversary::BaseModelHost);
    assert!(
        said.text
            .contains("(cooccurrence at 5,000,000 cipher tokens, half from 100,000 on, 12 s;"),
        "{}",
        said.text
    );
}

#[test]
fn guessing_well_is_no_leak() {
    let mut attack = verdict("embedding-output", 0.52, 0.52);
    attack.chance = 0.5;
    let said = of(vec![attack], Adversary::BaseModelHost);
    assert_eq!(said.standing, Standing::LittleFound);
    assert!(said.text.contains("52.00 %"), "{}", said.text);
    assert!(
        said.text.contains("guessing blindly: 50.00 %"),
        "{}",
        said.text
    );
}

#[test]
fn little_is_said_with_what_was_tried_and_is_no_proof() {
    let attacks = vec![
        verdict("sorted-row", 0.000_5, 0.000_4),
        verdict("row-norm", 0.000_1, 0.0),
    ];
    let said = of(attacks, Adversary::BaseModelHost);
    assert_eq!(said.standing, Standing::LittleFound);
    assert!(
        said.text.contains(
            "none of the 2 attacks tried (sorted-row, row-norm) recovered more than 0.05 %"
        ),
        "{}",
        said.text
    );
    assert!(said.text.contains("no proof"), "{}", said.text);
    let one = of(
        vec![verdict("row-norm", 0.0, 0.0)],
        Adversary::BaseModelHost,
    );
    assert!(
        one.text
            .contains("the one attack tried (row-norm) recovered 0 %"),
        "{}",
        one.text
    );
}

#[test]
fn an_attack_that_fails_its_control_says_nothing_when_low_and_counts_when_high() {
    let mut low = verdict("gate-mean", 0.03, 0.03);
    low.control = 0.4;
    let said = of(vec![low.clone()], Adversary::BaseModelHost);
    assert_eq!(said.standing, Standing::Inconclusive);
    assert!(said.text.contains("nothing is known"), "{}", said.text);
    let said = of(
        vec![low.clone(), verdict("row-norm", 0.01, 0.01)],
        Adversary::BaseModelHost,
    );
    assert_eq!(said.standing, Standing::LittleFound);
    assert_eq!(said.share, Some(0.03), "the most of all, working or not");
    assert!(said.text.contains("Not counted"), "{}", said.text);
    let mut high = low;
    high.recovered_types = 0.8;
    let said = of(vec![high], Adversary::BaseModelHost);
    assert_eq!(said.standing, Standing::Broken);
}

#[test]
fn types_are_named_where_they_are_what_leaks() {
    let said = of(vec![verdict("a", 0.9, 0.3)], Adversary::BaseModelHost);
    assert!(
        said.text
            .contains("recovers 90.00 % of the token types and reads 30.00 %"),
        "{}",
        said.text
    );
    let said = of(vec![verdict("a", 0.9, f64::NAN)], Adversary::BaseModelHost);
    assert!(
        said.text.contains("recovers 90.00 % of the token types ("),
        "{}",
        said.text
    );
}

#[test]
fn no_number_is_inconclusive() {
    let said = of(
        vec![verdict("a", f64::NAN, f64::NAN)],
        Adversary::BaseModelHost,
    );
    assert_eq!(said.standing, Standing::Inconclusive);
    assert_eq!(said.share, None);
    let said = of(vec![verdict("a", 1e300, -1.0)], Adversary::BaseModelHost);
    assert_eq!(said.standing, Standing::Inconclusive);
}

#[test]
fn nothing_is_ever_called_safe() {
    for standing in [0.0, 0.02, 0.2, 0.9] {
        for said in verdicts(&audited("x", vec![verdict("a", standing, standing)])) {
            let text = said.text.to_lowercase();
            assert!(!text.contains("safe") && !text.contains("secure"), "{text}");
            assert!(
                !text.replace("not protect", "").contains("protect"),
                "{text}"
            );
        }
    }
}
