//! What a chart's objects ask of a cluster. Pure.

use std::collections::{BTreeMap, BTreeSet};

use envctl_model::quantity::Quantity;
use serde_json::Value;

/// What pods ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Requests {
    /// Processors.
    pub cpu: Quantity,
    /// Bytes.
    pub memory: Quantity,
}

/// The pods of one workload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Workload {
    /// `Deployment/api`.
    pub name: String,
    /// How many run at once.
    pub pods: i128,
    /// What one asks for.
    pub each: Requests,
    /// It runs to its end: a Job, a hook.
    pub passing: bool,
}

/// What containers without requests are taken to ask for: the LimitRange of the guardrails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Defaults {
    /// Processors.
    pub cpu: Quantity,
    /// Bytes.
    pub memory: Quantity,
}

/// The workloads among objects, with what they ask for.
#[must_use]
pub fn workloads(objects: &[Value], defaults: Defaults) -> Vec<Workload> {
    objects.iter().filter_map(|object| workload(object, defaults)).collect()
}

fn workload(object: &Value, defaults: Defaults) -> Option<Workload> {
    let kind = object["kind"].as_str()?;
    let spec = &object["spec"];
    let (pods, template, passing) = match kind {
        "Deployment" | "StatefulSet" | "ReplicaSet" => {
            (spec["replicas"].as_i64().unwrap_or(1), &spec["template"], false)
        }
        // One for each node; how many that are, the room on each tells.
        "DaemonSet" => (1, &spec["template"], false),
        "Job" => (spec["parallelism"].as_i64().unwrap_or(1), &spec["template"], true),
        "Pod" => (1, object, object["metadata"]["annotations"]["helm.sh/hook"].is_string()),
        _ => return None,
    };
    let name = object["metadata"]["name"].as_str().unwrap_or_default();
    Some(Workload {
        name: format!("{kind}/{name}"),
        pods: i128::from(pods),
        each: of_pod(&template["spec"], defaults),
        passing,
    })
}

/// The effective request of a pod: its containers together, or its greediest init container.
/// <https://kubernetes.io/docs/concepts/workloads/pods/init-containers/#resource-sharing-within-containers>
fn of_pod(spec: &Value, defaults: Defaults) -> Requests {
    let request = |container: &Value, name: &str, default: Quantity| {
        let resources = &container["resources"];
        // A limit without a request is both.
        let given = [&resources["requests"][name], &resources["limits"][name]];
        given.into_iter().find_map(amount).unwrap_or(default)
    };
    let of = |name: &str, default: Quantity| {
        let list = |key: &str| spec[key].as_array().into_iter().flatten();
        let mains: Quantity = list("containers").map(|c| request(c, name, default)).sum();
        let sidecars = list("initContainers").filter(|c| c["restartPolicy"] == "Always");
        let together: Quantity = [mains, sidecars.map(|c| request(c, name, default)).sum()].into_iter().sum();
        let inits = list("initContainers").filter(|c| c["restartPolicy"] != "Always");
        inits.map(|c| request(c, name, default)).chain([together]).max().unwrap_or_default()
    };
    Requests { cpu: of("cpu", defaults.cpu), memory: of("memory", defaults.memory) }
}

fn amount(value: &Value) -> Option<Quantity> {
    match value {
        Value::String(text) => Quantity::parse(text),
        Value::Number(number) => Quantity::parse(&number.to_string()),
        _ => None,
    }
}

/// What of a quota is too little: `needs 5 cpu, and the quota is 4`.
#[must_use]
pub fn beyond_quota(workloads: &[Workload], hard: &BTreeMap<String, Quantity>) -> Vec<String> {
    let lasting: Vec<_> = workloads.iter().filter(|w| !w.passing).collect();
    // Hooks run one after the other: the largest counts.
    let hook = |of: fn(&Workload) -> Quantity| {
        workloads.iter().filter(|w| w.passing).map(of).max().unwrap_or_default()
    };
    let total =
        |of: fn(&Workload) -> Quantity| -> Quantity { lasting.iter().map(|w| of(w)).chain([hook(of)]).sum() };
    let cpu = total(|w| w.each.cpu.times(w.pods));
    let memory = total(|w| w.each.memory.times(w.pods));
    let pods = total(|w| Quantity::units(w.pods));
    let mut lines = Vec::new();
    for (what, keys, needed, bytes) in [
        ("CPU", ["requests.cpu", "cpu"], cpu, false),
        ("memory", ["requests.memory", "memory"], memory, true),
        ("pods", ["pods", "count/pods"], pods, false),
    ] {
        for key in keys {
            if let Some(hard) = hard.get(key).filter(|hard| needed > **hard) {
                lines.push(format!(
                    "it needs {} {what}, and the quota of the environment is {}",
                    needed.show(bytes),
                    hard.show(bytes)
                ));
                break;
            }
        }
    }
    lines
}

/// The images of all pods.
#[must_use]
pub fn images(objects: &[Value]) -> BTreeSet<String> {
    let templates = objects.iter().filter_map(|object| match object["kind"].as_str()? {
        "Deployment" | "StatefulSet" | "ReplicaSet" | "DaemonSet" | "Job" => {
            Some(&object["spec"]["template"]["spec"])
        }
        "CronJob" => Some(&object["spec"]["jobTemplate"]["spec"]["template"]["spec"]),
        "Pod" => Some(&object["spec"]),
        _ => None,
    });
    templates
        .flat_map(|spec| {
            ["containers", "initContainers"].map(|key| spec[key].as_array().into_iter().flatten())
        })
        .flatten()
        .filter_map(|container| container["image"].as_str().map(str::to_owned))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn quantity(text: &str) -> Quantity {
        Quantity::parse(text).unwrap()
    }

    fn defaults() -> Defaults {
        Defaults { cpu: quantity("50m"), memory: quantity("128Mi") }
    }

    fn deployment(replicas: i64, spec: Value) -> Value {
        json!({"kind": "Deployment", "metadata": {"name": "api"}, "spec": {"replicas": replicas, "template": {"spec": spec}}})
    }

    #[test]
    fn a_pod_asks_for_its_containers_or_its_greediest_init_container() {
        let spec = json!({
            "initContainers": [
                {"resources": {"requests": {"cpu": "3"}}},
                {"restartPolicy": "Always", "resources": {"requests": {"cpu": "500m"}}}
            ],
            "containers": [{"resources": {"requests": {"cpu": 1}, "limits": {"memory": "1Gi"}}}, {}]
        });
        let found = workloads(&[deployment(2, spec)], defaults());
        assert_eq!(found[0].pods, 2);
        assert_eq!(found[0].each.cpu, quantity("3"), "the init container asks for more than 1.55");
        assert_eq!(found[0].each.memory, [quantity("1Gi"), quantity("256Mi")].into_iter().sum());
    }

    #[test]
    fn what_a_quota_lacks_is_said_in_figures() {
        let spec = json!({"containers": [{"resources": {"requests": {"cpu": "2", "memory": "1Gi"}}}]});
        let found = workloads(&[deployment(3, spec)], defaults());
        let hard =
            BTreeMap::from([("cpu".to_owned(), quantity("5")), ("memory".to_owned(), quantity("16Gi"))]);
        assert_eq!(beyond_quota(&found, &hard), ["it needs 6 CPU, and the quota of the environment is 5"]);
        assert_eq!(beyond_quota(&found, &BTreeMap::new()), [""; 0]);
    }

    #[test]
    fn images_of_all_kinds_are_found() {
        let cron = json!({"kind": "CronJob", "spec": {"jobTemplate": {"spec": {"template": {"spec": {"containers": [{"image": "b"}]}}}}}});
        let objects = [
            deployment(1, json!({"containers": [{"image": "a"}], "initContainers": [{"image": "i"}]})),
            cron,
        ];
        assert_eq!(images(&objects).into_iter().collect::<Vec<_>>(), ["a", "b", "i"]);
    }
}
