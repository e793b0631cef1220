//! The content of the file of tokens: a line each, `name scopes token`.

use std::fmt;
use std::sync::Arc;

use sha2::{Digest, Sha256};
use subtle::{Choice, ConditionallySelectable, ConstantTimeEq};

/// Shortest token: 16 characters of base64 are 96 bits. A shorter one can be guessed.
const SHORTEST: usize = 16;
/// Most tokens: each is compared at every request.
const MOST: usize = 1024;
/// What a digest in place of a token begins with.
const DIGEST: &str = "sha256:";

/// What a token is good for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// Asking for detections and looking at models.
    Infer,
    /// Moving the store's pointer.
    Admin,
}

impl fmt::Display for Scope {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Infer => "infer",
            Self::Admin => "admin",
        })
    }
}

/// One token, as its digest.
#[derive(Clone)]
pub struct Token {
    name: Arc<str>,
    infer: bool,
    admin: bool,
    digest: [u8; 32],
}

impl fmt::Debug for Token {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Not even the digest: a weak token could be found from it.
        out.debug_struct("Token").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Token {
    /// Whose it is.
    #[must_use]
    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// Whether it is good for that.
    #[must_use]
    pub fn allows(&self, scope: Scope) -> bool {
        match scope {
            Scope::Infer => self.infer,
            Scope::Admin => self.admin,
        }
    }
}

/// All tokens of a file.
#[derive(Debug, Clone, Default)]
pub struct Tokens {
    list: Vec<Token>,
}

impl Tokens {
    /// Reads the file's text. Two lines may have the same name: an old token and the new one while clients change over.
    ///
    /// # Errors
    /// What is wrong with which line, without anything of the line.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut list: Vec<Token> = Vec::new();
        for (index, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let token = Self::line(line).map_err(|wrong| format!("line {}: {wrong}", index + 1))?;
            if list.len() == MOST {
                return Err(format!("it has more than {MOST} tokens"));
            }
            if list.iter().any(|known| known.digest == token.digest) {
                return Err(format!("line {}: the token is there already", index + 1));
            }
            list.push(token);
        }
        Ok(Self { list })
    }

    fn line(line: &str) -> Result<Token, &'static str> {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let &[name, scopes, token] = fields.as_slice() else {
            return Err("expected three words: name, scopes (infer, admin or infer,admin), token");
        };
        if name.len() > 64 || !name.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b)) {
            return Err("the name may have 64 letters, digits, dots, dashes and underscores");
        }
        let (mut infer, mut admin) = (false, false);
        for scope in scopes.split(',') {
            match scope {
                "infer" => infer = true,
                "admin" => admin = true,
                _ => return Err("scopes are infer, admin or infer,admin"),
            }
        }
        let digest = match token.strip_prefix(DIGEST) {
            Some(hex) => digest_of_hex(hex).ok_or("after sha256: come 64 hexadecimal digits")?,
            None if token.len() < SHORTEST => return Err("the token is shorter than 16 characters; `openssl rand -hex 32` makes one"),
            None => Sha256::digest(token.as_bytes()).into(),
        };
        Ok(Token { name: name.into(), infer, admin, digest })
    }

    /// The token that was presented. All are compared, each in constant time: how long it takes says nothing.
    #[must_use]
    pub fn find(&self, presented: &[u8]) -> Option<&Token> {
        let digest: [u8; 32] = Sha256::digest(presented).into();
        let mut found = 0u32;
        let mut any = Choice::from(0);
        for (index, token) in self.list.iter().enumerate() {
            let same = token.digest.ct_eq(&digest);
            found.conditional_assign(&(index as u32), same);
            any |= same;
        }
        if any.into() { self.list.get(found as usize) } else { None }
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.list.len()
    }

    /// Whether there is none: then nobody may do anything.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }
}

fn digest_of_hex(hex: &str) -> Option<[u8; 32]> {
    let mut digest = [0; 32];
    if hex.len() != 64 || !hex.is_ascii() {
        return None;
    }
    for (byte, at) in digest.iter_mut().zip((0..64).step_by(2)) {
        *byte = u8::from_str_radix(hex.get(at..at + 2)?, 16).ok()?;
    }
    Some(digest)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use rstest::rstest;

    const FILE: &str = "# cameras\ncam-1  infer        camera-token-0001\n\ncam-1 infer camera-token-0002\nboss admin sha256:DIGEST\n";

    fn file() -> Tokens {
        let digest: String = Sha256::digest(b"digest-only-token-1").iter().map(|byte| format!("{byte:02x}")).collect();
        Tokens::parse(&FILE.replace("DIGEST", &digest)).unwrap()
    }

    #[test]
    fn tokens_are_found_by_what_they_are_and_by_their_digest() {
        let tokens = file();
        assert_eq!(tokens.len(), 3);
        let found =
            |token: &str| tokens.find(token.as_bytes()).map(|t| (t.name().to_string(), t.allows(Scope::Infer), t.allows(Scope::Admin)));
        assert_eq!(found("camera-token-0001"), Some(("cam-1".into(), true, false)));
        assert_eq!(found("camera-token-0002"), Some(("cam-1".into(), true, false)));
        assert_eq!(found("digest-only-token-1"), Some(("boss".into(), false, true)));
        assert_eq!(found("camera-token-0003"), None);
        assert_eq!(found(""), None);
    }

    #[test]
    fn nothing_of_a_token_is_shown() {
        let shown = format!("{:?}", file());
        assert!(shown.contains("cam-1") && !shown.contains("token-0001") && !shown.contains("digest"), "{shown}");
        let error = Tokens::parse("cam infer short-secret").unwrap_err();
        assert!(error.contains("line 1") && !error.contains("secret"), "{error}");
    }

    #[rstest]
    #[case("only-a-token-0001")]
    #[case("cam infer,other camera-token-0001")]
    #[case("cam , camera-token-0001")]
    #[case("ca/m infer camera-token-0001")]
    #[case("cam infer sha256:abc")]
    #[case("cam infer camera-token-0001\nnew infer camera-token-0001")]
    fn a_line_that_makes_no_sense_is_refused(#[case] text: &str) {
        assert!(Tokens::parse(text).is_err());
    }

    #[test]
    fn an_empty_file_lets_nobody_in() {
        let tokens = Tokens::parse("# nobody\n").unwrap();
        assert!(tokens.is_empty() && tokens.find(b"").is_none());
    }
}
