//! Who may sign: a file of the repository, so that who reviews a change of it decides.

use std::fmt;

use super::digest::Digest;
use super::key::PublicKey;

/// Those who may sign evidence.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Signers(Vec<Signer>);

/// One of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signer {
    /// Who it is, in one word.
    pub name: String,
    /// The key that they sign with.
    pub key: PublicKey,
}

/// A line that lists no signer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{file}, line {line}: {what}\n  a line is `NAME ed25519 PUBLICKEY`, as `envctl evidence keygen` prints it"
)]
pub struct SignersError {
    /// The file.
    pub file: String,
    /// From 1.
    pub line: usize,
    /// What is wrong with it.
    pub what: String,
}

impl Signers {
    /// Reads the lines `NAME ed25519 PUBLICKEY`. Empty lines and what follows a `#` are passed over. `file` is for
    /// messages.
    ///
    /// # Errors
    /// Names the first line that says something else, or a key that an earlier line has.
    pub fn parse(file: &str, text: &str) -> Result<Self, SignersError> {
        let mut signers = Self::default();
        for (index, line) in text.lines().enumerate() {
            let wrong = |what: String| SignersError { file: file.to_owned(), line: index + 1, what };
            let line = line.split_once('#').map_or(line, |(before, _)| before);
            let words: Vec<_> = line.split_whitespace().collect();
            let (name, key) = match words[..] {
                [] => continue,
                [name, "ed25519", key] => (name, key),
                [_, kind, _] => return Err(wrong(format!("`{kind}` is no kind of key that is known"))),
                _ => return Err(wrong(format!("{} words instead of three", words.len()))),
            };
            let key = PublicKey::from_base64(key)
                .ok_or_else(|| wrong(format!("the key of {name} is not 32 bytes in base64")))?;
            if let Some(other) = signers.by_id(&key.id()) {
                return Err(wrong(format!("{} has the same key", other.name)));
            }
            signers.0.push(Signer { name: name.to_owned(), key });
        }
        Ok(signers)
    }

    /// All of them, in the order of the file.
    pub fn iter(&self) -> impl Iterator<Item = &Signer> {
        self.0.iter()
    }

    /// The one whose key has this id.
    #[must_use]
    pub fn by_id(&self, id: &Digest) -> Option<&Signer> {
        self.0.iter().find(|signer| signer.key.id() == *id)
    }
}

impl fmt::Display for Signer {
    /// As its line in the file.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ed25519 {}", self.name, self.key.base64())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evidence::SigningKey;

    fn signer(name: &str) -> Signer {
        Signer { name: name.to_owned(), key: SigningKey::generate().unwrap().public() }
    }

    #[test]
    fn signers_are_read_as_they_are_written_with_comments_between() {
        let (aki, noa) = (signer("aki"), signer("noa"));
        let signers =
            Signers::parse("signers", &format!("# on duty\n\n{aki}  # until May\n\t{noa}\n")).unwrap();
        assert_eq!(signers.iter().collect::<Vec<_>>(), [&aki, &noa]);
        assert_eq!(signers.by_id(&noa.key.id()), Some(&noa));
        assert_eq!(signers.by_id(&signer("x").key.id()), None);
    }

    #[test]
    fn a_line_that_lists_no_signer_is_named_with_its_reason() {
        let aki = signer("aki");
        for (text, line, what) in [
            ("aki ed25519".to_owned(), 1, "2 words"),
            ("# x\naki rsa AAAA".to_owned(), 2, "`rsa` is no kind"),
            ("aki ed25519 AAAA".to_owned(), 1, "the key of aki is not 32 bytes"),
            (format!("{aki}\nnoa ed25519 {}", aki.key.base64()), 2, "aki has the same key"),
        ] {
            let error = Signers::parse("signers", &text).unwrap_err();
            assert_eq!(error.line, line, "{text}");
            assert!(error.to_string().contains(what), "{error}");
        }
    }
}
