use std::fmt;
use std::str::FromStr;

use http::Uri;

use super::Address;

/// Who is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// A machine, by ICMP or TCP.
    Address(Address),
    /// A web server: any answer with 2xx or 3xx counts.
    Http(Uri),
    /// The host's default gateway, whichever it is at each round.
    Auto,
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Target::Address(address) => address.fmt(f),
            Target::Http(uri) => uri.fmt(f),
            Target::Auto => f.write_str("auto"),
        }
    }
}

impl From<Address> for Target {
    fn from(address: Address) -> Self {
        Target::Address(address)
    }
}

/// Neither an address, nor a URL, nor `auto`.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is nobody to ask; give an IP address (192.168.1.1, fd00::1, fe80::1%eth0), http://… or https://…, or `auto` for the host's default gateway (names are resolved in URLs only: DNS may be what is cut off)"
)]
pub struct NotATarget(String);

impl FromStr for Target {
    type Err = NotATarget;

    fn from_str(text: &str) -> Result<Self, NotATarget> {
        let text = text.trim();
        let fail = || NotATarget(text.to_owned());
        if text == "auto" {
            return Ok(Target::Auto);
        }
        if text.starts_with("http://") || text.starts_with("https://") {
            let uri: Uri = text.parse().map_err(|_| fail())?;
            // A user's name in front of the host would be sent to nobody: say so rather than drop it.
            let sound = uri.host().is_some_and(|host| !host.is_empty()) && !uri.authority().is_some_and(|part| part.as_str().contains('@'));
            return if sound { Ok(Target::Http(uri)) } else { Err(fail()) };
        }
        text.parse().map(Target::Address).map_err(|_| fail())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("192.168.1.1")]
    #[case("fe80::1%eth0")]
    #[case("auto")]
    #[case("http://192.168.1.1/")]
    #[case("https://gateway.example:8443/healthz?deep=1")]
    fn targets(#[case] text: &str) {
        assert_eq!(text.parse::<Target>().unwrap().to_string(), text);
    }

    #[rstest]
    #[case("gateway.local")]
    #[case("http://")]
    #[case("http:///x")]
    #[case("https://me:secret@gateway/")]
    #[case("ftp://192.168.1.1")]
    #[case("")]
    fn refused(#[case] text: &str) {
        assert!(text.parse::<Target>().unwrap_err().to_string().contains("auto"));
    }
}
