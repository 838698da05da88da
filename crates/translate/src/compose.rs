//! The Compose file as types, as far as it is used.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::{Map, Value};

/// A service. Empty fields are left out.
#[derive(Debug, Clone, Default, Serialize)]
pub(crate) struct Service {
    pub(crate) image: String,
    pub(crate) pull_policy: Option<&'static str>,
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) entrypoint: Vec<String>,
    pub(crate) command: Vec<String>,
    pub(crate) working_dir: Option<String>,
    pub(crate) environment: BTreeMap<String, String>,
    pub(crate) stdin_open: Option<bool>,
    pub(crate) tty: Option<bool>,
    pub(crate) hostname: Option<String>,
    pub(crate) domainname: Option<String>,
    pub(crate) network_mode: Option<String>,
    pub(crate) networks: BTreeMap<String, Attachment>,
    pub(crate) ports: Vec<Port>,
    pub(crate) extra_hosts: Vec<String>,
    pub(crate) sysctls: BTreeMap<String, String>,
    pub(crate) ipc: Option<String>,
    pub(crate) pid: Option<String>,
    pub(crate) userns_mode: Option<&'static str>,
    pub(crate) user: Option<String>,
    pub(crate) group_add: Vec<String>,
    pub(crate) privileged: Option<bool>,
    pub(crate) read_only: Option<bool>,
    pub(crate) cap_add: Vec<String>,
    pub(crate) cap_drop: Vec<String>,
    pub(crate) security_opt: Vec<String>,
    pub(crate) cpus: Option<f64>,
    pub(crate) cpu_shares: Option<u64>,
    pub(crate) mem_limit: Option<u64>,
    pub(crate) memswap_limit: Option<u64>,
    pub(crate) mem_reservation: Option<u64>,
    pub(crate) volumes: Vec<Mount>,
    pub(crate) configs: Vec<ConfigMount>,
    pub(crate) healthcheck: Option<HealthCheck>,
    pub(crate) post_start: Vec<Hook>,
    pub(crate) restart: Option<String>,
    pub(crate) stop_signal: Option<String>,
    pub(crate) stop_grace_period: Option<String>,
    pub(crate) depends_on: BTreeMap<String, Dependency>,
}

/// How a service takes part in a network.
#[derive(Debug, Clone, Default, Serialize)]
pub(crate) struct Attachment {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) ipv4_address: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) mac_address: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) priority: Option<u32>,
}

/// A published port.
#[derive(Debug, Clone, Serialize, PartialEq, Eq)]
pub(crate) struct Port {
    pub(crate) host_ip: String,
    pub(crate) published: String,
    pub(crate) target: u16,
    pub(crate) protocol: String,
}

/// A mount, in the long syntax.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "type", rename_all = "lowercase")]
pub(crate) enum Mount {
    Volume {
        source: String,
        target: String,
        #[serde(skip_serializing_if = "std::ops::Not::not")]
        read_only: bool,
        volume: VolumeOptions,
    },
    Bind {
        source: String,
        target: String,
        #[serde(skip_serializing_if = "std::ops::Not::not")]
        read_only: bool,
        bind: BindOptions,
    },
}

impl Mount {
    /// Where it is in the container.
    pub(crate) fn target(&self) -> &str {
        match self {
            Self::Volume { target, .. } | Self::Bind { target, .. } => target,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct VolumeOptions {
    pub(crate) nocopy: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) subpath: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct BindOptions {
    pub(crate) create_host_path: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) propagation: Option<&'static str>,
}

/// A config that a service mounts.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct ConfigMount {
    pub(crate) source: String,
    pub(crate) target: String,
}

/// A health check.
#[derive(Debug, Clone, Serialize)]
#[serde(untagged)]
pub(crate) enum HealthCheck {
    /// The image's own is switched off: Kubernetes does not know it.
    Disabled { disable: bool },
    Test {
        test: Vec<String>,
        interval: String,
        timeout: String,
        retries: u32,
        start_period: String,
        #[serde(skip_serializing_if = "Option::is_none")]
        start_interval: Option<String>,
    },
}

/// A lifecycle hook.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Hook {
    pub(crate) command: Vec<String>,
}

/// What another service has to have reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(crate) enum Condition {
    #[serde(rename = "service_started")]
    Started,
    #[serde(rename = "service_healthy")]
    Healthy,
    /// With exit code 0.
    #[serde(rename = "service_completed_successfully")]
    Completed,
}

/// An entry of `depends_on`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(crate) struct Dependency {
    pub(crate) condition: Condition,
    /// Whether Compose restarts the dependent service when it restarts this one.
    pub(crate) restart: bool,
    pub(crate) required: bool,
}

impl Dependency {
    /// For services that share namespaces or volumes: they live and die together.
    pub(crate) fn tied(condition: Condition) -> Self {
        Self { condition, restart: true, required: true }
    }

    /// For mere order.
    pub(crate) fn after(condition: Condition) -> Self {
        Self { condition, restart: false, required: true }
    }
}

/// A named volume.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Volume {
    /// Options of the driver `local`; empty for a plain directory of the Engine.
    pub(crate) driver_opts: BTreeMap<String, String>,
    pub(crate) labels: BTreeMap<String, String>,
}

/// The file.
#[derive(Debug, Default)]
pub(crate) struct File {
    pub(crate) name: String,
    pub(crate) services: BTreeMap<String, Service>,
    /// Key to the name of an existing network.
    pub(crate) networks: BTreeMap<String, String>,
    pub(crate) volumes: BTreeMap<String, Volume>,
    /// Key to inline content.
    pub(crate) configs: BTreeMap<String, String>,
}

impl Service {
    /// As JSON, without what is empty. `$` is not escaped.
    pub(crate) fn to_value(&self) -> Value {
        // The type consists of strings, numbers and maps with string keys: this cannot fail.
        let mut value = serde_json::to_value(self).unwrap_or_default();
        if let Value::Object(fields) = &mut value {
            fields.retain(|_, field| !is_empty(field));
        }
        value
    }
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.is_empty(),
        _ => false,
    }
}

impl File {
    /// As JSON, with `$` doubled: Compose would expand it otherwise.
    pub(crate) fn to_value(&self) -> Value {
        let mut file = Map::new();
        file.insert("name".to_owned(), self.name.clone().into());
        let services = self.services.iter().map(|(key, service)| (key.clone(), service.to_value())).collect();
        let networks = self
            .networks
            .iter()
            .map(|(key, name)| (key.clone(), serde_json::json!({"name": name, "external": true})))
            .collect();
        let volumes = self
            .volumes
            .iter()
            .map(|(key, volume)| {
                let mut fields = Map::new();
                if !volume.driver_opts.is_empty() {
                    fields.insert("driver".to_owned(), "local".into());
                    fields.insert("driver_opts".to_owned(), serde_json::json!(volume.driver_opts));
                }
                fields.insert("labels".to_owned(), serde_json::json!(volume.labels));
                (key.clone(), Value::Object(fields))
            })
            .collect();
        let configs = self
            .configs
            .iter()
            .map(|(key, content)| (key.clone(), serde_json::json!({"content": content})))
            .collect();
        let sections: [(&str, Map<String, Value>); 4] =
            [("services", services), ("networks", networks), ("volumes", volumes), ("configs", configs)];
        for (name, section) in sections {
            if !section.is_empty() {
                file.insert(name.to_owned(), Value::Object(section));
            }
        }
        let mut value = Value::Object(file);
        escape(&mut value);
        value
    }
}

fn escape(value: &mut Value) {
    match value {
        Value::String(text) if text.contains('$') => *text = text.replace('$', "$$"),
        Value::Array(items) => items.iter_mut().for_each(escape),
        Value::Object(fields) => fields.values_mut().for_each(escape),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dollars_are_doubled_everywhere_and_empty_fields_left_out() {
        let service = Service {
            image: "x".to_owned(),
            command: vec!["echo $HOME $$".to_owned()],
            environment: [("A".to_owned(), "$(B)".to_owned())].into(),
            ..Service::default()
        };
        let file =
            File { name: "p".to_owned(), services: [("s".to_owned(), service)].into(), ..File::default() };
        assert_eq!(
            file.to_value(),
            serde_json::json!({"name": "p", "services": {"s": {
                "image": "x", "command": ["echo $$HOME $$$$"], "environment": {"A": "$$(B)"}}}})
        );
    }
}
