//! A saved plan, read back: what an apply of exactly this file will do.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;

use super::diagnostic::Diagnostic;

/// What a saved plan will do.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan {
    /// Resources that will be made.
    pub add: usize,
    /// Resources that will be changed in place.
    pub change: usize,
    /// Resources that will be destroyed and made again.
    pub replace: usize,
    /// Resources that will be destroyed.
    pub destroy: usize,
    /// Every resource that something happens to.
    pub changes: Vec<Change>,
    /// Every output that changes.
    pub outputs: Vec<OutputChange>,
    /// The providers that the configuration uses, by their full names.
    pub providers: Vec<String>,
    /// How each provider is configured, aliases and those of modules included.
    pub provider_configs: Vec<ProviderConfig>,
    /// Which of them each resource of the configuration uses: address without instance keys to
    /// [`ProviderConfig::key`].
    pub resource_providers: BTreeMap<String, String>,
    /// What Terraform warned of while planning.
    pub warnings: Vec<Diagnostic>,
}

/// How a provider is configured in one place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProviderConfig {
    /// How the configuration calls it: `aws`, `aws.other`, `module.queue:aws`.
    pub key: String,
    /// Its full name: `registry.terraform.io/hashicorp/aws`.
    pub source: String,
    /// What is set, by dotted path: `assume_role.role_arn`.
    pub settings: BTreeMap<String, Setting>,
}

/// The value of a provider's setting, as far as a plan tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Setting {
    /// A constant.
    Known(serde_json::Value),
    /// An expression that refers to these; what it does with them a plan does not say.
    Refers(Vec<String>),
}

/// What happens to one resource.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// Its address: `module.queue.aws_sqs_queue.jobs[0]`.
    pub address: String,
    /// Its type: `aws_sqs_queue`.
    pub kind: String,
    /// Its provider's full name.
    pub provider: String,
    /// What is done.
    pub action: Action,
    /// Whether it is replaced because its creation failed half-way: nobody can have used it.
    pub tainted: bool,
}

/// What happens to one output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutputChange {
    /// Its name.
    pub name: String,
    /// What is done.
    pub action: Action,
    /// Whether its value must not be shown.
    pub sensitive: bool,
}

/// What is done to a thing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Action {
    /// It is made.
    Create,
    /// It is changed in place.
    Update,
    /// It is destroyed and made again: what it held is lost.
    Replace,
    /// It is destroyed.
    Delete,
    /// It stays, and Terraform knows of it no more.
    Forget,
}

impl Action {
    fn of(actions: &[String]) -> Option<Self> {
        let has = |name: &str| actions.iter().any(|action| action == name);
        match (has("create"), has("delete"), has("update"), has("forget")) {
            (true, true, ..) => Some(Self::Replace),
            (true, false, ..) => Some(Self::Create),
            (false, true, ..) => Some(Self::Delete),
            (false, false, true, _) => Some(Self::Update),
            (false, false, false, true) => Some(Self::Forget),
            (false, false, false, false) => None,
        }
    }

    /// Whether a user must be asked first, because something is lost.
    #[must_use]
    pub fn needs_consent(self) -> bool {
        matches!(self, Self::Replace | Self::Delete | Self::Forget)
    }
}

impl Plan {
    /// Whether an apply would do nothing at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty() && self.outputs.is_empty()
    }

    /// The changes that a user must be asked about.
    pub fn consent(&self) -> impl Iterator<Item = &Change> {
        self.changes.iter().filter(|change| change.action.needs_consent() && !change.tainted)
    }

    /// Which configuration of a provider a resource uses, by the resource's address; `None` where the
    /// plan does not say.
    #[must_use]
    pub fn provider_of(&self, address: &str) -> Option<&str> {
        self.resource_providers.get(&without_keys(address)).map(String::as_str)
    }

    /// Reads what `terraform show -json FILE` writes.
    pub(super) fn read(json: &[u8]) -> serde_json::Result<Self> {
        let document: Document = serde_json::from_slice(json)?;
        let mut plan = Self::default();
        for resource in document.resource_changes {
            let Some(action) = Action::of(&resource.change.actions) else {
                continue;
            };
            match action {
                Action::Create => plan.add += 1,
                Action::Update => plan.change += 1,
                Action::Replace => plan.replace += 1,
                Action::Delete => plan.destroy += 1,
                Action::Forget => {}
            }
            plan.changes.push(Change {
                address: resource.address,
                kind: resource.kind,
                provider: resource.provider_name,
                action,
                tainted: resource.action_reason.as_deref() == Some("replace_because_tainted"),
            });
        }
        plan.outputs = document
            .output_changes
            .into_iter()
            .filter_map(|(name, change)| {
                let action = Action::of(&change.actions)?;
                let sensitive = change.before_sensitive != false || change.after_sensitive != false;
                Some(OutputChange { name, action, sensitive })
            })
            .collect();
        for (key, provider) in document.configuration.provider_config {
            let mut settings = BTreeMap::new();
            collect(&provider.expressions, "", &mut settings);
            plan.provider_configs.push(ProviderConfig { key, source: provider.full_name, settings });
        }
        document.configuration.root_module.collect("", &mut plan.resource_providers);
        let used = plan.changes.iter().map(|change| change.provider.clone());
        let configured = plan.provider_configs.iter().map(|provider| provider.source.clone());
        let providers: BTreeSet<String> = configured.chain(used).collect();
        plan.providers = providers.into_iter().filter(|name| !name.is_empty()).collect();
        Ok(plan)
    }
}

/// An address without instance keys, which may hold anything: `module.a["x.y"].b.c[0]`.
fn without_keys(address: &str) -> String {
    let mut plain = String::new();
    let (mut inside, mut quoted, mut escaped) = (false, false, false);
    for c in address.chars() {
        match c {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' if inside => quoted = !quoted,
            '[' if !inside => inside = true,
            ']' if inside && !quoted => inside = false,
            c if !inside => plain.push(c),
            _ => {}
        }
    }
    plain
}

/// Takes the settings of a provider's configuration, nested blocks included.
/// <https://developer.hashicorp.com/terraform/internals/json-format#expression-representation>
fn collect(expressions: &serde_json::Value, path: &str, into: &mut BTreeMap<String, Setting>) {
    match expressions {
        serde_json::Value::Array(blocks) => {
            blocks.iter().for_each(|block| collect(block, path, into));
        }
        serde_json::Value::Object(map) => {
            if let Some(constant) = map.get("constant_value") {
                into.insert(path.to_owned(), Setting::Known(constant.clone()));
            } else if let Some(references) = map.get("references").and_then(|r| r.as_array()) {
                let references = references.iter().filter_map(|r| r.as_str().map(str::to_owned));
                into.insert(path.to_owned(), Setting::Refers(references.collect()));
            } else if map.is_empty() && !path.is_empty() {
                // Functions of constants alone: neither a value nor what it comes from is told.
                into.insert(path.to_owned(), Setting::Refers(Vec::new()));
            } else {
                for (key, value) in map {
                    let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                    collect(value, &path, into);
                }
            }
        }
        _ => {}
    }
}

#[derive(Debug, Deserialize)]
struct Document {
    #[serde(default)]
    resource_changes: Vec<ResourceChange>,
    #[serde(default)]
    output_changes: BTreeMap<String, ValueChange>,
    #[serde(default)]
    configuration: Configuration,
}

#[derive(Debug, Deserialize)]
struct ResourceChange {
    address: String,
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    provider_name: String,
    #[serde(default)]
    action_reason: Option<String>,
    change: ValueChange,
}

#[derive(Debug, Deserialize)]
struct ValueChange {
    actions: Vec<String>,
    #[serde(default = "not_sensitive")]
    before_sensitive: serde_json::Value,
    #[serde(default = "not_sensitive")]
    after_sensitive: serde_json::Value,
}

fn not_sensitive() -> serde_json::Value {
    false.into()
}

#[derive(Debug, Default, Deserialize)]
struct Configuration {
    #[serde(default)]
    provider_config: BTreeMap<String, Provider>,
    #[serde(default)]
    root_module: Module,
}

#[derive(Debug, Default, Deserialize)]
struct Module {
    #[serde(default)]
    resources: Vec<Configured>,
    #[serde(default)]
    module_calls: BTreeMap<String, Call>,
}

#[derive(Debug, Deserialize)]
struct Configured {
    address: String,
    #[serde(default)]
    provider_config_key: String,
}

#[derive(Debug, Deserialize)]
struct Call {
    #[serde(default)]
    module: Module,
}

impl Module {
    fn collect(self, path: &str, into: &mut BTreeMap<String, String>) {
        for resource in self.resources {
            into.insert(format!("{path}{}", resource.address), resource.provider_config_key);
        }
        for (name, call) in self.module_calls {
            call.module.collect(&format!("{path}module.{name}."), into);
        }
    }
}

#[derive(Debug, Deserialize)]
struct Provider {
    #[serde(default)]
    full_name: String,
    #[serde(default)]
    expressions: serde_json::Value,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resources_know_which_configuration_of_their_provider_they_use() {
        let json = br#"{"configuration": {"root_module": {
            "resources": [{"address": "aws_sqs_queue.jobs", "provider_config_key": "aws.other"}],
            "module_calls": {"store": {"module": {
                "resources": [{"address": "aws_s3_bucket.photos", "provider_config_key": "aws"}]
            }}}
        }}}"#;
        let plan = Plan::read(json).unwrap();
        assert_eq!(plan.provider_of("aws_sqs_queue.jobs[0]"), Some("aws.other"));
        assert_eq!(plan.provider_of(r#"module.store["a].\"b"].aws_s3_bucket.photos"#), Some("aws"));
        assert_eq!(plan.provider_of("aws_sqs_queue.forgotten"), None);
    }

    #[test]
    fn settings_of_providers_are_read_with_their_aliases() {
        let json = br#"{
            "configuration": {"provider_config": {
                "aws": {"full_name": "registry.terraform.io/hashicorp/aws", "expressions": {
                    "region": {"constant_value": "ap-northeast-1"},
                    "assume_role": [{"role_arn": {"references": ["var.role"]}}]
                }},
                "aws.other": {"full_name": "registry.terraform.io/hashicorp/aws", "expressions": {
                    "assume_role": [{"role_arn": {"references": ["local.other", "var.role"]}}]
                }}
            }}
        }"#;
        let plan = Plan::read(json).unwrap();
        let of = |key: &str| plan.provider_configs.iter().find(|p| p.key == key).unwrap().settings.clone();
        assert_eq!(of("aws")["assume_role.role_arn"], Setting::Refers(vec!["var.role".into()]));
        assert_eq!(of("aws")["region"], Setting::Known("ap-northeast-1".into()));
        let refers = Setting::Refers(vec!["local.other".into(), "var.role".into()]);
        assert_eq!(of("aws.other")["assume_role.role_arn"], refers);
    }
}
