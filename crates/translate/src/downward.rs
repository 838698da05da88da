//! The downward API: what a pod may know about itself.

use std::net::Ipv4Addr;

use envctl_model::finding::Severity;

use crate::cursor::{Cursor, Remark};
use crate::input::EngineFacts;
use crate::names::hex_digest;
use crate::workload::PodPlan;
use envctl_model::quantity::Quantity;

/// What fields of a pod resolve to.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Downward<'p, 'a> {
    pub(crate) pod: &'p PodPlan<'a>,
    /// The environment's identity, so that equal pods of two environments have different UIDs.
    pub(crate) project: &'p str,
    pub(crate) address: Ipv4Addr,
    pub(crate) host: Ipv4Addr,
    pub(crate) engine: &'p EngineFacts,
}

/// The one node there is.
pub(crate) const NODE_NAME: &str = "localhost";

impl<'a> Downward<'_, 'a> {
    /// `fieldRef`.
    pub(crate) fn field(&self, reference: &Cursor<'a>) -> Option<String> {
        reference.get("apiVersion").take();
        let at = reference.get("fieldPath");
        let path = at.required();
        let approximate = |what: &str| {
            at.remark(Remark::approximated(Severity::Info, "node-field", format!("`{path}` is {what} here")));
        };
        Some(match path {
            "metadata.name" => self.pod.name.clone(),
            "metadata.namespace" => self.pod.namespace.clone(),
            "metadata.uid" => self.uid(),
            "metadata.labels" => key_values(&self.pod.labels),
            "metadata.annotations" => key_values(&self.pod.annotations),
            "spec.nodeName" => {
                approximate("`localhost`");
                NODE_NAME.to_owned()
            }
            "spec.serviceAccountName" => self.service_account().to_owned(),
            "status.hostIP" | "status.hostIPs" => {
                approximate("the Docker host's address in the environment's network");
                self.host.to_string()
            }
            "status.podIP" | "status.podIPs" => self.address.to_string(),
            _ => match subscript(path) {
                Some(("metadata.labels", key)) => self.pod.labels.get(key).cloned().unwrap_or_default(),
                Some(("metadata.annotations", key)) => {
                    self.pod.annotations.get(key).cloned().unwrap_or_default()
                }
                _ => {
                    at.invalid(path, "a field that the downward API offers");
                    return None;
                }
            },
        })
    }

    fn service_account(&self) -> &'a str {
        self.pod.spec.get("serviceAccountName").string().unwrap_or("default")
    }

    fn uid(&self) -> String {
        let digest =
            hex_digest(format!("{}/{}/{}", self.project, self.pod.namespace, self.pod.name).as_bytes());
        let (a, b, c, d, e) =
            (&digest[..8], &digest[8..12], &digest[13..16], &digest[17..20], &digest[20..32]);
        format!("{a}-{b}-4{c}-8{d}-{e}")
    }

    /// `resourceFieldRef`; `own` is the container it stands in, if it names none.
    pub(crate) fn resource(&self, reference: &Cursor<'a>, own: Option<&Cursor<'a>>) -> Option<String> {
        let named = reference.get("containerName").string();
        let containers =
            [self.pod.spec.get("containers").items(), self.pod.spec.get("initContainers").items()].concat();
        let container = match named {
            Some(name) => containers.iter().find(|container| container.get("name").string() == Some(name)),
            None => own,
        };
        let at = reference.get("resource");
        let resource = at.required();
        let (Some(container), Some((group, name))) = (container, resource.split_once('.')) else {
            at.invalid(resource, "a resource of a container of this pod");
            return None;
        };
        let declared = |group: &'static str| {
            container.at(&["resources", group]).entries().into_iter().find(|(key, _)| *key == name)
        };
        let amount = match group {
            "limits" => declared("limits")
                .and_then(|(_, field)| field.quantity())
                .unwrap_or_else(|| self.allocatable(name)),
            // The API server copies limits to requests that are not written.
            "requests" => declared("requests")
                .or_else(|| declared("limits"))
                .and_then(|(_, field)| field.quantity())
                .unwrap_or_default(),
            _ => {
                at.invalid(resource, "`limits.*` or `requests.*`");
                return None;
            }
        };
        let divisor = reference.get("divisor");
        let by = divisor.quantity().filter(|divisor| !divisor.is_zero()).unwrap_or(Quantity::units(1));
        amount.ceil_div(by).map(|amount| amount.to_string())
    }

    /// What a container without limits may use: the whole node.
    fn allocatable(&self, resource: &str) -> Quantity {
        match resource {
            // Whole processors: what the Engine reports.
            "cpu" => Quantity::parse(&format!("{:.3}", self.engine.cpus)).unwrap_or_default(),
            "memory" => Quantity::units(i128::from(self.engine.memory_bytes)),
            _ => Quantity::default(),
        }
    }
}

fn subscript(path: &str) -> Option<(&str, &str)> {
    let (field, rest) = path.split_once('[')?;
    let key = rest.strip_suffix(']')?;
    Some((field, key.trim_matches(['\'', '"'])))
}

/// As the kubelet writes maps to files: `key="value"` lines, sorted.
fn key_values(map: &std::collections::BTreeMap<String, String>) -> String {
    map.iter().map(|(key, value)| format!("{key}={value:?}")).collect::<Vec<_>>().join("\n")
}
