//! Which programs we know, how old they may be, and how they say their version.

use std::fmt;
use std::path::Path;
use std::str::FromStr;

use super::command::{Command, Supervisor};
use super::error::ProgramError;

/// A program's version, as far as it matters: `3.16.2`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version {
    /// Changes break.
    pub major: u64,
    /// Changes add.
    pub minor: u64,
    /// Changes mend.
    pub patch: u64,
}

impl Version {
    /// The version of these numbers.
    #[must_use]
    pub const fn new(major: u64, minor: u64, patch: u64) -> Self {
        Self { major, minor, patch }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.patch)
    }
}

/// Text that is no version.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("\"{0}\" is not a version")]
pub struct NotAVersion(String);

impl FromStr for Version {
    type Err = NotAVersion;

    /// Reads `v3.16.2+g13654a5`, `2.23.1-desktop.1`, `28.5`: what follows the numbers is ignored,
    /// as are a pre-release's claims to be older.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let refuse = || NotAVersion(text.to_owned());
        let trimmed = text.trim();
        let numbers = trimmed.strip_prefix('v').unwrap_or(trimmed);
        let end = numbers.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(numbers.len());
        let mut parts = numbers[..end].split('.');
        let mut next = || parts.next().filter(|part| !part.is_empty());
        let number = |part: &str| part.parse::<u64>().map_err(|_| refuse());
        let major = number(next().ok_or_else(refuse)?)?;
        let minor = number(next().ok_or_else(refuse)?)?;
        let patch = next().map(number).transpose()?.unwrap_or(0);
        Ok(Self { major, minor, patch })
    }
}

/// A program we start, with the oldest version that does what we need.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Tool {
    /// `helm template --dry-run=server` with `lookup`, from 3.16 on.
    Helm,
    /// Saved plans and the streamed JSON of `plan` and `apply`.
    Terraform,
    /// The same from its fork.
    Tofu,
    /// `configs.content` came with 2.23.1.
    DockerCompose,
    /// The client only: what an Engine can do is asked of the Engine.
    Docker,
    /// Any that is still in use.
    Git,
}

impl Tool {
    /// Terraform or its fork, by the program's name.
    #[must_use]
    pub fn terraform_at(program: &Path) -> Self {
        let name = program.file_stem().and_then(|name| name.to_str()).unwrap_or_default();
        if name.contains("tofu") { Self::Tofu } else { Self::Terraform }
    }

    /// The program's usual name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Helm => "helm",
            Self::Terraform => "terraform",
            Self::Tofu => "tofu",
            Self::DockerCompose => "docker compose",
            Self::Docker => "docker",
            Self::Git => "git",
        }
    }

    /// The oldest version that works.
    #[must_use]
    pub fn oldest(self) -> Version {
        match self {
            Self::Helm => Version::new(3, 16, 0),
            Self::Terraform => Version::new(1, 5, 0),
            Self::Tofu => Version::new(1, 6, 0),
            Self::DockerCompose => Version::new(2, 23, 1),
            Self::Docker => Version::new(20, 10, 0),
            Self::Git => Version::new(2, 20, 0),
        }
    }

    /// Where a user gets it.
    #[must_use]
    pub fn how_to_get(self) -> &'static str {
        match self {
            Self::Helm => "https://helm.sh/docs/intro/install",
            Self::Terraform => {
                "https://developer.hashicorp.com/terraform/install (or OpenTofu: https://opentofu.org/docs/intro/install)"
            }
            Self::Tofu => "https://opentofu.org/docs/intro/install",
            Self::DockerCompose => "https://docs.docker.com/compose/install",
            Self::Docker => "https://docs.docker.com/engine/install",
            Self::Git => "https://git-scm.com/downloads",
        }
    }

    fn question(self) -> &'static [&'static str] {
        match self {
            Self::Helm => &["version", "--template", "{{.Version}}"],
            Self::Terraform | Self::Tofu => &["version", "-json"],
            Self::DockerCompose => &["compose", "version", "--short"],
            Self::Docker | Self::Git => &["--version"],
        }
    }

    fn read(self, answer: &str) -> Option<Version> {
        match self {
            Self::Terraform | Self::Tofu => {
                let answer: serde_json::Value = serde_json::from_str(answer).ok()?;
                answer.get("terraform_version")?.as_str()?.parse().ok()
            }
            // Docker version 28.5.2, build ecc6942 · git version 2.39.5 (Apple Git-154)
            Self::Docker | Self::Git => answer.split([' ', ',']).find_map(|word| word.parse().ok()),
            Self::Helm | Self::DockerCompose => answer.parse().ok(),
        }
    }

    /// Asks the program for its version and refuses one that is too old. A build that carries no
    /// version (`dev`) is taken for a new one: whoever builds their own knows.
    ///
    /// # Errors
    /// [`ProgramError::NotFound`], [`ProgramError::VersionTooOld`], and what the program itself
    /// says when it cannot tell its version.
    pub async fn probe(
        self,
        program: &Path,
        supervisor: &Supervisor,
    ) -> Result<Option<Version>, ProgramError> {
        let command = Command::new(program)
            .args(self.question())
            .how_to_get(self.how_to_get())
            // Terraform would otherwise ask its makers on the net whether there is a newer one.
            .env("CHECKPOINT_DISABLE", "1");
        let output = match command.run(supervisor).await {
            // Docker without the plugin takes "compose" for a misspelt verb.
            Err(ProgramError::Failed(_)) if self == Self::DockerCompose => {
                return Err(ProgramError::NotFound {
                    program: self.name().into(),
                    how_to_get: self.how_to_get().into(),
                });
            }
            other => other?,
        };
        let Some(found) = self.read(&output.stdout_text()) else {
            return Ok(None);
        };
        if found < self.oldest() {
            return Err(ProgramError::VersionTooOld {
                program: self.name().into(),
                found,
                needed: self.oldest(),
                how_to_get: self.how_to_get().into(),
            });
        }
        Ok(Some(found))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_as_programs_write_them() {
        for (text, version) in [
            ("v3.16.2+g13654a5", Version::new(3, 16, 2)),
            ("2.23.1-desktop.1\n", Version::new(2, 23, 1)),
            ("v4.3", Version::new(4, 3, 0)),
            ("5.6.0", Version::new(5, 6, 0)),
        ] {
            assert_eq!(text.parse(), Ok(version), "{text}");
        }
        assert!("dev".parse::<Version>().is_err());
        assert!("3".parse::<Version>().is_err());
    }

    #[test]
    fn each_tool_answers_in_its_own_way() {
        let terraform = r#"{"terraform_version":"1.11.4","terraform_outdated":true}"#;
        assert_eq!(Tool::Terraform.read(terraform), Some(Version::new(1, 11, 4)));
        let docker = "Docker version 20.10.24+dfsg1, build 297e128";
        assert_eq!(Tool::Docker.read(docker), Some(Version::new(20, 10, 24)));
        let git = "git version 2.39.5 (Apple Git-154)";
        assert_eq!(Tool::Git.read(git), Some(Version::new(2, 39, 5)));
        assert_eq!(Tool::Helm.read("v3.16.2"), Some(Version::new(3, 16, 2)));
    }
}
