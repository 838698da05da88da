//! What a state says: outputs and resources.

use std::collections::BTreeMap;
use std::fmt;

use serde::Deserialize;
use serde_json::Value;

/// An output's value.
#[derive(Clone, PartialEq, Eq)]
pub struct Output {
    /// Its name.
    pub name: String,
    /// Its value. Whoever shows it looks at `sensitive` first.
    pub value: Value,
    /// Whether it must not be shown.
    pub sensitive: bool,
}

impl Output {
    /// Reads what `terraform output -json` writes.
    pub(super) fn read_all(json: &[u8]) -> serde_json::Result<Vec<Self>> {
        #[derive(Deserialize)]
        struct Raw {
            value: Value,
            #[serde(default)]
            sensitive: bool,
        }
        let outputs: BTreeMap<String, Raw> = serde_json::from_slice(json)?;
        let one = |(name, Raw { value, sensitive })| Self { name, value, sensitive };
        Ok(outputs.into_iter().map(one).collect())
    }
}

impl fmt::Display for Output {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.value, self.sensitive) {
            (_, true) => write!(f, "{} = (sensitive)", self.name),
            (value, false) => write!(f, "{} = {value}", self.name),
        }
    }
}

impl fmt::Debug for Output {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A resource that a state knows.
#[derive(Clone, PartialEq, Eq)]
pub struct Resource {
    /// Its address: `module.queue.aws_sqs_queue.jobs[0]`.
    pub address: String,
    /// Its type: `aws_sqs_queue`.
    pub kind: String,
    /// Its name in the configuration.
    pub name: String,
    /// Its provider's full name.
    pub provider: String,
    /// Whether Terraform made it, or only reads it.
    pub mode: Mode,
    /// Its attributes, secrets among them.
    pub values: Value,
    /// Which of the attributes are sensitive: the same shape with `true` there.
    pub sensitive_values: Value,
}

/// What Terraform does with a resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// It makes and destroys it.
    Managed,
    /// It reads it.
    Data,
}

impl fmt::Debug for Resource {
    /// Attributes are left out: providers do not mark all secrets as such.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Resource")
            .field("address", &self.address)
            .field("provider", &self.provider)
            .field("mode", &self.mode)
            .finish_non_exhaustive()
    }
}

impl Resource {
    /// Reads what `terraform show -json` writes.
    pub(super) fn read_all(json: &[u8]) -> serde_json::Result<Vec<Self>> {
        let document: Document = serde_json::from_slice(json)?;
        let mut resources = Vec::new();
        let mut modules: Vec<Module> = document.values.map(|values| values.root_module).into_iter().collect();
        while let Some(module) = modules.pop() {
            resources.extend(module.resources.into_iter().map(Self::from));
            modules.extend(module.child_modules);
        }
        resources.sort_by(|a, b| a.address.cmp(&b.address));
        Ok(resources)
    }
}

#[derive(Deserialize)]
struct Document {
    #[serde(default)]
    values: Option<Values>,
}

#[derive(Deserialize)]
struct Values {
    #[serde(default)]
    root_module: Module,
}

#[derive(Default, Deserialize)]
struct Module {
    #[serde(default)]
    resources: Vec<Raw>,
    #[serde(default)]
    child_modules: Vec<Module>,
}

#[derive(Deserialize)]
struct Raw {
    address: String,
    mode: Mode,
    #[serde(rename = "type")]
    kind: String,
    name: String,
    #[serde(default)]
    provider_name: String,
    #[serde(default)]
    values: Value,
    #[serde(default)]
    sensitive_values: Value,
}

impl From<Raw> for Resource {
    fn from(raw: Raw) -> Self {
        Self {
            address: raw.address,
            kind: raw.kind,
            name: raw.name,
            provider: raw.provider_name,
            mode: raw.mode,
            values: raw.values,
            sensitive_values: raw.sensitive_values,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sensitive_is_never_shown() {
        let json = br#"{"url":{"value":"http://x","sensitive":false},"password":{"value":"hunter2","sensitive":true}}"#;
        let outputs = Output::read_all(json).unwrap();
        let shown = format!("{outputs:?} {}", outputs[0]);
        assert!(shown.contains("http://x") && !shown.contains("hunter2"), "{shown}");
        assert_eq!(outputs[0].value, "hunter2");
    }

    #[test]
    fn an_empty_state_has_no_resources() {
        assert_eq!(Resource::read_all(br#"{"format_version":"1.0"}"#).unwrap(), []);
    }
}
