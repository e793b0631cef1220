//! A URL that may carry a token in its path, its query or before its host: it is shown as its host alone.

use std::{convert::Infallible, fmt, str::FromStr};

/// A URL.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// The whole of it, for the request only.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// Whether it can be sent to, without repeating it.
    pub(super) fn check(&self) -> Result<(), String> {
        let good = self.0.parse::<ureq::http::Uri>().is_ok_and(|uri| {
            let scheme = uri.scheme_str().is_some_and(|scheme| scheme == "http" || scheme == "https");
            scheme && uri.host().is_some_and(|host| !host.is_empty())
        });
        if good { Ok(()) } else { Err("NOTIFY_URL is no http:// or https:// URL".to_owned()) }
    }
}

impl FromStr for Secret {
    type Err = Infallible;

    /// Anything: an error of the command line would show what was typed.
    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(Self(text.trim().to_owned()))
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let uri: Option<ureq::http::Uri> = self.0.parse().ok();
        f.write_str(uri.as_ref().and_then(|uri| uri.host()).unwrap_or("an unusable URL"))
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Secret({self})")
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn only_the_host_is_shown() {
        let secret: Secret = "https://bot:hunter2@hooks.example.com:8443/services/T0KEN?key=K3Y".parse().unwrap();
        secret.check().unwrap();
        for shown in [format!("{secret}"), format!("{secret:?}")] {
            assert!(shown.contains("hooks.example.com"), "{shown}");
            assert!(!["hunter2", "T0KEN", "K3Y"].iter().any(|part| shown.contains(part)), "{shown}");
        }
        for bad in ["", "hooks.example.com/x", "file:///etc/passwd", "http://"] {
            let secret: Secret = bad.parse().unwrap();
            assert!(secret.check().is_err(), "{bad}");
        }
    }
}
