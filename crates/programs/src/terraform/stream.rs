//! The messages that `plan -json` and `apply -json` write, one a line.

use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;

use super::diagnostic::{Diagnostic, Lock, Severity, TerraformError};
use crate::process::{Failure, ProgramError};

/// Something that happens to one resource.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Progress {
    /// The resource's address.
    pub address: String,
    /// What is done to it: `create`, `update`, `delete`, `refresh`, or a provisioner's name.
    pub action: String,
    /// How far that is.
    pub phase: Phase,
    /// How long it has taken.
    pub elapsed: Duration,
}

/// How far something is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Phase {
    /// It begins.
    Started,
    /// It goes on; a provisioner may say something.
    Going(Option<String>),
    /// It is done.
    Done,
    /// It failed.
    Failed,
}

/// How many resources an apply touched.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Applied {
    /// Made anew.
    pub added: u64,
    /// Changed in place.
    pub changed: u64,
    /// Destroyed.
    pub destroyed: u64,
}

/// What is remembered of the messages.
#[derive(Debug, Default)]
pub(super) struct Messages {
    pub(super) diagnostics: Vec<Diagnostic>,
    pub(super) applied: Applied,
    /// The program's exit code, of those that were accepted.
    pub(super) code: i32,
    other: String,
    workspace: String,
}

#[derive(Debug, Deserialize)]
struct Message {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    hook: Option<Hook>,
    #[serde(default)]
    diagnostic: Option<Value>,
    #[serde(default)]
    changes: Option<Changes>,
}

#[derive(Debug, Deserialize)]
struct Hook {
    resource: Resource,
    #[serde(default)]
    action: Option<String>,
    #[serde(default)]
    provisioner: Option<String>,
    #[serde(default)]
    output: Option<String>,
    #[serde(default)]
    elapsed_seconds: f64,
}

#[derive(Debug, Deserialize)]
struct Resource {
    addr: String,
}

#[derive(Debug, Deserialize)]
struct Changes {
    #[serde(default)]
    add: u64,
    #[serde(default)]
    change: u64,
    #[serde(default)]
    remove: u64,
    #[serde(default)]
    operation: String,
}

impl Messages {
    /// Those of a run in a workspace.
    pub(super) fn of(workspace: &str) -> Self {
        Self { workspace: workspace.to_owned(), ..Self::default() }
    }

    /// Takes one line; some lines are progress.
    pub(super) fn take(&mut self, line: &str) -> Option<Progress> {
        let Ok(message) = serde_json::from_str::<Message>(line) else {
            // Crashes and complaints about the command line come as text.
            self.other.push_str(line);
            self.other.push('\n');
            return None;
        };
        if let Some(diagnostic) = message.diagnostic {
            if let Ok(diagnostic) = serde_json::from_value::<Diagnostic>(diagnostic) {
                self.diagnostics.push(diagnostic.with_hint(&self.workspace));
            }
            return None;
        }
        if let Some(changes) = message.changes.filter(|changes| changes.operation != "plan") {
            self.applied = Applied { added: changes.add, changed: changes.change, destroyed: changes.remove };
            return None;
        }
        progress(&message.kind, message.hook?)
    }

    /// The error of a run that failed, with all that Terraform said.
    pub(super) fn error(mut self, verb: &'static str, error: ProgramError) -> TerraformError {
        let ProgramError::Failed(failure) = error else {
            return error.into();
        };
        if !self.diagnostics.iter().any(|one| one.severity != Severity::Warning) {
            if let Some(lock) = Lock::in_text(&failure.message) {
                return TerraformError::Locked { lock: Box::new(lock), diagnostics: Vec::new() };
            }
            let message = self.other;
            return ProgramError::Failed(Box::new(Failure { message, ..*failure })).into();
        }
        self.diagnostics.sort_by_key(|one| one.severity == Severity::Warning);
        let diagnostics = self.diagnostics;
        match Lock::of(&diagnostics) {
            Some(lock) => TerraformError::Locked { lock: Box::new(lock), diagnostics },
            None => TerraformError::Failed { verb, diagnostics },
        }
    }
}

fn progress(kind: &str, hook: Hook) -> Option<Progress> {
    let (about, phase) = kind.rsplit_once('_')?;
    let phase = match phase {
        "start" => Phase::Started,
        "progress" => Phase::Going(hook.output),
        "complete" => Phase::Done,
        "errored" => Phase::Failed,
        _ => return None,
    };
    let action = match about {
        "apply" => hook.action.unwrap_or_default(),
        "refresh" => "refresh".to_owned(),
        "provision" => hook.provisioner.unwrap_or_default(),
        _ => return None,
    };
    let elapsed = Duration::try_from_secs_f64(hook.elapsed_seconds).unwrap_or_default();
    Some(Progress { address: hook.resource.addr, action, phase, elapsed })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_provisioners_words_are_progress() {
        let line = r#"{"@level":"info","type":"provision_progress","hook":{"resource":{"addr":"terraform_data.a"},"provisioner":"local-exec","output":"made x"}}"#;
        let progress = Messages::default().take(line).unwrap();
        assert_eq!(progress.address, "terraform_data.a");
        assert_eq!(progress.phase, Phase::Going(Some("made x".into())));
    }

    #[test]
    fn a_held_lock_is_read_from_text_too() {
        let text = "Error: Error acquiring the state lock\n\nLock Info:\n  ID:        6b6b\n  Who:       aki@laptop\n";
        let framed = text.replace('\n', "\n│ ");
        for text in [text, &framed] {
            let failed = ProgramError::Failed(Box::new(Failure {
                program: "terraform".into(),
                arguments: "workspace delete".into(),
                ended: crate::process::Ended::Code(1),
                message: text.into(),
            }));
            let error = Messages::default().error("workspace delete", failed);
            let TerraformError::Locked { lock, .. } = &error else { panic!("{error}") };
            assert_eq!((lock.id.as_str(), lock.who.as_str()), ("6b6b", "aki@laptop"));
        }
    }

    #[test]
    fn a_held_lock_says_by_whom() {
        let line = r#"{"type":"diagnostic","diagnostic":{"severity":"error","summary":"Error acquiring the state lock","detail":"Error message: resource temporarily unavailable\nLock Info:\n  ID:        6b6b\n  Path:      terraform.tfstate.d/x/terraform.tfstate\n  Operation: OperationTypeApply\n  Who:       aki@laptop\n  Version:   1.11.4\n  Created:   2026-01-02 03:04:05 UTC\n  Info:      \n\n\nTerraform acquires a state lock"}}"#;
        let mut messages = Messages::default();
        assert_eq!(messages.take(line), None);
        let failed = ProgramError::Failed(Box::new(Failure {
            program: "terraform".into(),
            arguments: "apply".into(),
            ended: crate::process::Ended::Code(1),
            message: String::new(),
        }));
        let error = messages.error("apply", failed);
        let TerraformError::Locked { lock, .. } = &error else { panic!("{error}") };
        assert_eq!((lock.id.as_str(), lock.who.as_str()), ("6b6b", "aki@laptop"));
        assert!(error.to_string().contains("terraform force-unlock 6b6b"), "{error}");
    }
}
