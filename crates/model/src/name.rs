//! Every name envctl makes.
//!
//! A name is a readable prefix and, where the readable part had to be changed or cut, a hash of the
//! whole identity, so that two different identities never end up with the same name.

use sha2::{Digest, Sha256};

/// Longest environment name. It leaves room for `-<pod>-<ordinal>` within a DNS label of 63 bytes
/// and is below Helm's limit of 53 bytes for a release.
pub const ENVIRONMENT_MAX: usize = 40;
const HASH_LENGTH: usize = 6;

/// The name of an environment: a DNS label of at most [`ENVIRONMENT_MAX`] bytes.
///
/// It is also the namespace, the Helm release, the Terraform workspace and the Compose project.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct EnvironmentName(String);

impl EnvironmentName {
    /// Makes a name out of anything: a branch, a user's name, a sentence. What cannot be kept is
    /// replaced, and a hash of the whole text is added when anything was replaced or cut.
    ///
    /// # Errors
    /// When nothing readable is left (`"///"`), or nothing was given.
    pub fn from_text(text: &str) -> Result<Self, NameError> {
        let slug = label(text, ENVIRONMENT_MAX);
        if slug.is_empty() || text.trim().is_empty() {
            return Err(NameError { given: text.to_owned() });
        }
        Ok(Self(slug))
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Display for EnvironmentName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for EnvironmentName {
    type Error = NameError;
    /// Accepts only what is a name already: records and flags that were once printed by us.
    fn try_from(text: String) -> Result<Self, NameError> {
        let made = Self::from_text(&text)?;
        if made.0 == text { Ok(made) } else { Err(NameError { given: text }) }
    }
}

impl From<EnvironmentName> for String {
    fn from(name: EnvironmentName) -> Self {
        name.0
    }
}

/// Nothing readable is left of a name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{given}` cannot name an environment: it needs at least one letter or digit of a-z, 0-9 \
     (other characters are replaced by `-`)"
)]
pub struct NameError {
    /// What was given.
    pub given: String,
}

/// A DNS label (RFC 1123: `[a-z0-9]([-a-z0-9]*[a-z0-9])?`) of at most `max` bytes that starts with
/// a letter (Kubernetes Services want that), with a hash of `text` where `text` is not one already.
#[must_use]
pub fn label(text: &str, max: usize) -> String {
    let mut slug = String::with_capacity(text.len());
    for c in text.chars() {
        let c = c.to_ascii_lowercase();
        if c.is_ascii_lowercase() || c.is_ascii_digit() {
            slug.push(c);
        } else if !slug.is_empty() && !slug.ends_with('-') {
            slug.push('-');
        }
    }
    let slug = slug.trim_matches('-');
    if slug.is_empty() {
        return String::new();
    }
    let letter_first = slug.starts_with(|c: char| c.is_ascii_lowercase());
    if slug == text && slug.len() <= max && letter_first {
        return slug.to_owned();
    }
    let hash = hash(text, HASH_LENGTH);
    let prefix = if letter_first { "" } else { "e-" };
    let room = max.saturating_sub(hash.len() + 1 + prefix.len()).min(slug.len());
    let readable = slug[..room].trim_end_matches('-');
    format!("{prefix}{readable}-{hash}")
}

/// The first `length` hexadecimal digits of the SHA-256 of `text`.
#[must_use]
pub fn hash(text: &str, length: usize) -> String {
    let mut hex: String = Sha256::digest(text.as_bytes()).iter().map(|b| format!("{b:02x}")).collect();
    hex.truncate(length);
    hex
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proper_name_is_kept() {
        assert_eq!(EnvironmentName::from_text("album-aki").unwrap().as_str(), "album-aki");
    }

    #[test]
    fn odd_names_become_labels_that_stay_apart() {
        let names = [
            "feature/Login",
            "feature-login",
            "Feature/login",
            "fea ture/login",
            "日本 album",
            "1password",
            "-x-",
        ];
        let made: Vec<_> = names.iter().map(|n| EnvironmentName::from_text(n).unwrap().0).collect();
        for (name, text) in made.iter().zip(names) {
            assert!(name.len() <= ENVIRONMENT_MAX, "{text}");
            assert!(name.starts_with(|c: char| c.is_ascii_lowercase()), "{name}");
            assert!(name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-'), "{name}");
            assert_eq!(EnvironmentName::try_from(name.clone()).unwrap().0, *name, "stable");
        }
        let distinct: std::collections::BTreeSet<_> = made.iter().collect();
        assert_eq!(distinct.len(), names.len());
    }

    #[test]
    fn three_hundred_characters_are_cut_and_hashed() {
        let long = "x".repeat(300);
        let a = EnvironmentName::from_text(&long).unwrap();
        let b = EnvironmentName::from_text(&(long + "y")).unwrap();
        assert_eq!(a.as_str().len(), ENVIRONMENT_MAX);
        assert_ne!(a, b);
    }

    #[test]
    fn nothing_readable_is_an_error() {
        let error = EnvironmentName::from_text("///").unwrap_err();
        assert!(error.to_string().starts_with("`///` cannot name an environment"));
    }
}
