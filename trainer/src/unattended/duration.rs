//! `300`, `90s`, `1.5h`: times as people type them.

use std::time::Duration;

/// A century: beyond it somebody meant something else.
const MOST: f64 = 100.0 * 366.0 * 86_400.0;

/// Seconds, or a number with `ms`, `s`, `m`, `h` or `d`; more than nothing.
pub(super) fn parse(text: &str) -> Result<Duration, String> {
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let unit = match unit.trim() {
        "" | "s" | "sec" => 1.0,
        "ms" => 0.001,
        "m" | "min" => 60.0,
        "h" => 3600.0,
        "d" => 86_400.0,
        _ => return Err(format!("`{text}` is no time: write seconds, or a number with ms, s, m, h or d, as in `90m`")),
    };
    let seconds = number.parse::<f64>().map_err(|_| format!("`{text}` is no time: write it as in `300`, `90m` or `1.5h`"))? * unit;
    if seconds > 0.0 && seconds <= MOST { Ok(Duration::from_secs_f64(seconds)) } else { Err(format!("`{text}` must be more than nothing")) }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use rstest::rstest;

    use super::parse;

    #[rstest]
    #[case("300", 300.0)]
    #[case("0.25", 0.25)]
    #[case("200ms", 0.2)]
    #[case("90 s", 90.0)]
    #[case("90m", 5400.0)]
    #[case("1.5h", 5400.0)]
    #[case("2d", 172_800.0)]
    fn times(#[case] text: &str, #[case] seconds: f64) {
        assert_eq!(parse(text).unwrap().as_secs_f64(), seconds);
    }

    #[rstest]
    fn nonsense(#[values("", "0", "-5", "1.2.3", "h", "5 weeks", "1e9d", "inf", "99999999999d")] text: &str) {
        assert!(parse(text).is_err());
    }
}
