//! Numbers and times as people read them. One policy everywhere: three significant digits, a thin space between
//! number and unit and between thousands.

/// A narrow space that does not break.
const THIN: char = '\u{202f}';

/// A count with its thousands apart: "12 345".
pub(crate) fn count(n: u64) -> String {
    let digits = n.to_string();
    let mut text = String::with_capacity(digits.len() * 2);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(THIN);
        }
        text.push(digit);
    }
    text
}

/// "1 promise", "2 promises".
pub(crate) fn plural(n: usize, one: &str) -> String {
    let n = u64::try_from(n).unwrap_or(u64::MAX);
    format!("{} {one}{}", count(n), if n == 1 { "" } else { "s" })
}

/// A value with its unit, scaled: "41.2 M items/s", "812 ns", "4.10 ms".
pub(crate) fn quantity(value: f64, unit: &str) -> String {
    let (number, unit) = scaled(value, unit);
    if unit.is_empty() { number } else { format!("{number}{THIN}{unit}") }
}

/// The same without the unit's name, for axes that say the unit once: "41.2 M". Times keep theirs.
pub(crate) fn short(value: f64, unit: &str) -> String {
    let (number, scaled_unit) = scaled(value, unit);
    let unit = scaled_unit.strip_suffix(unit).unwrap_or(&scaled_unit).trim();
    if unit.is_empty() { number } else { format!("{number}{THIN}{unit}") }
}

fn scaled(value: f64, unit: &str) -> (String, String) {
    let steps: &[(f64, &str)] = match unit {
        "ns" => &[(1e9, "s"), (1e6, "ms"), (1e3, "µs"), (1.0, "ns")],
        "B" => &[(1e9, "GB"), (1e6, "MB"), (1e3, "kB"), (1.0, "B")],
        _ => &[(1e9, "G"), (1e6, "M"), (1e3, "k"), (1.0, "")],
    };
    // 999.6 reads "1000" with three digits, so it already belongs to the next step.
    let step = steps.iter().find(|(size, _)| value.abs() >= size * 0.9995).or(steps.last());
    let (size, name) = step.copied().unwrap_or((1.0, ""));
    let unit = match unit {
        "ns" | "B" => name.to_owned(),
        _ => format!("{name}{}{unit}", if name.is_empty() || unit.is_empty() { "" } else { " " }),
    };
    (significant(value / size), unit)
}

/// Three significant digits: "0.123", "1.23", "41.2", "812"; with an exponent where that is unreadable.
pub(crate) fn significant(value: f64) -> String {
    if !value.is_finite() {
        return "–".into();
    }
    let magnitude = value.abs();
    if magnitude >= 1e7 || magnitude > 0.0 && magnitude < 5e-4 {
        return format!("{value:.2e}");
    }
    let places = match magnitude {
        m if m >= 99.95 || m == 0.0 => 0,
        m if m >= 9.995 => 1,
        m if m >= 0.9995 => 2,
        _ => 3,
    };
    format!("{value:.places$}")
}

/// A share as a percentage: "5 %", "0.4 %".
pub(crate) fn percent(share: f64) -> String {
    let value = share * 100.0;
    if value.abs() >= 9.95 || (value - value.round()).abs() < 0.05 {
        format!("{value:.0}{THIN}%")
    } else {
        format!("{value:.1}{THIN}%")
    }
}

/// A duration: "3.2 s", "4 min 10 s".
pub(crate) fn duration(ns: u64) -> String {
    let seconds = ns / 1_000_000_000;
    match seconds {
        0..60 => quantity(ns as f64, "ns"),
        60..3600 => format!("{}{THIN}min {}{THIN}s", seconds / 60, seconds % 60),
        _ => format!("{}{THIN}h {}{THIN}min", seconds / 3600, seconds % 3600 / 60),
    }
}

/// An instant as "2026-08-01 12:34 UTC" (civil date from days: Howard Hinnant, "chrono-Compatible Low-Level Date
/// Algorithms", `civil_from_days`).
pub(crate) fn instant(unix_ms: u64) -> String {
    let minutes = unix_ms / 60_000;
    let days = minutes / 1440 + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    format!("{year}-{month:02}-{day:02} {:02}:{:02} UTC", minutes / 60 % 24, minutes % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(text: String) -> String {
        text.replace(THIN, " ")
    }

    #[test]
    fn numbers_have_three_digits_and_their_unit() {
        assert_eq!(plain(quantity(41_234_567.0, "items/s")), "41.2 M items/s");
        assert_eq!(plain(quantity(999.6, "items/s")), "1.00 k items/s");
        assert_eq!(plain(quantity(812.0, "ns")), "812 ns");
        assert_eq!(plain(quantity(4_100_000.0, "ns")), "4.10 ms");
        assert_eq!(plain(quantity(64.0, "B")), "64.0 B");
        assert_eq!(plain(short(41_234_567.0, "items/s")), "41.2 M");
        assert_eq!(plain(short(4_100_000.0, "ns")), "4.10 ms");
        assert_eq!(plain(quantity(0.0, "items/s")), "0 items/s");
        assert_eq!(significant(f64::NAN), "–");
        assert_eq!(significant(1e300), "1.00e300");
        assert_eq!(significant(0.0001), "1.00e-4");
    }

    #[test]
    fn counts_shares_and_times() {
        assert_eq!(plain(count(1_234_567)), "1 234 567");
        assert_eq!(plain(count(999)), "999");
        assert_eq!(plain(percent(0.05)), "5 %");
        assert_eq!(plain(percent(0.0123)), "1.2 %");
        assert_eq!(plain(duration(3_200_000_000)), "3.20 s");
        assert_eq!(plain(duration(250_000_000_000)), "4 min 10 s");
        assert_eq!(instant(0), "1970-01-01 00:00 UTC");
        assert_eq!(instant(951_827_696_000), "2000-02-29 12:34 UTC");
    }
}
