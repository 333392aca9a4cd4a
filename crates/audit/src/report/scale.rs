//! One axis of a plot: where a value stands, and what is written beside it.

use super::number::effort;

/// Maps values to 0..=1.
#[derive(Debug, Clone)]
pub(super) struct Scale {
    low: f64,
    high: f64,
    kind: Kind,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Kind {
    Linear,
    Percent,
    /// Positive values by their logarithm, behind a place for zero if there is one.
    Log {
        zero: bool,
    },
}

impl Scale {
    /// Shares from nothing to all.
    pub(super) const SHARE: Self = Self {
        low: 0.0,
        high: 1.0,
        kind: Kind::Percent,
    };

    /// For all of `values` that can be drawn: logarithmic from two decades on.
    pub(super) fn of(values: &[f64]) -> Self {
        let drawn = || values.iter().copied().filter(|value| drawable(*value));
        let positive = || drawn().filter(|value| *value > 0.0);
        let low = positive().fold(f64::INFINITY, f64::min);
        let high = drawn().fold(f64::NEG_INFINITY, f64::max);
        if high / low >= 100.0 {
            let zero = drawn().any(|value| value <= 0.0);
            return Self {
                low: low.log10(),
                high: high.log10(),
                kind: Kind::Log { zero },
            };
        }
        let low = drawn().fold(f64::INFINITY, f64::min);
        let (low, high) = match (low, high) {
            (low, high) if low > high => (0.0, 1.0),
            (low, high) if low == high => (low.min(0.0), if high > 0.0 { high * 2.0 } else { 1.0 }),
            (low, high) if low > 0.0 && low < high / 2.0 => (0.0, high),
            both => both,
        };
        Self {
            low,
            high,
            kind: Kind::Linear,
        }
    }

    /// 0 is the axis's beginning, 1 its end.
    pub(super) fn place(&self, value: f64) -> f64 {
        let part = |value: f64| ((value - self.low) / (self.high - self.low)).clamp(0.0, 1.0);
        match self.kind {
            Kind::Linear => part(value),
            Kind::Percent => part(value),
            Kind::Log { zero: true } if value <= 0.0 => 0.0,
            Kind::Log { zero: true } => ZERO + (1.0 - ZERO) * part(value.log10()),
            Kind::Log { zero: false } => part(value.max(f64::MIN_POSITIVE).log10()),
        }
    }

    /// The piece of the axis that is no part of the scale, between zero and the least logarithm.
    pub(super) fn gap(&self) -> Option<[f64; 2]> {
        (self.kind == Kind::Log { zero: true }).then_some([ZERO * 0.35, ZERO * 0.65])
    }

    /// Places and labels.
    pub(super) fn ticks(&self) -> Vec<(f64, String)> {
        match self.kind {
            Kind::Percent => (0..=4)
                .map(|quarter| (f64::from(quarter) / 4.0, format!("{} %", quarter * 25)))
                .collect(),
            Kind::Linear => self.linear_ticks(),
            Kind::Log { zero } => {
                let origin = zero.then(|| (0.0, "0".to_owned()));
                origin.into_iter().chain(self.log_ticks()).collect()
            }
        }
    }

    fn linear_ticks(&self) -> Vec<(f64, String)> {
        let rough = (self.high - self.low) / 5.0;
        let decade = 10f64.powf(rough.log10().floor());
        let step = [1.0, 2.0, 5.0, 10.0]
            .into_iter()
            .map(|factor| factor * decade)
            .find(|step| *step >= rough)
            .unwrap_or(rough);
        let first = (self.low / step).ceil();
        (0..=MOST_TICKS)
            .map(|number| (first + number as f64) * step)
            .take_while(|value| *value <= self.high + step * 1e-9)
            .map(|value| (self.place(value), label(value)))
            .collect()
    }

    fn log_ticks(&self) -> Vec<(f64, String)> {
        let factors: &[f64] = match self.high - self.low {
            few if few < 2.5 => &[1.0, 2.0, 5.0],
            some if some < 3.5 => &[1.0, 3.0],
            _ => &[1.0],
        };
        let first = self.low.floor() as i32;
        let last = self.high.ceil() as i32;
        let stride = (last - first) / MOST_TICKS as i32 + 1;
        (first..=last)
            .filter(|decade| decade.rem_euclid(stride) == 0)
            .flat_map(|decade| factors.iter().map(move |factor| (decade, factor)))
            // Parsed, not multiplied: 1e-12 and not 1.0000000000000002e-12.
            .filter_map(|(decade, factor)| format!("{factor}e{decade}").parse::<f64>().ok())
            .filter(|value| (self.low - 1e-9..=self.high + 1e-9).contains(&value.log10()))
            .map(|value| (self.place(value), label(value)))
            .collect()
    }
}

/// Whether a value has a place on any axis.
pub(super) fn drawable(value: f64) -> bool {
    value.abs() < 1e300
}

/// Short, for there is little room: 500, 5,000, 10k, 3M, 1e-12.
fn label(value: f64) -> String {
    let size = value.abs();
    if size >= 1e9 || (size > 0.0 && size < 1e-3) {
        format!("{value:e}")
    } else if size >= 1e6 {
        format!("{}M", trimmed(value / 1e6))
    } else if size >= 1e4 {
        format!("{}k", trimmed(value / 1e3))
    } else if value.fract() == 0.0 {
        effort(value)
    } else {
        trimmed(value)
    }
}

/// At most three decimals.
fn trimmed(value: f64) -> String {
    let text = format!("{value:.3}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// How much of a logarithmic axis the place for zero takes.
const ZERO: f64 = 0.1;

/// More than this do not fit.
const MOST_TICKS: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(values: &[f64]) -> Vec<String> {
        let ticks = Scale::of(values).ticks();
        assert!(ticks.len() <= MOST_TICKS + 2, "{ticks:?}");
        for (place, _) in &ticks {
            assert!((0.0..=1.0).contains(place), "{ticks:?}");
        }
        ticks.into_iter().map(|(_, label)| label).collect()
    }

    #[test]
    fn decades_are_logarithmic_and_less_is_not() {
        assert_eq!(
            labels(&[1e2, 1e7]),
            ["100", "1,000", "10k", "100k", "1M", "10M"]
        );
        assert_eq!(
            labels(&[1e4, 5e6]),
            ["10k", "30k", "100k", "300k", "1M", "3M"]
        );
        assert_eq!(
            labels(&[16.0, 2_048.0]),
            ["20", "50", "100", "200", "500", "1,000", "2,000"]
        );
        assert_eq!(labels(&[0.0, 1.0, 4.0]), ["0", "1", "2", "3", "4"]);
        assert_eq!(
            labels(&[0.01, 0.05]),
            ["0", "0.01", "0.02", "0.03", "0.04", "0.05"]
        );
    }

    #[test]
    fn zero_has_its_place_before_the_decades() {
        let values = [0.0, -1e-15, 3e-12, 4.8];
        let scale = Scale::of(&values);
        assert_eq!(scale.place(0.0), 0.0);
        assert_eq!(scale.place(-1e-15), 0.0);
        assert!((scale.place(3e-12) - ZERO).abs() < 1e-12);
        assert!((scale.place(4.8) - 1.0).abs() < 1e-12);
        assert_eq!(labels(&values)[..2], ["0", "1e-10"]);
        assert!(scale.gap().is_some());
    }

    #[test]
    fn strange_values_have_a_place() {
        let sets: [&[f64]; 7] = [
            &[],
            &[f64::NAN],
            &[0.0],
            &[7.0],
            &[-3.0, -2.0],
            &[f64::INFINITY, 1.0],
            &[1e-300, 1e299],
        ];
        for values in sets {
            let scale = Scale::of(values);
            assert!(!labels(values).is_empty(), "{values:?}");
            for value in values.iter().filter(|value| drawable(**value)) {
                assert!((0.0..=1.0).contains(&scale.place(*value)), "{values:?}");
            }
        }
    }
}
