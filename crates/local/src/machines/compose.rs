//! The Compose file that plays the machines, as it is delivered. Pure.

use std::path::Path;

use envctl_model::labels::{self, Role};
use serde_json::{Map, Value, json};

use super::{MachinesError, MachinesSpec};

/// How the networks are called in the file that machines join beside their own.
const JOINED: &str = "envctl-joined";

/// Adds to a file, as Compose resolved it, what makes everything in it ours to find and to remove, and the networks
/// that are joined.
pub(super) fn delivered(mut file: Value, spec: &MachinesSpec) -> Result<Value, MachinesError> {
    let services = file["services"].as_object_mut().map(std::mem::take).unwrap_or_default();
    if !services.contains_key(&spec.service) {
        return Err(MachinesError::NoService {
            file: spec.file.clone(),
            service: spec.service.clone(),
            there: services.keys().cloned().collect(),
        });
    }
    let mut marked = Map::new();
    for (name, mut service) in services {
        if let Some(mode) = service["network_mode"].as_str() {
            return Err(MachinesError::OwnNetwork { service: name, mode: mode.to_owned() });
        }
        mark(&mut service, spec);
        if name == spec.service {
            service["labels"][labels::ROLE] = json!(Role::Machine.as_str());
        }
        for index in 0..spec.networks.len() {
            service["networks"][format!("{JOINED}-{index}")] = Value::Null;
        }
        marked.insert(name, service);
    }
    file["services"] = Value::Object(marked);
    for kind in ["networks", "volumes"] {
        let things = file.get_mut(kind).and_then(Value::as_object_mut);
        for thing in things.into_iter().flat_map(Map::values_mut) {
            // What is external is somebody else's.
            if thing["external"].as_bool() != Some(true) {
                mark(thing, spec);
            }
        }
    }
    for (index, name) in spec.networks.iter().enumerate() {
        file["networks"][format!("{JOINED}-{index}")] = json!({"name": name, "external": true});
    }
    Ok(file)
}

fn mark(thing: &mut Value, spec: &MachinesSpec) {
    thing["labels"][labels::IDENTITY] = json!(spec.identity);
}

/// The names of variables that the file asks for and nobody gave: Compose takes the empty text for them, and says so.
pub(super) fn unset(said: &str) -> Vec<String> {
    let mut names: Vec<String> = said
        .lines()
        .filter_map(|line| line.split_once("variable is not set"))
        .filter_map(|(before, _)| before.rsplit('"').nth(1))
        .map(|name| name.trim_end_matches('\\').to_owned())
        .collect();
    names.sort();
    names.dedup();
    names
}

/// The directory that relative paths of the file begin in.
pub(super) fn directory(file: &Path) -> &Path {
    file.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec() -> MachinesSpec {
        MachinesSpec {
            project: "old".to_owned(),
            file: "old.yaml".into(),
            service: "api".to_owned(),
            tools: Vec::new(),
            instances: 2,
            identity: "me".to_owned(),
            facts: std::collections::BTreeMap::new(),
            networks: vec!["sandbox".to_owned()],
            within: std::time::Duration::from_secs(1),
        }
    }

    #[test]
    fn everything_that_is_made_is_marked_and_what_is_external_is_not() {
        let file = json!({
            "services": {"api": {"networks": {"default": null}}, "db": {"labels": {"a": "b"}, "networks": {"default": null}}},
            "networks": {"default": {"name": "old_default", "ipam": {}}, "theirs": {"external": true}},
            "volumes": {"data": {"name": "old_data"}},
        });
        let file = delivered(file, &spec()).unwrap();
        assert_eq!(
            file["services"]["api"]["labels"],
            json!({labels::IDENTITY: "me", labels::ROLE: "machine"})
        );
        assert_eq!(file["services"]["db"]["labels"], json!({"a": "b", labels::IDENTITY: "me"}));
        assert_eq!(file["networks"]["default"]["labels"][labels::IDENTITY], "me");
        assert_eq!(file["volumes"]["data"]["labels"][labels::IDENTITY], "me");
        assert!(file["networks"]["theirs"]["labels"].is_null());
        assert_eq!(file["networks"]["envctl-joined-0"], json!({"name": "sandbox", "external": true}));
        assert!(file["services"]["api"]["networks"].as_object().unwrap().contains_key("envctl-joined-0"));
        let file = delivered(json!({"services": {"api": {}}}), &spec()).unwrap();
        assert!(file.get("volumes").is_none(), "Compose takes no null: {file}");
    }

    #[test]
    fn a_service_that_is_not_there_and_one_without_a_network_of_its_own_are_refused() {
        let error = delivered(json!({"services": {"web": {}, "cron": {}}}), &spec()).unwrap_err();
        assert_eq!(error.to_string(), "old.yaml has no service `api`; it has: web, cron");
        let error = delivered(json!({"services": {"api": {"network_mode": "host"}}}), &spec()).unwrap_err();
        assert!(error.to_string().contains("service `api` has `network_mode: host`"), "{error}");
    }

    #[test]
    fn variables_that_nobody_gave_are_found_in_what_compose_says() {
        let said = "time=\"2026-11-29T06:00:00Z\" level=warning msg=\"The \\\"DB_HOST\\\" variable is not set. Defaulting to a blank string.\"\n\
                    level=warning msg=\"something else\"";
        assert_eq!(unset(said), ["DB_HOST"]);
        assert!(unset("").is_empty());
    }
}
