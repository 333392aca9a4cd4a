//! Numbers as people read them.

/// A share as percent: `99.97 %`, `0.05 %`, `< 0.01 %`. Only exact zeros and ones are printed as `0 %` and `100 %`.
pub(super) fn percent(share: f64) -> String {
    if !share.is_finite() {
        return NOT_A_NUMBER.to_owned();
    }
    let percent = share * 100.0;
    if share == 0.0 {
        "0 %".to_owned()
    } else if share == 1.0 {
        "100 %".to_owned()
    } else if !(0.0..=1.0).contains(&share) {
        // Not a share: shown as it is, so that nobody takes it for one.
        format!("{percent:.3e} %")
    } else if percent < 0.01 {
        "< 0.01 %".to_owned()
    } else if percent > 99.99 {
        "> 99.99 %".to_owned()
    } else {
        format!("{percent:.2} %")
    }
}

/// A score: `12,304`, `-41`.
pub(super) fn score(value: f64) -> String {
    let sign = if value <= -0.5 { "-" } else { "" };
    format!("{sign}{}", grouped(&format!("{:.0}", value.abs())))
}

/// A time: `0.41 s`, `12 s`, `3.5 min`, `2.1 h`.
pub(super) fn duration(seconds: f64) -> String {
    if !seconds.is_finite() || seconds < 0.0 {
        NOT_A_NUMBER.to_owned()
    } else if seconds < 0.01 {
        "< 0.01 s".to_owned()
    } else if seconds < 10.0 {
        format!("{seconds:.2} s")
    } else if seconds < 120.0 {
        format!("{seconds:.0} s")
    } else if seconds < 7_200.0 {
        format!("{:.1} min", seconds / 60.0)
    } else if seconds < 3.6e9 {
        format!("{:.1} h", seconds / 3_600.0)
    } else {
        format!("{seconds:.1e} s")
    }
}

/// A measure of any size with three digits: `0`, `3.0e-12`, `0.0213`, `18.8`, `2,304`.
pub(super) fn measure(value: f64) -> String {
    let size = value.abs();
    if !value.is_finite() {
        NOT_A_NUMBER.to_owned()
    } else if value == 0.0 {
        "0".to_owned()
    } else if !(1e-3..1e9).contains(&size) {
        format!("{value:.1e}")
    } else if size < 1.0 {
        format!("{value:.4}")
    } else if size < 10.0 {
        format!("{value:.2}")
    } else if size < 1_000.0 {
        format!("{value:.1}")
    } else {
        grouped(&format!("{value:.0}"))
    }
}

/// A count: `49,152`.
pub(super) fn count(value: usize) -> String {
    grouped(&value.to_string())
}

/// The effort of a curve: a count where it is one.
pub(super) fn effort(value: f64) -> String {
    if value.fract() == 0.0 && value.abs() < 1e15 {
        grouped(&format!("{value:.0}"))
    } else {
        measure(value)
    }
}

/// Text without what steers a terminal.
pub(super) fn printable(text: &str) -> String {
    text.chars()
        .map(|letter| {
            if letter.is_control() || matches!(letter, '\u{200e}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}') {
                '\u{fffd}'
            } else {
                letter
            }
        })
        .collect()
}

/// `noun` with its number.
pub(super) fn plural(number: usize, noun: &str) -> String {
    let ending = if number == 1 { "" } else { "s" };
    format!("{} {noun}{ending}", count(number))
}

/// Thousands set apart by commas.
fn grouped(digits: &str) -> String {
    let (sign, digits) = match digits.strip_prefix('-') {
        Some(rest) => ("-", rest),
        None => ("", digits),
    };
    let mut out = sign.to_owned();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place) % 3 == 0 {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// What stands for a number that is none.
pub(super) const NOT_A_NUMBER: &str = "no number";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percents_never_round_to_all_or_nothing() {
        let cases = [
            (0.0, "0 %"),
            (1.0, "100 %"),
            (0.999_74, "99.97 %"),
            (0.999_999, "> 99.99 %"),
            (0.000_5, "0.05 %"),
            (0.000_02, "< 0.01 %"),
            (0.064, "6.40 %"),
            (f64::NAN, "no number"),
            (f64::INFINITY, "no number"),
            (1e300, "1.000e302 %"),
            (-0.5, "-5.000e1 %"),
        ];
        for (share, text) in cases {
            assert_eq!(percent(share), text, "{share}");
        }
    }

    #[test]
    fn times_measures_and_counts_keep_three_digits() {
        let times = [
            (0.001, "< 0.01 s"),
            (0.414, "0.41 s"),
            (12.3, "12 s"),
            (210.0, "3.5 min"),
            (7_560.0, "2.1 h"),
            (1e12, "1.0e12 s"),
            (f64::NAN, "no number"),
        ];
        for (seconds, text) in times {
            assert_eq!(duration(seconds), text);
        }
        let measures = [
            (0.0, "0"),
            (3e-12, "3.0e-12"),
            (0.0213, "0.0213"),
            (18.8, "18.8"),
            (2_304.2, "2,304"),
            (1e300, "1.0e300"),
            (-2_304.2, "-2,304"),
        ];
        for (value, text) in measures {
            assert_eq!(measure(value), text);
        }
        assert_eq!(count(49_152), "49,152");
        assert_eq!(effort(1e6), "1,000,000");
        assert_eq!(effort(0.25), "0.2500");
        assert_eq!(plural(1, "key"), "1 key");
        assert_eq!(plural(3, "key"), "3 keys");
    }

    #[test]
    fn nothing_that_steers_a_terminal_is_left() {
        assert_eq!(
            printable("a\u{1b}[31mb\nc\u{202e}d"),
            "a\u{fffd}[31mb\u{fffd}c\u{fffd}d"
        );
    }
}
