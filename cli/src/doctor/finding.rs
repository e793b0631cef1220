//! What doctor has found: how bad, about what, and what to type.

use serde::Serialize;

/// How bad.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Worth knowing; as it should be.
    Note,
    /// Something does not work as well as it could, or not yet.
    Warning,
    /// Something does not work.
    Error,
}

/// One thing that was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// Short name for scripts, such as `claim-unbound`; never changes its meaning.
    pub check: &'static str,
    /// What is wrong, with which thing.
    pub what: String,
    /// What to type, in order.
    pub commands: Vec<String>,
}

impl Finding {
    /// A finding of `severity`.
    pub fn new(severity: Severity, check: &'static str, what: impl Into<String>) -> Self {
        Self { severity, check, what: what.into(), commands: Vec::new() }
    }

    /// Something that does not work.
    pub fn error(check: &'static str, what: impl Into<String>) -> Self {
        Self::new(Severity::Error, check, what)
    }

    /// Something that does not work as well as it could, or not yet.
    pub fn warning(check: &'static str, what: impl Into<String>) -> Self {
        Self::new(Severity::Warning, check, what)
    }

    /// With one more command to type.
    #[must_use]
    pub fn command(mut self, command: impl Into<String>) -> Self {
        self.commands.push(command.into());
        self
    }
}

/// The worst first; of equal ones the order stays.
pub fn sort(findings: &mut [Finding]) {
    findings.sort_by_key(|finding| std::cmp::Reverse(finding.severity));
}

/// For people.
pub fn words(findings: &[Finding]) -> String {
    let mut text = String::new();
    for Finding { severity, check, what, commands } in findings {
        let word = match severity {
            Severity::Note => "note   ",
            Severity::Warning => "WARNING",
            Severity::Error => "ERROR  ",
        };
        text += &format!("{word} {what} [{check}]\n");
        for command in commands {
            text += &format!("          {command}\n");
        }
    }
    text
}

/// As monitoring plugins end (Nagios' and Icinga's convention): 0 all well, 1 warning, 2 critical.
pub fn exit_code(findings: &[Finding]) -> u8 {
    match findings.iter().map(|finding| finding.severity).max() {
        None | Some(Severity::Note) => 0,
        Some(Severity::Warning) => 1,
        Some(Severity::Error) => 2,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_comes_first_and_decides_how_it_ends() {
        let note = Finding::new(Severity::Note, "a", "fine");
        let mut all = vec![note.clone(), Finding::warning("b", "so so").command("type this"), Finding::error("c", "broken")];
        assert_eq!([exit_code(&[]), exit_code(&[note]), exit_code(&all[..2]), exit_code(&all)], [0, 0, 1, 2]);
        sort(&mut all);
        assert_eq!(all.iter().map(|f| f.check).collect::<Vec<_>>(), ["c", "b", "a"]);
        assert_eq!(words(&all[..2]), "ERROR   broken [c]\nWARNING so so [b]\n          type this\n");
    }
}
