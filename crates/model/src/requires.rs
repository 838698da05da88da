//! Which versions of envctl may touch the environments of a stack.

use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The version of this envctl.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// What a stack file requires of envctl: `>=0.3`, or `>=0.3, <1`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Requirement(semver::VersionReq);

impl Requirement {
    /// Whether a version meets it.
    #[must_use]
    pub fn allows(&self, version: &str) -> bool {
        semver::Version::parse(version).is_ok_and(|version| self.0.matches(&version))
    }
}

impl FromStr for Requirement {
    type Err = RequirementError;

    fn from_str(text: &str) -> Result<Self, RequirementError> {
        semver::VersionReq::parse(text).map(Self).map_err(|error| RequirementError(error.to_string()))
    }
}

impl TryFrom<String> for Requirement {
    type Error = RequirementError;

    fn try_from(text: String) -> Result<Self, RequirementError> {
        text.parse()
    }
}

impl From<Requirement> for String {
    fn from(requirement: Requirement) -> Self {
        requirement.to_string()
    }
}

impl std::fmt::Display for Requirement {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// It is no requirement on a version.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a requirement on a version: {0}")]
pub struct RequirementError(String);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requirements_on_versions() {
        let allows = |requirement: &str| requirement.parse::<Requirement>().unwrap().allows("0.3.0");
        for met in [">=0.3", ">=0.3, <0.3.1", "=0.3.0", "0.3"] {
            assert!(allows(met), "{met}");
        }
        for unmet in [">0.3", ">=0.3, <0.3", ">=99", "0.2"] {
            assert!(!allows(unmet), "{unmet}");
        }
        for wrong in ["soon", ">=x", "", ">=0.3 <1"] {
            assert!(wrong.parse::<Requirement>().is_err(), "{wrong}");
        }
    }
}
