//! `secrets:` of the stack file: values that become Kubernetes Secrets on both targets. A generated value
//! is drawn once per environment; one from a variable, file or program is taken anew each time, and
//! keeps its former value where it cannot be had.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use envctl_model::facts::Facts;
use envctl_model::name::hash;
use envctl_model::stack::SecretSource;
use envctl_programs::process::{Command, Supervisor};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::Home;
use crate::config::{Base, Project};
use crate::ui::Failure;

/// Values by Secret and key.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Secrets(BTreeMap<String, BTreeMap<String, String>>);

impl std::fmt::Debug for Secrets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.0.keys()).finish()
    }
}

const FILE: &str = "secrets.json";
/// What generated values are made of: nothing that a shell, a URL or YAML reads otherwise.
const ALPHABET: &[u8; 62] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";

impl Secrets {
    /// Those that this machine keeps of an environment.
    pub(crate) fn kept(home: &Home) -> Result<Self, Failure> {
        Ok(home.read_json(FILE)?.unwrap_or_default())
    }

    /// Keeps them, readable by their owner only.
    pub(crate) fn keep(&self, home: &Home) -> Result<(), Failure> {
        if self.0.is_empty() { Ok(()) } else { home.write_json(FILE, self) }
    }

    /// Whether there are none.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The values of the stack file. `former` are those of the environment as it is.
    pub(crate) async fn resolve(
        base: &Base,
        project: &Project,
        former: &Self,
        supervisor: &Supervisor,
    ) -> Result<(Self, Vec<String>), Failure> {
        let mut secrets = Self::default();
        let mut warnings = Vec::new();
        for (name, keys) in &project.file.stack.secrets {
            for (key, source) in &keys.value {
                let before = former.0.get(name).and_then(|keys| keys.get(key));
                let value = match take(base, project, source, before, supervisor).await {
                    Ok(value) => value,
                    Err(why) => match before {
                        Some(before) => {
                            warnings.push(format!("secret {name}.{key}: {why}; it keeps its former value"));
                            before.clone()
                        }
                        None => {
                            let message = format!("secret `{name}.{key}` cannot be had: {why}");
                            return Err(Failure::Input(project.file.error_at(keys, message, None)));
                        }
                    },
                };
                secrets.0.entry(name.clone()).or_default().insert(key.clone(), value);
            }
        }
        Ok((secrets, warnings))
    }

    /// Makes them facts, never to be shown: `secret.NAME.KEY`.
    pub(crate) fn set_facts(&self, facts: &mut Facts) {
        for (name, keys) in &self.0 {
            for (key, value) in keys {
                facts.set_sensitive(format!("secret.{name}.{key}"), value.as_str());
            }
        }
    }

    /// All values, to be hidden wherever something is shown.
    pub(crate) fn values(&self) -> impl Iterator<Item = Value> {
        self.0.values().flat_map(|keys| keys.values().map(|value| value.as_str().into()))
    }

    /// The Kubernetes Secrets.
    pub(crate) fn objects(&self) -> Vec<Value> {
        let object = |(name, keys): (&String, &BTreeMap<String, String>)| {
            let data: BTreeMap<_, _> =
                keys.iter().map(|(key, value)| (key, STANDARD.encode(value))).collect();
            json!({
                "apiVersion": "v1",
                "kind": "Secret",
                "metadata": {"name": name},
                "type": "Opaque",
                "data": data,
            })
        };
        self.0.iter().map(object).collect()
    }

    /// A digest of what each holds, by name.
    pub(crate) fn digests(&self) -> BTreeMap<String, String> {
        let digest = |keys: &BTreeMap<String, String>| hash(&json!(keys).to_string(), 64);
        self.0.iter().map(|(name, keys)| (name.clone(), digest(keys))).collect()
    }

    /// The values of Secrets as a cluster has them: name, then key, then bytes.
    pub(crate) fn of_cluster(found: BTreeMap<String, BTreeMap<String, Vec<u8>>>) -> Self {
        let text = |keys: BTreeMap<String, Vec<u8>>| {
            keys.into_iter().filter_map(|(key, bytes)| Some((key, String::from_utf8(bytes).ok()?))).collect()
        };
        Self(found.into_iter().map(|(name, keys)| (name, text(keys))).collect())
    }

    /// The names of the Secrets.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// Refuses a Secret that the chart makes, too: only one of the two can have it.
    pub(crate) fn refuse_twice(&self, project: &Project, objects: &[&Value]) -> Result<(), Failure> {
        for object in objects.iter().filter(|object| object["kind"] == "Secret") {
            let name = object["metadata"]["name"].as_str().unwrap_or_default();
            if let Some(keys) = project.file.stack.secrets.get(name) {
                let message = format!("the chart makes a Secret `{name}`, too");
                let help = "switch the chart's off (often a value `existingSecret`), or rename this one";
                return Err(Failure::Input(project.file.error_at(keys, message, Some(help.to_owned()))));
            }
        }
        Ok(())
    }
}

async fn take(
    base: &Base,
    project: &Project,
    source: &SecretSource,
    before: Option<&String>,
    supervisor: &Supervisor,
) -> Result<String, String> {
    if let Some(length) = source.generate {
        return match before {
            Some(before) => Ok(before.clone()),
            None => generate(length),
        };
    }
    if let Some(variable) = &source.env {
        let value = base.variables.secret(variable);
        return value.ok_or_else(|| format!("the environment variable {variable} is not set"));
    }
    if let Some(file) = &source.file {
        let path = project.dir.join(file);
        return std::fs::read_to_string(&path).map_err(|e| format!("cannot read {}: {e}", path.display()));
    }
    let Some((program, arguments)) = source.command.as_ref().and_then(|command| command.split_first()) else {
        return Err("nothing says where it comes from".to_owned());
    };
    let output = Command::new(program)
        .args(arguments.iter().cloned())
        .current_dir(&project.dir)
        .whole_stdout()
        .run(supervisor)
        .await
        .map_err(|e| e.to_string())?;
    // What a program prints ends in a line feed that is not meant.
    Ok(output.stdout_text().trim_end_matches(['\n', '\r']).to_owned())
}

fn generate(length: usize) -> Result<String, String> {
    let mut text = String::with_capacity(length);
    let mut bytes = [0; 64];
    while text.len() < length {
        rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())
            .map_err(|e| format!("the system gives no random bytes: {e}"))?;
        // 248 is the largest multiple of 62: each character is as likely as the others.
        let fair = bytes.iter().filter(|byte| **byte < 248);
        text.extend(fair.map(|byte| char::from(ALPHABET[usize::from(*byte) % 62])).take(length - text.len()));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::generate;

    #[test]
    fn what_is_generated_is_as_long_as_wanted_and_never_the_same() {
        let one = generate(200).unwrap_or_default();
        assert_eq!(one.len(), 200);
        assert!(one.chars().all(|c| c.is_ascii_alphanumeric()));
        assert_ne!(one, generate(200).unwrap_or_default());
    }
}
