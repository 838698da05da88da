//! What a pod is made from, as a digest: a pod with another one is replaced.
//!
//! A controller replaces pods when their template changes. What ConfigMaps and Secrets hold is no part of it: files of
//! volumes change in the running pod, and variables stay what they were at its start.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use envctl_wire::SeedVolume;
use serde_json::{Value, json};

use crate::compose::{Mount, Service};
use crate::input::Input;
use crate::names::hex_digest;
use crate::output::{Phase, PodService};
use crate::volume::Layout;
use crate::workload::PodPlan;

/// Everything that makes this pod what it is; not what only orders it among others. What runs once, or has no controller,
/// reads what is there when it begins, so all content counts.
pub(crate) fn hash(
    input: &Input,
    plan: &PodPlan<'_>,
    services: &[(PodService, Service)],
    layout: &Layout,
    seed: Option<&(String, String)>,
) -> String {
    let volumes: BTreeMap<&str, &BTreeMap<String, String>> =
        layout.volumes.iter().map(|(key, volume)| (key.as_str(), &volume.driver_opts)).collect();
    let mut whole = json!({
        // A changed annotation of the template, such as a checksum, is how charts ask for new pods.
        "annotations": plan.annotations,
        "labels": plan.labels,
        "volumes": volumes,
    });
    let is_kept =
        plan.workload.0 != "Pod" && plan.phase == Phase::Main && plan.schedule.is_none() && !plan.run_once;
    if !is_kept {
        let services = services.iter();
        let all: BTreeMap<&str, Value> =
            services.map(|(member, service)| (member.service.as_str(), service.to_value())).collect();
        whole["services"] = json!(all);
        whole["seed"] = json!(seed);
        whole["schedule"] = json!(plan.schedule);
    } else {
        whole["services"] = services
            .iter()
            .map(|(member, service)| (member.service.clone(), without_content(input, member, service)))
            .collect::<serde_json::Map<_, _>>()
            .into();
        let seeds = layout.seeds.iter();
        // Directories are those that all pods want in a claim; this one's are in its spec.
        let bare =
            |seed: &SeedVolume| SeedVolume { files: Vec::new(), directories: Vec::new(), ..seed.clone() };
        let seeds: BTreeMap<_, _> = seeds.map(|(key, seed)| (key, bare(seed))).collect();
        whole["seed"] = json!(seeds);
        whole["spec"] = json!(plan.spec.raw());
        whole["variables"] = json!(plan.environment);
        let live = input.live.iter().find(|live| live.workload == plan.workload);
        whole["live"] = json!(live.map(|live| &live.command));
        let mut read = BTreeSet::new();
        plan.spec.raw().into_iter().for_each(|spec| secrets(spec, &mut read));
        let replacing: BTreeMap<_, _> =
            input.replacing.iter().filter(|(name, _)| read.contains(name.as_str())).collect();
        whole["replacing"] = json!(replacing);
    }
    hex_digest(whole.to_string().as_bytes())
}

/// What a container is told at its start and no later: its variables, what is expanded by them, and single files that are
/// mounted. As a digest.
pub(crate) fn told(input: &Input, declared: &BTreeMap<String, String>, service: &Service) -> String {
    let files = service.volumes.iter().filter_map(|mount| match mount {
        Mount::Bind { source, .. } => Some(source).filter(|source| is_content(input, source)),
        Mount::Volume { .. } => None,
    });
    let files: Vec<_> = files.collect();
    hex_digest(json!([declared, service.entrypoint, service.command, files]).to_string().as_bytes())
}

/// Whether a path is that of a file whose name is its content's.
fn is_content(input: &Input, path: &str) -> bool {
    input.host_files.as_ref().is_some_and(|files| Path::new(path).starts_with(files))
}

/// A service without what variables, and files in place of volumes, hold of ConfigMaps and Secrets.
fn without_content(input: &Input, member: &PodService, service: &Service) -> Value {
    let mut service = service.to_value();
    if let Some(fields) = service.as_object_mut().filter(|_| member.container.is_some()) {
        // Commands are expanded. As they are written, they stand in the template.
        for field in ["environment", "entrypoint", "command"] {
            fields.remove(field);
        }
    }
    for mount in service["volumes"].as_array_mut().into_iter().flatten() {
        if is_content(input, mount["source"].as_str().unwrap_or_default()) {
            mount["source"] = "content".into();
        }
    }
    service
}

/// The names of the Secrets that a pod's spec reads.
fn secrets<'a>(spec: &'a Value, into: &mut BTreeSet<&'a str>) {
    match spec {
        Value::Array(items) => items.iter().for_each(|item| secrets(item, into)),
        Value::Object(fields) => {
            for (key, value) in fields {
                if matches!(key.as_str(), "secretKeyRef" | "secretRef" | "secret") {
                    into.extend(["name", "secretName"].iter().filter_map(|name| value.get(name)?.as_str()));
                }
                secrets(value, into);
            }
        }
        _ => {}
    }
}
