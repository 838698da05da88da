//! What Terraform says when it fails, in its own words.

use std::fmt;

use serde::Deserialize;

use crate::process::ProgramError;

/// Why Terraform did not do what was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TerraformError {
    /// It could not be run, was interrupted, or failed without saying more than text.
    #[error(transparent)]
    Program(#[from] ProgramError),
    /// It failed and said why.
    #[error("terraform {verb} failed\n\n{}", joined(.diagnostics))]
    Failed {
        /// What was asked: `plan`, `apply`.
        verb: &'static str,
        /// Its errors first, then its warnings.
        diagnostics: Vec<Diagnostic>,
    },
    /// Someone else holds the state's lock.
    #[error("the Terraform state is locked by {} ({}, since {})\n\n{}\n  if that run is dead: terraform force-unlock {}", .lock.who, .lock.operation, .lock.created, joined(.diagnostics), .lock.id)]
    Locked {
        /// Who holds it.
        lock: Box<Lock>,
        /// What Terraform said about it.
        diagnostics: Vec<Diagnostic>,
    },
    /// A copy of the root could not be made.
    #[error(transparent)]
    Copy(super::ClosureError),
    /// The plan is for something that envctl does not do.
    #[error("the workspace \"{0}\" belongs to nobody, so it is neither made nor deleted")]
    DefaultWorkspace(String),
}

fn joined(diagnostics: &[Diagnostic]) -> String {
    let texts: Vec<String> = diagnostics.iter().map(Diagnostic::to_string).collect();
    texts.join("\n\n")
}

/// Who holds a state's lock, as Terraform tells it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Lock {
    /// What `terraform force-unlock` wants.
    pub id: String,
    /// User and machine.
    pub who: String,
    /// What they are doing: `OperationTypeApply`.
    pub operation: String,
    /// Since when.
    pub created: String,
    /// Which state.
    pub path: String,
}

impl Lock {
    /// Reads the "Lock Info" that Terraform adds to its error.
    pub(super) fn of(diagnostics: &[Diagnostic]) -> Option<Self> {
        diagnostics.iter().find_map(|diagnostic| Self::in_text(&diagnostic.detail))
    }

    /// Reads it from the text of a verb that knows no JSON, which has a frame.
    pub(super) fn in_text(text: &str) -> Option<Self> {
        let (_, detail) = text.split_once("Lock Info:")?;
        let field = |name: &str| {
            detail
                .lines()
                .find_map(|line| line.trim_start_matches(['│', ' ']).strip_prefix(name)?.strip_prefix(':'))
                .map(|value| value.trim().to_owned())
                .unwrap_or_default()
        };
        Some(Self {
            id: field("ID"),
            who: field("Who"),
            operation: field("Operation"),
            created: field("Created"),
            path: field("Path"),
        })
    }

    /// Whether a program on this machine took it.
    #[must_use]
    pub fn is_of_this_machine(&self) -> bool {
        let machine = rustix::system::uname();
        self.who.rsplit_once('@').is_some_and(|(_, host)| host.as_bytes() == machine.nodename().to_bytes())
    }
}

/// One of Terraform's errors or warnings.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Diagnostic {
    /// Whether it is an error.
    pub severity: Severity,
    /// The headline.
    #[serde(default)]
    pub summary: String,
    /// The explanation.
    #[serde(default)]
    pub detail: String,
    /// The resource it is about.
    #[serde(default)]
    pub address: Option<String>,
    /// Where in the configuration.
    #[serde(default)]
    pub range: Option<Range>,
    /// What stands there.
    #[serde(default)]
    pub snippet: Option<Snippet>,
    /// What envctl knows about it.
    #[serde(skip)]
    pub hint: Option<&'static str>,
}

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Nothing was done.
    Error,
    /// Something was done all the same.
    Warning,
    /// Terraform was not sure which.
    #[serde(other)]
    Unknown,
}

/// A place in the configuration.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Range {
    /// The file, relative to the root.
    pub filename: String,
    /// Where in it.
    pub start: Position,
}

/// A place in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub struct Position {
    /// From 1.
    pub line: u64,
    /// From 1.
    pub column: u64,
}

/// A piece of the configuration.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Snippet {
    /// The block it stands in.
    #[serde(default)]
    pub context: Option<String>,
    /// The line itself.
    #[serde(default)]
    pub code: String,
    /// Its number.
    #[serde(default)]
    pub start_line: u64,
    /// The values of what it refers to; Terraform hides sensitive ones.
    #[serde(default)]
    pub values: Option<Vec<Known>>,
}

/// The value of a reference, in words.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Known {
    /// The reference: `terraform.workspace`.
    pub traversal: String,
    /// What it is: `is "album-aki"`.
    pub statement: String,
}

const WORKSPACE_HINT: &str = "this root looks something up by the name of the workspace, and each environment has a workspace of its own: \
give it a name that the root knows (envctl.yaml: `workspace` of the target's `terraform`, such as \
\"staging-{{ env.name }}\" for local.sizes[split(\"-\", terraform.workspace)[0]]), look up a variable instead \
(envctl.yaml: inputs.terraform.vars), or give the lookup a default: \
lookup(local.sizes, terraform.workspace, local.sizes[\"staging\"])";

impl Diagnostic {
    /// Adds what Terraform cannot know: that envctl chose the workspace's name. Roots keep it in local values,
    /// too, so that what was looked up tells, and not only the expression.
    pub(super) fn with_hint(mut self, workspace: &str) -> Self {
        let is_lookup = matches!(self.summary.as_str(), "Invalid index" | "Invalid function argument");
        let is_it = format!("is \"{workspace}\"");
        let about_workspace = self.snippet.as_ref().is_some_and(|snippet| {
            let mut values = snippet.values.iter().flatten();
            snippet.code.contains("terraform.workspace")
                || values.any(|known| known.traversal == "terraform.workspace" || known.statement == is_it)
        });
        let missed = self.detail.ends_with(&format!("no attribute \"{workspace}\"."));
        if is_lookup && (about_workspace || missed) {
            self.hint = Some(WORKSPACE_HINT);
        }
        self
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let headline = match self.severity {
            Severity::Warning => "Warning",
            Severity::Error | Severity::Unknown => "Error",
        };
        write!(f, "{headline}: {}", self.summary)?;
        if let Some(address) = &self.address {
            write!(f, "\n\n  with {address}")?;
        }
        if let Some(range) = &self.range {
            write!(f, "\n\n  on {} line {}", range.filename, range.start.line)?;
        }
        if let Some(snippet) = &self.snippet {
            if let Some(context) = snippet.context.as_deref().filter(|text| !text.is_empty()) {
                write!(f, ", in {context}")?;
            }
            write!(f, ":")?;
            for (number, line) in (snippet.start_line..).zip(snippet.code.lines()) {
                write!(f, "\n  {number:>3}: {line}")?;
            }
            for known in snippet.values.iter().flatten() {
                write!(f, "\n       {} {}", known.traversal, known.statement)?;
            }
        }
        if !self.detail.is_empty() {
            write!(f, "\n\n{}", self.detail.trim_end())?;
        }
        if let Some(hint) = self.hint {
            write!(f, "\n\nhint: {hint}")?;
        }
        Ok(())
    }
}
