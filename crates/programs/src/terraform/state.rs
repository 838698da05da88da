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

/// All that a state knows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct State {
    /// The outputs of the last apply, by name.
    pub outputs: Vec<Output>,
    /// The resources, by address.
    pub resources: Vec<Resource>,
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

impl State {
    /// Reads what `terraform show -json` writes: nothing but a version where the state is empty.
    /// <https://developer.hashicorp.com/terraform/internals/json-format#state-representation>
    pub(super) fn read(json: &[u8]) -> serde_json::Result<Self> {
        let values = serde_json::from_slice::<Document>(json)?.values.unwrap_or_default();
        let output = |(name, RawOutput { value, sensitive })| Output { name, value, sensitive };
        let outputs = values.outputs.into_iter().map(output).collect();
        let mut resources = Vec::new();
        let mut modules = vec![values.root_module];
        while let Some(module) = modules.pop() {
            resources.extend(module.resources.into_iter().map(Resource::from));
            modules.extend(module.child_modules);
        }
        resources.sort_by(|a, b| a.address.cmp(&b.address));
        Ok(Self { outputs, resources })
    }
}

#[derive(Deserialize)]
struct Document {
    #[serde(default)]
    values: Option<Values>,
}

#[derive(Default, Deserialize)]
struct Values {
    #[serde(default)]
    outputs: BTreeMap<String, RawOutput>,
    #[serde(default)]
    root_module: Module,
}

#[derive(Deserialize)]
struct RawOutput {
    #[serde(default)]
    value: Value,
    #[serde(default)]
    sensitive: bool,
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
        let json = br#"{"values":{"outputs":{
            "url":{"value":"http://x","sensitive":false},"password":{"value":"hunter2","sensitive":true}
        }}}"#;
        let outputs = State::read(json).unwrap().outputs;
        let shown = format!("{outputs:?} {}", outputs[0]);
        assert!(shown.contains("http://x") && !shown.contains("hunter2"), "{shown}");
        assert_eq!(outputs[0].value, "hunter2");
    }

    #[test]
    fn an_empty_state_knows_nothing() {
        assert_eq!(State::read(br#"{"format_version":"1.0"}"#).unwrap(), State::default());
    }
}
