//! When the trainer runs: five cron fields as a Kubernetes CronJob takes them, in the box's time zone.
//!
//! croner computes; what it knows beyond Kubernetes (`L`, `#`, `W`, seconds, years) is refused, so that a schedule that works
//! here works in the chart.

use std::fmt;
use std::str::FromStr;

use chrono::{DateTime, TimeZone};
use croner::Cron;
use croner::parser::{CronParser, Seconds, Year};

/// A checked schedule.
#[derive(Clone, Debug)]
pub struct Schedule {
    text: String,
    cron: Cron,
}

/// Not a schedule.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{text}` is no schedule: {problem}; five fields are wanted: minute, hour, day of month, month, day of week (such as `0 */3 * * *`)"
)]
pub struct BadSchedule {
    text: String,
    problem: String,
}

struct Field {
    name: &'static str,
    least: u16,
    most: u16,
    names: &'static [&'static str],
}

const MONTHS: &[&str] = &["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
const DAYS: &[&str] = &["sun", "mon", "tue", "wed", "thu", "fri", "sat"];
const FIELDS: [Field; 5] = [
    Field { name: "minute", least: 0, most: 59, names: &[] },
    Field { name: "hour", least: 0, most: 23, names: &[] },
    Field { name: "day of month", least: 1, most: 31, names: &[] },
    Field { name: "month", least: 1, most: 12, names: MONTHS },
    Field { name: "day of week", least: 0, most: 6, names: DAYS },
];

impl Schedule {
    /// The first time after `now` (not `now` itself); `None` when there is none (30 February).
    #[must_use]
    pub fn next_after<Tz: TimeZone>(&self, now: &DateTime<Tz>) -> Option<DateTime<Tz>> {
        self.cron.find_next_occurrence(now, false).ok()
    }
}

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl FromStr for Schedule {
    type Err = BadSchedule;

    fn from_str(text: &str) -> Result<Self, BadSchedule> {
        let fail = |problem: String| BadSchedule { text: text.to_owned(), problem };
        let plain = match text.trim() {
            "@hourly" => "0 * * * *",
            "@daily" | "@midnight" => "0 0 * * *",
            "@weekly" => "0 0 * * 0",
            "@monthly" => "0 0 1 * *",
            "@yearly" | "@annually" => "0 0 1 1 *",
            other => other,
        };
        let fields: Vec<&str> = plain.split_whitespace().collect();
        if fields.len() != FIELDS.len() {
            return Err(fail(format!("it has {} fields", fields.len())));
        }
        let fields: Vec<String> =
            fields.iter().zip(&FIELDS).map(|(text, field)| field.normal(text)).collect::<Result<_, _>>().map_err(fail)?;
        let parser = CronParser::builder().seconds(Seconds::Disallowed).year(Year::Disallowed).build();
        let cron = parser.parse(&fields.join(" ")).map_err(|error| fail(error.to_string()))?;
        Ok(Schedule { text: text.trim().to_owned(), cron })
    }
}

impl Field {
    /// Checks one field and writes it in the words of plain cron: numbers only, `?` as `*`, `5/15` as `5-59/15`.
    fn normal(&self, text: &str) -> Result<String, String> {
        Ok(text.split(',').map(|item| self.item(item)).collect::<Result<Vec<_>, _>>()?.join(","))
    }

    fn item(&self, item: &str) -> Result<String, String> {
        let (range, step) = match item.split_once('/') {
            Some((range, step)) => match step.parse::<u16>() {
                Ok(number) if (1..=self.most).contains(&number) => (range, Some(number)),
                _ => return Err(format!("{}: `{step}` is no step from 1 to {}", self.name, self.most)),
            },
            None => (item, None),
        };
        let range = match (range, range.split_once('-')) {
            ("*" | "?", _) => "*".to_owned(),
            (_, Some((from, to))) => {
                let (from, to) = (self.value(from)?, self.value(to)?);
                if from > to {
                    return Err(format!("{}: `{range}` ends before it begins", self.name));
                }
                format!("{from}-{to}")
            }
            (value, None) => match (self.value(value)?, step) {
                (value, None) => value.to_string(),
                (value, Some(_)) => format!("{value}-{}", self.most),
            },
        };
        Ok(step.map_or(range.clone(), |step| format!("{range}/{step}")))
    }

    fn value(&self, text: &str) -> Result<u16, String> {
        if let Some(index) = self.names.iter().position(|name| text.eq_ignore_ascii_case(name)) {
            return Ok(self.least + u16::try_from(index).unwrap_or(0));
        }
        let number = text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse::<u16>().ok()).flatten();
        number
            .filter(|value| (self.least..=self.most).contains(value))
            .ok_or_else(|| format!("{}: `{text}` is not within {}–{}", self.name, self.least, self.most))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use chrono::{FixedOffset, Utc};
    use rstest::rstest;

    /// The next three runs after Saturday 2026-11-21 13:20 UTC.
    fn next_three(schedule: &str) -> Vec<String> {
        let schedule: Schedule = schedule.parse().unwrap();
        let mut now: DateTime<Utc> = "2026-11-21T13:20:00Z".parse().unwrap();
        let mut times = Vec::new();
        for _ in 0..3 {
            now = schedule.next_after(&now).unwrap();
            times.push(now.format("%m-%d %H:%M").to_string());
        }
        times
    }

    #[rstest]
    #[case::every_three_hours("0 */3 * * *", ["11-21 15:00", "11-21 18:00", "11-21 21:00"])]
    #[case::never_now_itself("20 13 * * *", ["11-22 13:20", "11-23 13:20", "11-24 13:20"])]
    #[case::lists_and_ranges("0,30 2-3 * * *", ["11-22 02:00", "11-22 02:30", "11-22 03:00"])]
    #[case::a_start_and_a_step("5/20 * * * *", ["11-21 13:25", "11-21 13:45", "11-21 14:05"])]
    #[case::names("0 4 * jan MON", ["01-04 04:00", "01-11 04:00", "01-18 04:00"])]
    #[case::sunday_is_0("0 0 * * 0", ["11-22 00:00", "11-29 00:00", "12-06 00:00"])]
    #[case::day_of_month_or_of_week("0 0 25 * 1", ["11-23 00:00", "11-25 00:00", "11-30 00:00"])]
    #[case::question_mark("0 0 1 * ?", ["12-01 00:00", "01-01 00:00", "02-01 00:00"])]
    #[case::macros("@hourly", ["11-21 14:00", "11-21 15:00", "11-21 16:00"])]
    #[case::leap_day("0 0 29 2 *", ["02-29 00:00", "02-29 00:00", "02-29 00:00"])]
    fn runs(#[case] schedule: &str, #[case] expected: [&str; 3]) {
        assert_eq!(next_three(schedule), expected);
    }

    #[rstest]
    #[case("", "0 fields")]
    #[case("0 */3 * *", "4 fields")]
    #[case("0 0 */3 * * *", "6 fields")]
    #[case("60 * * * *", "minute: `60` is not within 0–59")]
    #[case("0 24 * * *", "hour: `24`")]
    #[case("0 0 0 * *", "day of month: `0`")]
    #[case("0 0 * 13 *", "month: `13`")]
    #[case("0 0 * * 7", "day of week: `7` is not within 0–6")]
    #[case("0 0 L * *", "day of month: `L`")]
    #[case("0 0 * * 5#2", "day of week: `5#2`")]
    #[case("0 0 15W * *", "day of month: `15W`")]
    #[case("*/0 * * * *", "no step")]
    #[case("5-1 * * * *", "ends before it begins")]
    #[case("0 0 * * fri-mon", "ends before it begins")]
    #[case("mon 0 * * *", "minute: `mon`")]
    #[case("1,,2 * * * *", "minute: ``")]
    #[case("-1 * * * *", "minute: ``")]
    #[case("@reboot", "1 fields")]
    #[case("TZ=UTC 0 0 * * *", "6 fields")]
    fn refused(#[case] schedule: &str, #[case] problem: &str) {
        let error = schedule.parse::<Schedule>().unwrap_err();
        assert!(error.problem.contains(problem), "{error}");
    }

    #[test]
    fn a_day_that_never_comes_is_not_an_endless_search() {
        let schedule: Schedule = "0 0 30 2 *".parse().unwrap();
        assert_eq!(schedule.next_after(&Utc::now()), None);
    }

    #[test]
    fn hours_are_those_of_the_box() {
        let now = "2026-11-21T13:20:00+02:00".parse::<DateTime<FixedOffset>>().unwrap();
        let next = "0 */3 * * *".parse::<Schedule>().unwrap().next_after(&now).unwrap();
        assert_eq!(next.to_rfc3339(), "2026-11-21T15:00:00+02:00");
    }

    #[test]
    fn it_shows_as_it_was_written() {
        assert_eq!(" @hourly ".parse::<Schedule>().unwrap().to_string(), "@hourly");
    }
}
