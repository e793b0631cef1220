use std::fmt;
use std::str::FromStr;

/// Room that the longest annotation suffix, `-reason`, needs in a name of at most 63 characters.
const MAX_NAME: usize = 63 - "-reason".len();
const MAX_PREFIX: usize = 253;

/// Key of a node label, `prefix/name` as Kubernetes wants it; the annotations beside it are the key and a suffix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LabelKey(String);

impl LabelKey {
    /// `myapp.com/network-status-<suffix>`.
    #[must_use]
    pub fn annotation(&self, suffix: &str) -> String {
        format!("{}-{suffix}", self.0)
    }
}

impl fmt::Display for LabelKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Not a label key that we may write.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadLabelKey {
    /// Kubernetes would refuse it.
    #[error(
        "`{0}` is no label key: use prefix/name, the prefix a DNS name, the name of letters, digits, `-`, `_`, `.` and at most {MAX_NAME} characters"
    )]
    Syntax(String),
    /// Kubernetes keeps it to itself.
    #[error("`{0}`: kubernetes.io and k8s.io are reserved; use a domain of your own")]
    Reserved(String),
}

impl FromStr for LabelKey {
    type Err = BadLabelKey;

    fn from_str(text: &str) -> Result<Self, BadLabelKey> {
        let fail = || BadLabelKey::Syntax(text.to_owned());
        let (prefix, name) = text.split_once('/').ok_or_else(fail)?;
        let edge = |c: char| c.is_ascii_alphanumeric();
        let sound = |part: &str, inner: fn(char) -> bool| {
            part.starts_with(edge) && part.ends_with(edge) && part.chars().all(|c| c.is_ascii_alphanumeric() || inner(c))
        };
        let lower = !prefix.chars().any(|c| c.is_ascii_uppercase());
        let prefix_ok = prefix.len() <= MAX_PREFIX && lower && prefix.split('.').all(|part| sound(part, |c| c == '-'));
        if !prefix_ok || name.len() > MAX_NAME || !sound(name, |c| matches!(c, '-' | '_' | '.')) {
            return Err(fail());
        }
        for reserved in ["kubernetes.io", "k8s.io"] {
            if prefix == reserved || prefix.strip_suffix(reserved).is_some_and(|rest| rest.ends_with('.')) {
                return Err(BadLabelKey::Reserved(text.to_owned()));
            }
        }
        Ok(LabelKey(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("myapp.com/network-status")]
    #[case("edge.example.org/Net_Status.v2")]
    #[case("notk8s.io/x")]
    fn keys(#[case] text: &str) {
        assert_eq!(text.parse::<LabelKey>().unwrap().annotation("since"), format!("{text}-since"));
    }

    #[rstest]
    #[case("network-status")]
    #[case("a/b/c")]
    #[case("/x")]
    #[case("myapp.com/")]
    #[case("MyApp.com/x")]
    #[case("myapp..com/x")]
    #[case("myapp.com/-x")]
    #[case("myapp.com/x y")]
    #[case("myapp.com/aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa")]
    fn not_keys(#[case] text: &str) {
        assert_eq!(text.parse::<LabelKey>(), Err(BadLabelKey::Syntax(text.to_owned())));
    }

    #[rstest]
    #[case("kubernetes.io/x")]
    #[case("node.kubernetes.io/x")]
    #[case("x.k8s.io/y")]
    fn keys_of_others(#[case] text: &str) {
        assert_eq!(text.parse::<LabelKey>(), Err(BadLabelKey::Reserved(text.to_owned())));
    }
}
