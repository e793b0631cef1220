//! Class names as the ecosystem keeps them: a Python literal, `{0: 'bolt', 1: "6' nut"}`, or a list. Written with every
//! quote and backslash escaped, read with bounds. Nothing is evaluated.

/// Classes that a file may name.
const MAX_NAMES: usize = 10_000;
/// Bytes of the literal.
const MAX_BYTES: usize = 1 << 20;

/// Text that is not a literal of class names.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("class names are not a Python dict or list of strings: {reason} at byte {at}")]
pub struct LiteralError {
    /// What was expected.
    pub reason: &'static str,
    /// Where.
    pub at: usize,
}

/// `{0: 'bolt', 1: 'nut'}`
pub fn write_names(names: &[String]) -> String {
    let mut out = String::from("{");
    for (index, name) in names.iter().enumerate() {
        if index > 0 {
            out.push_str(", ");
        }
        out.push_str(&format!("{index}: '"));
        for c in name.chars() {
            match c {
                '\\' | '\'' => out.extend(['\\', c]),
                '\n' => out.push_str("\\n"),
                '\r' => out.push_str("\\r"),
                '\t' => out.push_str("\\t"),
                // Control characters, and separators that end a line for some readers.
                c if c.is_control() || matches!(c, '\u{2028}' | '\u{2029}') => {
                    out.push_str(&format!("\\u{:04x}", u32::from(c)));
                }
                c => out.push(c),
            }
        }
        out.push('\'');
    }
    out.push('}');
    out
}

/// Reads a dict from 0..n to strings, in any order but complete, or a list or tuple of strings.
///
/// # Errors
/// When it is anything else, or out of bounds (10,000 names, 1 MiB).
pub fn parse_names(text: &str) -> Result<Vec<String>, LiteralError> {
    let mut parser = Parser { text, at: 0 };
    if text.len() > MAX_BYTES {
        return Err(parser.error("at most 1 MiB expected"));
    }
    let names = match parser.next_token() {
        Some('{') => parser.dict()?,
        Some('[') => parser.list(']')?,
        Some('(') => parser.list(')')?,
        _ => return Err(parser.error("{ or [ expected")),
    };
    match parser.next_token() {
        None => Ok(names),
        Some(_) => Err(parser.error("end expected")),
    }
}

struct Parser<'a> {
    text: &'a str,
    at: usize,
}

impl Parser<'_> {
    fn error(&self, reason: &'static str) -> LiteralError {
        LiteralError { reason, at: self.at }
    }

    fn next_char(&mut self) -> Option<char> {
        let c = self.text[self.at..].chars().next()?;
        self.at += c.len_utf8();
        Some(c)
    }

    fn next_token(&mut self) -> Option<char> {
        loop {
            match self.next_char()? {
                c if c.is_ascii_whitespace() => {}
                c => return Some(c),
            }
        }
    }

    fn dict(&mut self) -> Result<Vec<String>, LiteralError> {
        let mut entries = Vec::new();
        loop {
            let key = match self.next_token() {
                Some('}') => break,
                Some(digit @ '0'..='9') => self.number(digit)?,
                _ => return Err(self.error("a class number or } expected")),
            };
            let (':', Some(quote @ ('\'' | '"'))) = (self.next_token().unwrap_or(' '), self.next_token()) else {
                return Err(self.error(": and a quoted name expected"));
            };
            entries.push((key, self.string(quote)?));
            if entries.len() > MAX_NAMES {
                return Err(self.error("at most 10,000 names expected"));
            }
            match self.next_token() {
                Some(',') => {}
                Some('}') => break,
                _ => return Err(self.error(", or } expected")),
            }
        }
        entries.sort_by_key(|(key, _)| *key);
        if entries.iter().enumerate().any(|(index, (key, _))| index != *key) {
            return Err(self.error("class numbers 0, 1, 2 … without gaps expected"));
        }
        Ok(entries.into_iter().map(|(_, name)| name).collect())
    }

    fn list(&mut self, end: char) -> Result<Vec<String>, LiteralError> {
        let mut names = Vec::new();
        loop {
            match self.next_token() {
                Some(c) if c == end => return Ok(names),
                Some(quote @ ('\'' | '"')) => names.push(self.string(quote)?),
                _ => return Err(self.error("a quoted name or the end of the list expected")),
            }
            if names.len() > MAX_NAMES {
                return Err(self.error("at most 10,000 names expected"));
            }
            match self.next_token() {
                Some(',') => {}
                Some(c) if c == end => return Ok(names),
                _ => return Err(self.error(", or the end of the list expected")),
            }
        }
    }

    fn number(&mut self, first: char) -> Result<usize, LiteralError> {
        let start = self.at - first.len_utf8();
        let digits = self.text[start..].bytes().take_while(u8::is_ascii_digit).count();
        self.at = start + digits;
        self.text[start..self.at].parse().map_err(|_| self.error("a smaller class number expected"))
    }

    fn string(&mut self, quote: char) -> Result<String, LiteralError> {
        let mut out = String::new();
        loop {
            match self.next_char() {
                Some(c) if c == quote => return Ok(out),
                Some('\\') => out.push(self.escape()?),
                Some('\n') | None => return Err(self.error("the closing quote expected")),
                Some(c) => out.push(c),
            }
        }
    }

    fn escape(&mut self) -> Result<char, LiteralError> {
        let digits = match self.next_char() {
            Some(c @ ('\\' | '\'' | '"')) => return Ok(c),
            Some('n') => return Ok('\n'),
            Some('r') => return Ok('\r'),
            Some('t') => return Ok('\t'),
            Some('x') => 2,
            Some('u') => 4,
            Some('U') => 8,
            _ => return Err(self.error("a known escape expected")),
        };
        let hex = self.text.get(self.at..self.at + digits).filter(|hex| hex.bytes().all(|b| b.is_ascii_hexdigit()));
        let code = hex.and_then(|hex| u32::from_str_radix(hex, 16).ok());
        self.at += if code.is_some() { digits } else { 0 };
        code.and_then(char::from_u32).ok_or_else(|| self.error("the hexadecimal digits of a character expected"))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap fails the test")]
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_the_ecosystem_writes_is_read() {
        let names = |text| parse_names(text).unwrap();
        assert_eq!(names("{0: 'bolt', 1: \"6' nut\"}"), ["bolt", "6' nut"]);
        assert_eq!(names("{1:'b',\n 0:'a',}"), ["a", "b"]);
        assert_eq!(names("['a', \"b\"]"), ["a", "b"]);
        assert_eq!(names("{0: 'caf\\xe9 \\u2013 \\U0001f600'}"), ["café – 😀"]);
        assert!(names("{}").is_empty());
    }

    #[test]
    fn anything_else_is_refused() {
        for text in [
            "",
            "0",
            "{0: 1}",
            "{0: 'a'",
            "{0: 'a} ",
            "{1: 'a'}",
            "{0: 'a', 0: 'b'}",
            "['a'] + []",
            "{0: '\\q'}",
            "{0: '\\ud800'}",
            "{99999999999999999999: 'a'}",
            "{0: __import__('os')}",
            "{0: '\\u12'}",
            "{0: '\\x\u{e9}'}",
        ] {
            assert!(parse_names(text).is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_names_round_trip(names in prop::collection::vec(".*", 0..5)) {
            prop_assert_eq!(parse_names(&write_names(&names)).unwrap(), names);
        }

        #[test]
        fn no_text_breaks_the_reader(text in "[\\[\\]{}'\":,0-9\\\\xuUn a\u{e9}]{0,40}") {
            let _ = parse_names(&text);
        }
    }
}
