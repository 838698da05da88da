//! Whether what was destroyed is really gone: the provider that made it is asked, by a plan that would
//! import it. Such a plan reads and changes nothing.
//!
//! An answer counts only if the provider can tell the difference. So each question comes with another
//! one, about a thing of the same kind that nobody has made: a provider that finds that too looks
//! nowhere, because what it makes (a random password) lives in the state alone.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde::Deserialize;
use serde_json::{Value, json};

use super::diagnostic::{Diagnostic, Severity, TerraformError};
use super::{Closure, ClosureError, Terraform, prefixed, writing};
use crate::private;
use crate::process::{ProgramError, Supervisor};

/// Import blocks came with Terraform 1.5: <https://developer.hashicorp.com/terraform/language/import>.
const QUESTIONS: &str = "envctl_lookup.tf.json";

/// A thing that a state knew.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sought {
    /// Its type: `aws_sqs_queue`.
    pub kind: String,
    /// Its `id` attribute, by which most resources are imported.
    pub id: String,
    /// How the root configures its provider: `aws.other`; nothing: by the type's default.
    pub provider: Option<String>,
}

/// What a provider says of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// It is still there.
    Exists,
    /// The provider looked, and there is none.
    Gone,
    /// Things of this type are nowhere but in the state.
    OnlyInState,
    /// The provider could not tell, and why.
    Unknown(String),
}

impl Terraform {
    /// Asks the providers for things, all in one plan, in a copy of the root at `scratch`.
    ///
    /// # Errors
    /// When the copy cannot be made or Terraform cannot be started. What a provider cannot answer is
    /// [`Answer::Unknown`].
    pub async fn look_up(
        &self,
        sought: &[Sought],
        scratch: &Path,
        by: &Supervisor,
    ) -> Result<Vec<Answer>, TerraformError> {
        if sought.is_empty() {
            return Ok(Vec::new());
        }
        let var_files: Vec<_> = self.var_files.iter().map(|file| self.root.join(file)).collect();
        let closure = Closure::of(&self.root, &var_files)?;
        let copy = closure.archive_to(scratch)?;
        let var_files = var_files.iter().map(|file| closure.place_of(file, &copy).unwrap_or(file.clone()));
        let here = Self { root: copy.root.clone(), var_files: var_files.collect(), ..self.clone() };

        let questions = copy.root.join(QUESTIONS);
        let text = ask(sought).to_string();
        private::write(&questions, text.as_bytes()).map_err(writing(&questions))?;
        let generated = copy.root.join("envctl_lookup_generated.tf");
        let _ = std::fs::remove_file(&generated);
        let mut command = here
            .in_workspace("plan")
            .args(["-input=false", "-json", "-lock=false", "-refresh=false"])
            .arg(prefixed("-generate-config-out=", &generated));
        command = here.with_variables(command)?;
        let mut heard = Heard::default();
        let ran = command.run_with_lines(by, |_, line| heard.take(line)).await;
        let _ = std::fs::remove_dir_all(scratch);
        match ran {
            // Whatever is gone is an error to a plan that would import it.
            Ok(_) | Err(ProgramError::Failed(_)) => Ok(heard.answers(sought.len())),
            Err(error) => Err(error.into()),
        }
    }
}

/// The import blocks: of each thing, and of one of its kind that cannot be.
fn ask(sought: &[Sought]) -> Value {
    let block = |to: String, id: &str, provider: &Option<String>| {
        let id = id.replace("${", "$${").replace("%{", "%%{");
        let mut block = json!({"to": to, "id": id});
        if let Some(provider) = provider {
            block["provider"] = provider.clone().into();
        }
        block
    };
    let mut blocks = Vec::new();
    for (n, Sought { kind, id, provider }) in sought.iter().enumerate() {
        blocks.push(block(format!("{kind}.{}", label(n)), id, provider));
        blocks.push(block(format!("{kind}.{}", control(n)), &nobodys(id), provider));
    }
    json!({"import": blocks})
}

fn label(n: usize) -> String {
    format!("envctl_lookup_{n}")
}

fn control(n: usize) -> String {
    format!("envctl_control_{n}")
}

/// An id of the same shape that nobody has: the last part of a path, a URL or an ARN with each
/// letter and digit moved within its class, hexadecimal letters among themselves.
fn nobodys(id: &str) -> String {
    let last = id.rfind([':', '/', ',']).map_or(0, |at| at + 1);
    let (before, part) = id.split_at(last);
    let turned = part.chars().map(|c| match c {
        '0'..='9' => turn(c, '0', 10),
        'a'..='f' => turn(c, 'a', 6),
        'g'..='z' => turn(c, 'g', 20),
        'A'..='F' => turn(c, 'A', 6),
        'G'..='Z' => turn(c, 'G', 20),
        other => other,
    });
    before.chars().chain(turned).collect()
}

fn turn(c: char, first: char, of: u32) -> char {
    let next = (u32::from(c) - u32::from(first) + 1) % of;
    char::from_u32(u32::from(first) + next).unwrap_or(c)
}

/// What a plan told about each address.
#[derive(Debug, Default)]
struct Heard {
    found: BTreeSet<String>,
    gone: BTreeSet<String>,
    errors: Vec<Diagnostic>,
    by_address: BTreeMap<String, String>,
}

#[derive(Debug, Deserialize)]
struct Line {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    hook: Option<Hook>,
    #[serde(default)]
    diagnostic: Option<Diagnostic>,
}

#[derive(Debug, Deserialize)]
struct Hook {
    resource: Resource,
    #[serde(default)]
    id_value: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Resource {
    #[serde(default)]
    resource_name: String,
}

impl Heard {
    fn take(&mut self, line: &str) {
        let Ok(line) = serde_json::from_str::<Line>(line) else { return };
        // A refresh that found nothing completes without an id.
        if let (Some(hook), "refresh_complete") = (line.hook, line.kind.as_str()) {
            if hook.id_value.is_some_and(|id| !id.is_empty()) {
                self.found.insert(hook.resource.resource_name);
            }
        } else if let Some(diagnostic) = line.diagnostic.filter(|d| d.severity != Severity::Warning) {
            let text = format!("{} {}", diagnostic.detail, diagnostic.address.as_deref().unwrap_or_default());
            match named(&text) {
                Some(name) if diagnostic.summary == "Cannot import non-existent remote object" => {
                    self.gone.insert(name);
                }
                Some(name) => {
                    self.by_address.insert(name, diagnostic.summary);
                }
                None => self.errors.push(diagnostic),
            }
        }
    }

    fn answers(&self, count: usize) -> Vec<Answer> {
        (0..count).map(|n| self.answer(&label(n), &control(n))).collect()
    }

    /// Whether the question about what nobody has was denied: whoever may ask for their own things alone is
    /// told nothing about others. Not all providers say of which thing they speak.
    fn is_denied(&self, control: &str) -> bool {
        let of_it = self.by_address.get(control).into_iter();
        of_it.chain(self.errors.iter().map(|error| &error.summary)).any(|error| is_denial(error))
    }

    fn answer(&self, label: &str, control: &str) -> Answer {
        let found = |name: &str| self.found.contains(name) && !self.gone.contains(name);
        let gone = |name: &str| self.gone.contains(name);
        if gone(label) {
            Answer::Gone
        } else if found(label) && found(control) {
            Answer::OnlyInState
        } else if found(label) && (gone(control) || self.is_denied(control)) {
            Answer::Exists
        } else if found(label) {
            Answer::Unknown("its provider says that it is there, and may say so of anything".to_owned())
        } else {
            let errors = || self.errors.iter().map(|e| &e.summary);
            // Denials are mostly of what nobody has.
            let unnamed = errors().find(|error| !is_denial(error)).or_else(|| errors().next());
            let said = self.by_address.get(label).or(unnamed);
            let said = said.map_or("its provider said nothing", String::as_str);
            Answer::Unknown(format!("its provider could not be asked: {said}"))
        }
    }
}

fn is_denial(error: &str) -> bool {
    let error = error.to_lowercase();
    let words = ["accessdenied", "access denied", "forbidden", "not authorized", "permission denied", "403"];
    words.iter().any(|words| error.contains(words))
}

/// The name of one of our addresses in a text.
fn named(text: &str) -> Option<String> {
    let at = text.find("envctl_lookup_").or_else(|| text.find("envctl_control_"))?;
    let rest = &text[at..];
    let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(rest.len());
    Some(rest[..end].to_owned())
}

impl From<ClosureError> for TerraformError {
    fn from(error: ClosureError) -> Self {
        Self::Copy(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_that_nobody_has_keeps_its_shape() {
        assert_eq!(nobodys("https://sqs.eu-west-1.amazonaws.com/333333333333/a-z9"), {
            "https://sqs.eu-west-1.amazonaws.com/333333333333/b-g0"
        });
        assert_eq!(nobodys("arn:aws:iam::333333333333:role/Jobs"), "arn:aws:iam::333333333333:role/Kpct");
        assert_eq!(nobodys("f81d4fae"), "a92e5abf");
    }

    fn heard(lines: &[Value]) -> Heard {
        let mut heard = Heard::default();
        lines.iter().for_each(|line| heard.take(&line.to_string()));
        heard
    }

    fn refreshed(name: &str, id: Option<&str>) -> Value {
        json!({"type": "refresh_complete", "hook": {"resource": {"resource_name": name}, "id_value": id}})
    }

    fn missing(name: &str) -> Value {
        let detail = format!(
            "While attempting to import an existing object to \"aws_sqs_queue.{name}\", the provider"
        );
        let summary = "Cannot import non-existent remote object";
        json!({"type": "diagnostic", "diagnostic": {"severity": "error", "summary": summary, "detail": detail}})
    }

    #[test]
    fn a_provider_is_believed_only_if_it_can_tell_the_difference() {
        let (it, other) = ("envctl_lookup_0", "envctl_control_0");
        let answer = |lines: &[Value]| heard(lines).answers(1).remove(0);
        assert_eq!(answer(&[refreshed(it, None), missing(it), missing(other)]), Answer::Gone);
        assert_eq!(answer(&[refreshed(it, Some("q")), missing(other)]), Answer::Exists);
        assert_eq!(answer(&[refreshed(it, Some("q")), refreshed(other, Some("r"))]), Answer::OnlyInState);
        assert!(matches!(answer(&[refreshed(it, Some("q"))]), Answer::Unknown(_)));
        let error = |summary: &str| json!({"type": "diagnostic", "diagnostic": {"severity": "error", "summary": summary}});
        let denied = error("reading S3 Bucket (): StatusCode: 403, api error Forbidden: Forbidden");
        assert_eq!(answer(&[refreshed(it, Some("q")), denied.clone()]), Answer::Exists);
        let invalid = error("illegal base64 data at input byte 7");
        assert!(matches!(answer(&[refreshed(it, Some("q")), invalid.clone()]), Answer::Unknown(_)));
        let Answer::Unknown(why) = answer(&[denied, invalid]) else { panic!() };
        assert!(why.contains("illegal base64"), "{why}");
        let refused = json!({"type": "diagnostic", "diagnostic": {"severity": "error",
            "summary": "resource tls_private_key doesn't support import", "address": "tls_private_key.envctl_lookup_0"}});
        let Answer::Unknown(why) = answer(&[refused]) else { panic!() };
        assert!(why.contains("doesn't support import"), "{why}");
    }
}
