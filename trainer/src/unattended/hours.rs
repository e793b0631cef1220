//! Hours of the day: `22:00-06:00`, in the box's time zone or at a fixed offset.

use std::{fmt, str::FromStr, time::SystemTime};

use chrono::{DateTime, FixedOffset, Local, NaiveTime, Timelike, Utc};

/// Some hours of every day.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hours {
    text: String,
    windows: Vec<Window>,
}

/// From the first minute on, and before the second; over midnight where that is the earlier one, all day where they are equal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Window {
    from: u32,
    to: u32,
    /// The box's time zone where there is none.
    offset: Option<FixedOffset>,
}

/// Not hours.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no time of day: write `22:00-06:00`, with an offset (`+02:00` or `Z`) where it is not this box's time")]
pub struct BadHours(String);

impl Hours {
    /// No time at all.
    pub const NONE: Self = Self { text: String::new(), windows: Vec::new() };

    /// No time at all?
    pub fn is_empty(&self) -> bool {
        self.windows.is_empty()
    }

    /// Whether `now` is within one of them.
    pub fn contains(&self, now: SystemTime) -> bool {
        let utc: DateTime<Utc> = now.into();
        let minute = |time: NaiveTime| time.hour() * 60 + time.minute();
        self.windows.iter().any(|Window { from, to, offset }| {
            let now = match offset {
                Some(offset) => minute(utc.with_timezone(offset).time()),
                None => minute(utc.with_timezone(&Local).time()),
            };
            if from < to { (*from..*to).contains(&now) } else { now >= *from || now < *to }
        })
    }
}

impl fmt::Display for Hours {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl FromStr for Hours {
    type Err = BadHours;

    fn from_str(text: &str) -> Result<Self, BadHours> {
        let windows = text.split(',').map(|part| window(part.trim()).ok_or_else(|| BadHours(part.trim().to_owned())));
        Ok(Self { windows: windows.collect::<Result<_, _>>()?, text: text.trim().to_owned() })
    }
}

fn window(text: &str) -> Option<Window> {
    let (from, rest) = text.split_once('-')?;
    let rest = rest.trim();
    let (to, offset) = rest.split_at(rest.find(['+', '-', 'Z', 'z']).unwrap_or(rest.len()));
    let offset = match offset {
        "" => None,
        "Z" | "z" => FixedOffset::east_opt(0),
        offset => Some(FixedOffset::from_str(offset).ok()?),
    };
    Some(Window { from: minute(from)?, to: minute(to)? % (24 * 60), offset })
}

/// `6:00`, `22:30`; `24:00` is the end of the day.
fn minute(text: &str) -> Option<u32> {
    let (hour, minute) = text.trim().split_once(':')?;
    let (hour, minute) = (number(hour)?, number(minute).filter(|_| minute.len() == 2)?);
    (hour < 24 && minute < 60 || (hour, minute) == (24, 0)).then_some(hour * 60 + minute)
}

fn number(text: &str) -> Option<u32> {
    text.parse().ok().filter(|_| text.len() <= 2 && text.bytes().all(|byte| byte.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use rstest::rstest;

    use super::*;

    fn at(time: &str) -> SystemTime {
        format!("2026-11-21T{time}Z").parse::<DateTime<Utc>>().unwrap().into()
    }

    #[rstest]
    #[case("22:00-06:00Z", "21:59:59", false)]
    #[case("22:00-06:00Z", "22:00:00", true)]
    #[case("22:00-06:00Z", "05:59:59", true)]
    #[case("22:00-06:00Z", "06:00:00", false)]
    #[case("8:30-17:00Z", "08:30:00", true)]
    #[case("8:30-17:00Z", "17:00:00", false)]
    #[case("18:00-24:00Z", "23:59:59", true)]
    #[case("18:00-24:00Z", "00:00:00", false)]
    #[case("00:00-24:00Z", "13:00:00", true)]
    #[case("12:00-12:00Z", "03:00:00", true)]
    // 22:00 two hours east of Greenwich is 20:00 there.
    #[case("22:00-06:00+02:00", "20:00:00", true)]
    #[case("22:00-06:00+02:00", "04:00:00", false)]
    #[case("22:00-06:00-05:30", "03:30:00", true)]
    #[case("22:00-06:00-05:30", "03:29:59", false)]
    #[case("12:00-13:00Z, 22:00-06:00Z", "12:59:00", true)]
    #[case("12:00-13:00Z, 22:00-06:00Z", "13:00:00", false)]
    fn windows(#[case] hours: &str, #[case] now: &str, #[case] within: bool) {
        assert_eq!(hours.parse::<Hours>().unwrap().contains(at(now)), within);
    }

    #[test]
    fn without_an_offset_it_is_the_boxs_time() {
        let local: DateTime<Local> = "2026-11-21T12:30:00Z".parse::<DateTime<Utc>>().unwrap().into();
        let hours: Hours =
            format!("{}-{}", local.format("%H:%M"), (local + chrono::TimeDelta::minutes(1)).format("%H:%M")).parse().unwrap();
        assert!(hours.contains(at("12:30:30")));
        assert!(!hours.contains(at("12:31:00")));
    }

    #[rstest]
    fn nonsense(
        #[values("22-06", "22:00", "22:00-", "24:01-06:00", "22:60-06:00", "22:00-06:00CET", "22:00-06:00,", "-1:00-06:00")] text: &str,
    ) {
        assert!(text.parse::<Hours>().is_err());
    }
}
