/// The time, given in seconds since 1970, in UTC, as C's `strftime` writes it in the C locale.
/// Understands the directives that chat templates use: `%Y %y %m %d %e %B %b %A %a %H %I %M %S %p
/// %j %%`, and `%-d` and the like without padding; others are kept as they are.
#[must_use]
pub fn strftime(seconds: i64, format: &str) -> String {
    let days = seconds.div_euclid(86_400);
    let second_of_day = seconds.rem_euclid(86_400);
    let (year, month, day) = civil(days);
    let hour = second_of_day / 3600;
    let weekday = name(&WEEKDAYS, (days + 4).rem_euclid(7));
    let month_name = name(&MONTHS, month - 1);
    let mut out = String::new();
    let mut rest = format;
    while let Some((before, directive)) = rest.split_once('%') {
        out.push_str(before);
        let (padded, directive) = match directive.strip_prefix('-') {
            Some(directive) => (false, directive),
            None => (true, directive),
        };
        let mut characters = directive.chars();
        let letter = characters.next();
        rest = characters.as_str();
        let number = |value: i64, width: usize| {
            let width = if padded { width } else { 0 };
            format!("{value:0width$}")
        };
        out.push_str(&match letter {
            Some('Y') => year.to_string(),
            Some('y') => number(year.rem_euclid(100), 2),
            Some('m') => number(month, 2),
            Some('d') => number(day, 2),
            Some('e') => format!("{day:2}"),
            Some('B') => month_name.to_owned(),
            Some('b') => month_name.chars().take(3).collect(),
            Some('A') => weekday.to_owned(),
            Some('a') => weekday.chars().take(3).collect(),
            Some('H') => number(hour, 2),
            Some('I') => number((hour + 11) % 12 + 1, 2),
            Some('M') => number(second_of_day / 60 % 60, 2),
            Some('S') => number(second_of_day % 60, 2),
            Some('p') => (if hour < 12 { "AM" } else { "PM" }).to_owned(),
            Some('j') => number(days - days_from_civil(year, 1, 1) + 1, 3),
            Some('%') => "%".to_owned(),
            Some(other) => format!("%{other}"),
            None => "%".to_owned(),
        });
    }
    out.push_str(rest);
    out
}

/// Year, month and day of a day counted from 1970-01-01, in the Gregorian calendar: years are
/// counted from March, so that the leap day is the last one, and in eras of 400 years, which have
/// 146,097 days.
fn civil(days: i64) -> (i64, i64, i64) {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = (month_from_march + 2) % 12 + 1;
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, month, day)
}

/// The inverse of [`civil`].
fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = year - i64::from(month <= 2);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    year.div_euclid(400) * 146_097 + day_of_era - 719_468
}

fn name<const N: usize>(names: &[&'static str; N], index: i64) -> &'static str {
    usize::try_from(index)
        .ok()
        .and_then(|index| names.get(index).copied())
        .unwrap_or_default()
}

const WEEKDAYS: [&str; 7] = [
    "Sunday",
    "Monday",
    "Tuesday",
    "Wednesday",
    "Thursday",
    "Friday",
    "Saturday",
];

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_instants() {
        for (seconds, format, expected) in [
            (0, "%d %b %Y %H:%M:%S %A", "01 Jan 1970 00:00:00 Thursday"),
            (951_782_400, "%Y-%m-%d %a %j", "2000-02-29 Tue 060"),
            (
                1_735_689_599,
                "%-d %B %y %I:%M %p",
                "31 December 24 11:59 PM",
            ),
            (1_735_689_599, "%j", "366"),
            (-1, "%Y-%m-%d %H", "1969-12-31 23"),
            (4_102_444_800, "%e.%-m.%Y", " 1.1.2100"),
            (0, "100%% %Q %", "100% %Q %"),
        ] {
            assert_eq!(strftime(seconds, format), expected);
        }
    }

    #[test]
    fn every_day_counts_back() {
        for days in -200_000..200_000 {
            let (year, month, day) = civil(days);
            assert_eq!(days_from_civil(year, month, day), days);
            assert!((1..=12).contains(&month) && (1..=31).contains(&day));
        }
    }
}
