//! `--force-promote`, `--force-promote=WHY`, `FORCE_PROMOTE=true`, `FORCE_PROMOTE="the old one misses washers"`.

use std::{convert::Infallible, str::FromStr};

/// Whether somebody insists on the new model, and why.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Force(Option<String>);

impl Force {
    /// The reason, if anybody insists.
    pub fn reason(&self) -> Option<&str> {
        self.0.as_deref()
    }
}

impl FromStr for Force {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(Self(match text.trim().to_ascii_lowercase().as_str() {
            "" | "false" | "no" | "off" | "0" => None,
            "true" | "yes" | "on" | "1" => Some("no reason given".to_owned()),
            _ => Some(text.trim().to_owned()),
        }))
    }
}
