//! How much one attack recovered, at most.

use crate::Verdict;

/// The point at which an attack recovered most.
#[derive(Debug, Clone, Copy)]
pub(super) struct Leak {
    /// The larger of the two shares that follow.
    pub(super) share: f64,
    /// As in [`Verdict`]; may be no number.
    pub(super) types: f64,
    /// As in [`Verdict`]; may be no number.
    pub(super) occurrences: f64,
    /// The effort that it took, if the attack has a knob.
    pub(super) effort: Option<f64>,
}

impl Leak {
    /// The most that `verdict` reports, over its shares and its whole curve; none if it reports no number at all.
    pub(super) fn of(verdict: &Verdict) -> Option<Self> {
        let last = Self::new(
            verdict.recovered_types,
            verdict.recovered_occurrences,
            verdict.curve.last().map(|point| point.effort),
        );
        verdict
            .curve
            .iter()
            .map(|point| {
                Self::new(
                    point.recovered_types,
                    point.recovered_occurrences,
                    Some(point.effort),
                )
            })
            .chain([last])
            .flatten()
            // The first of equals: the least effort.
            .reduce(|most, next| if next.share > most.share { next } else { most })
    }

    /// What was recovered beyond guessing, of what guessing left.
    pub(super) fn beyond(self, chance: f64) -> f64 {
        beyond(self.share, chance)
    }

    fn new(types: f64, occurrences: f64, effort: Option<f64>) -> Option<Self> {
        // What is not between 0 and 1 is no share, and `max` passes over what is no number.
        let valid = |share: f64| if is_share(share) { share } else { f64::NAN };
        let (types, occurrences) = (valid(types), valid(occurrences));
        let share = types.max(occurrences);
        is_share(share).then_some(Self {
            share,
            types,
            occurrences,
            effort,
        })
    }
}

/// (share - chance) / (1 - chance); the share itself if the chance is none.
pub(super) fn beyond(share: f64, chance: f64) -> f64 {
    if (0.0..1.0).contains(&chance) {
        (share - chance) / (1.0 - chance)
    } else {
        share
    }
}

/// Whether it is between 0 and 1.
pub(super) fn is_share(value: f64) -> bool {
    (0.0..=1.0).contains(&value)
}

/// Whether the attack recovers a secret vocabulary without anything else, so that a low figure of it means something.
pub(super) fn control_works(verdict: &Verdict) -> bool {
    verdict.control >= CONTROL_THRESHOLD
}

/// What an attack must recover from its control.
pub(super) const CONTROL_THRESHOLD: f64 = 0.95;

#[cfg(test)]
mod tests {
    use crate::Point;
    use crate::report::samples::verdict;

    use super::*;

    #[test]
    fn the_most_of_a_curve_counts_with_the_least_effort_that_gave_it() {
        let mut attack = verdict("cooccurrence", 0.1, 0.2);
        attack.curve = [(10.0, 0.3), (20.0, 0.7), (30.0, 0.7), (40.0, 0.2)]
            .map(|(effort, share)| Point {
                effort,
                recovered_types: f64::NAN,
                recovered_occurrences: share,
                contest: None,
            })
            .to_vec();
        let leak = Leak::of(&attack).unwrap();
        assert_eq!((leak.share, leak.effort), (0.7, Some(20.0)));
    }

    #[test]
    fn no_number_is_no_leak_and_one_number_is_enough() {
        assert!(Leak::of(&verdict("a", f64::NAN, f64::NAN)).is_none());
        assert!(Leak::of(&verdict("a", -0.1, 1.5)).is_none());
        assert_eq!(Leak::of(&verdict("a", 1e300, 0.25)).unwrap().share, 0.25);
        assert_eq!(Leak::of(&verdict("a", f64::NAN, 0.25)).unwrap().share, 0.25);
        assert_eq!(Leak::of(&verdict("a", 0.5, 0.25)).unwrap().share, 0.5);
    }

    #[test]
    fn guessing_is_taken_off() {
        let leak = Leak::of(&verdict("a", 0.6, 0.1)).unwrap();
        assert!((leak.beyond(0.2) - 0.5).abs() < 1e-12);
        assert_eq!(leak.beyond(f64::NAN), 0.6);
        assert_eq!(leak.beyond(1.0), 0.6);
    }

    #[test]
    fn a_control_that_is_no_number_does_not_work() {
        let mut attack = verdict("a", 0.5, 0.5);
        for (control, works) in [(0.95, true), (0.949, false), (f64::NAN, false)] {
            attack.control = control;
            assert_eq!(control_works(&attack), works);
        }
    }
}
