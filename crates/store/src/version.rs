//! A version's name: UTC of its making. A name, not an order: order is [`crate::Metadata::sequence`].

use std::fmt;
use std::str::FromStr;

use chrono::{DateTime, NaiveDateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};

use crate::StoreError;

const FORMAT: &str = "%Y%m%d_%H%M%S";

/// `20261121_030000`. Sorting by it sorts by name only.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Version(String);

impl Version {
    /// The name that `at` gives, to the second. Whether it is free is for the publisher to find out.
    ///
    /// # Errors
    /// [`StoreError::BadVersion`] for a clock outside of the years 0 to 9999.
    pub fn at(at: DateTime<Utc>) -> Result<Self, StoreError> {
        at.format(FORMAT).to_string().parse()
    }

    /// The name one second later: what a publisher tries when a name is taken. `None` at the end of the year 9999.
    pub(crate) fn bump(&self) -> Option<Self> {
        let time = NaiveDateTime::parse_from_str(&self.0, FORMAT).ok()?;
        time.checked_add_signed(TimeDelta::seconds(1))?.format(FORMAT).to_string().parse().ok()
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl FromStr for Version {
    type Err = StoreError;

    fn from_str(text: &str) -> Result<Self, StoreError> {
        let shaped = text.len() == 15 && text.bytes().enumerate().all(|(i, b)| if i == 8 { b == b'_' } else { b.is_ascii_digit() });
        if shaped && NaiveDateTime::parse_from_str(text, FORMAT).is_ok_and(|time| time.format(FORMAT).to_string() == text) {
            Ok(Self(text.to_owned()))
        } else {
            Err(StoreError::BadVersion { text: text.chars().take(64).collect() })
        }
    }
}

impl TryFrom<String> for Version {
    type Error = StoreError;

    fn try_from(text: String) -> Result<Self, StoreError> {
        text.parse()
    }
}

impl From<Version> for String {
    fn from(version: Version) -> Self {
        version.0
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;
    use rstest::rstest;

    #[rstest]
    #[case("20261121_030000", true)]
    #[case("19700101_000000", true)]
    #[case("20261321_030000", false)]
    #[case("20261121-030000", false)]
    #[case("20261121_0300000", false)]
    #[case("../../../etc/pwd", false)]
    #[case("２０261121_0300", false)]
    #[case("", false)]
    fn only_a_real_utc_second_is_a_version(#[case] text: &str, #[case] good: bool) {
        assert_eq!(text.parse::<Version>().is_ok(), good, "{text:?}");
    }

    #[test]
    fn a_bumped_name_is_the_next_second_even_over_midnight() {
        let last: Version = "20261231_235959".parse().unwrap();
        assert_eq!(last.bump().unwrap().as_str(), "20270101_000000");
    }

    #[test]
    fn a_clock_at_the_end_of_all_names_is_an_error_and_no_panic() {
        assert_eq!("99991231_235959".parse::<Version>().unwrap().bump(), None);
        assert!(Version::at(DateTime::<Utc>::MAX_UTC).is_err());
    }

    proptest! {
        #[test]
        fn no_text_makes_parsing_panic(text in ".{0,40}") {
            if let Ok(version) = text.parse::<Version>() {
                prop_assert_eq!(version.as_str(), text);
            }
        }
    }
}
